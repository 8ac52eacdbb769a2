//! F8_E4M3, 1 byte: sign (1 bit) | exponent `e` (4) | mantissa `m` (3); `y = ±(1 + m/8) 2^(e-7)`.
//!
//! `e = 0` counts in steps of 2^-9: `y = ±m/8 2^-6`. There is no infinity; `e = 15, m = 7` is NaN, so
//! that the largest value is 448. The scales of a weight are a tensor of their own, see
//! [`Fp8Scales`](crate::Fp8Scales). Source: Micikevicius et al. 2022, "FP8 formats for deep learning", E4M3.

use crate::BlockLayout;

/// One value in 1 byte.
pub const LAYOUT: BlockLayout = BlockLayout::new(1, 1);

/// The largest value.
pub const MAX: f32 = 448.0;

/// The value of a code.
#[must_use]
pub fn decode(code: u8) -> f32 {
    let (e, m) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    let magnitude = match e {
        0 => m / 512.0,
        15 if m == 7.0 => f32::NAN,
        _ => (1.0 + m / 8.0) * 2_f32.powi(e - 7),
    };
    if code < 128 { magnitude } else { -magnitude }
}

/// The code nearest to a value, the even one of two; what is beyond ±448 becomes ±448.
#[must_use]
pub fn encode(value: f32) -> u8 {
    let sign = if value.is_sign_negative() { 128 } else { 0 };
    if value.is_nan() {
        return sign | 127;
    }
    let magnitude = value.abs().min(MAX);
    // Codes are an eighth of the power of two apart, and evenly spaced below 2^-6.
    let exponent = ((magnitude.to_bits() >> 23) as i32 - 127).max(-6);
    let eighths = (magnitude / 2_f32.powi(exponent - 3)).round_ties_even();
    sign | (8 * (exponent + 6) as u8 + eighths as u8)
}

/// Decodes one value. Panics if the slices are shorter than [`LAYOUT`].
pub fn dequantize_block(block: &[u8], y: &mut [f32]) {
    y[0] = decode(block[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_the_paper_says() {
        let expected = [
            (0x00, 0.0),
            (0x01, 0.001953125),
            (0x08, 0.015625),
            (0x38, 1.0),
            (0x77, 240.0),
            (0x7e, 448.0),
            (0xc5, -3.25),
        ];
        for (code, value) in expected {
            assert_eq!(decode(code), value, "{code:#04x}");
        }
        assert!(decode(0x7f).is_nan() && decode(0xff).is_nan());
    }

    #[test]
    fn values_are_rounded_to_even_and_bounded() {
        let expected = [
            (0.3, 0x2a),
            (1.0625, 0x38),
            (1.1875, 0x3a),
            (-3.3, 0xc5),
            (2_f32.powi(-10), 0x00),
            (464.0, 0x7e),
            (f32::INFINITY, 0x7e),
            (f32::NEG_INFINITY, 0xfe),
            (f32::NAN, 0x7f),
        ];
        for (value, code) in expected {
            assert_eq!(encode(value), code, "{value}");
        }
    }

    #[test]
    fn every_code_comes_back_and_its_neighbours_round_to_it() {
        for code in (0..=255_u8).filter(|code| code & 127 != 127) {
            let value = decode(code);
            assert_eq!(encode(value), code);
            if code & 127 < 126 {
                let gap = decode(code + 1) - value;
                assert_eq!(encode(value + 0.49 * gap), code);
                assert_eq!(encode(value + 0.51 * gap), code + 1);
                assert_eq!(encode(value + 0.5 * gap), (code + 1) & !1, "halfway");
            }
        }
    }
}
