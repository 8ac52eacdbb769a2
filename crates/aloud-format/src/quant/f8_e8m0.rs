//! F8_E8M0, 1 byte: a power of two, `y = 2^(e - 127)`; 255 is NaN. Scales of other tensors.
//!
//! Source: OCP Microscaling Formats (MX) 1.0, E8M0.

use crate::BlockLayout;

/// One value in 1 byte.
pub const LAYOUT: BlockLayout = BlockLayout::new(1, 1);

/// The value of a code.
#[must_use]
pub fn decode(code: u8) -> f32 {
    match code {
        255 => f32::NAN,
        0 => f32::from_bits(1 << 22),
        _ => f32::from_bits(u32::from(code) << 23),
    }
}

/// The smallest power of two that is not less than a value; the largest there is for what is beyond, the smallest for
/// what is not above 0.
#[must_use]
pub fn encode(value: f32) -> u8 {
    if value.is_nan() {
        return 255;
    }
    let exponent = |bits: u32| (bits >> 23) + u32::from(bits & ((1 << 23) - 1) != 0);
    if value <= decode(0) { 0 } else { exponent(value.to_bits()).min(254) as u8 }
}

/// Decodes one value. Panics if the slices are shorter than [`LAYOUT`].
pub fn dequantize_block(block: &[u8], y: &mut [f32]) {
    y[0] = decode(block[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_powers_of_two() {
        for code in 0..255 {
            assert_eq!(f64::from(decode(code)), 2_f64.powi(i32::from(code) - 127));
            assert_eq!(encode(decode(code)), code);
            assert_eq!(encode(decode(code) * 1.25), (code + 1).min(254), "up");
        }
        assert!(decode(255).is_nan());
        assert_eq!([0.0, -3.0, f32::INFINITY, f32::NAN].map(encode), [0, 0, 254, 255]);
    }
}
