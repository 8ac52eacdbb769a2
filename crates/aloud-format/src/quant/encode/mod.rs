//! Round-to-nearest encoders, for test models: valid and deterministic, not optimal.
//!
//! Those of the formats with one scale per 32 values give the bytes of `gguf.quants.quantize`; for
//! the K formats and IQ4 the reference searches for better scales, these do not.

mod fp8;
mod k_quants;

pub use fp8::quantize_fp8;

use super::{f8_e4m3, f8_e8m0, iq4_nl, mxfp4};
use crate::DType;

/// Encodes whole blocks.
///
/// # Panics
/// For a type outside [`DType::DEQUANTISED`], for F8_B32, whose scales span rows ([`quantize_fp8`]), and if `values` is
/// not whole blocks.
#[track_caller]
pub fn quantize(dtype: DType, values: &[f32]) -> Vec<u8> {
    let n_elems = dtype.block_elems();
    assert!(values.len().is_multiple_of(n_elems), "{} values are not blocks of {dtype}", values.len());
    let encode: fn(&[f32], &mut Vec<u8>) = match dtype {
        DType::F32 => |x, to| to.extend(x[0].to_le_bytes()),
        DType::F16 => |x, to| put_f16(to, x[0]),
        DType::BF16 => |x, to| to.extend(half::bf16::from_f32(x[0]).to_le_bytes()),
        DType::Q4_0 => q4_0,
        DType::Q4_1 => q4_1,
        DType::Q5_0 => q5_0,
        DType::Q5_1 => q5_1,
        DType::Q8_0 => q8_0,
        DType::Q2_K => k_quants::q2_k,
        DType::Q3_K => k_quants::q3_k,
        DType::Q4_K => k_quants::q4_k,
        DType::Q5_K => k_quants::q5_k,
        DType::Q6_K => k_quants::q6_k,
        DType::IQ4_NL => encode_iq4_nl,
        DType::IQ4_XS => encode_iq4_xs,
        DType::MXFP4 => encode_mxfp4,
        DType::F8_E4M3 => |x, to| to.push(f8_e4m3::encode(x[0])),
        DType::F8_E8M0 => |x, to| to.push(f8_e8m0::encode(x[0])),
        _ => panic!("{dtype} has no encoder"),
    };
    let n_bytes = values.len() / n_elems * dtype.block_bytes();
    let mut bytes = Vec::with_capacity(n_bytes);
    values.chunks_exact(n_elems).for_each(|block| encode(block, &mut bytes));
    assert_eq!(bytes.len(), n_bytes, "{dtype}: the encoder keeps to the layout");
    bytes
}

fn put_f16(to: &mut Vec<u8>, value: f32) {
    to.extend(half::f16::from_f32(value).to_le_bytes());
}

/// `1 / d`, and 0 for 0.
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// The first value of the largest magnitude, with its sign.
fn extreme(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |most: f32, &v| if v.abs() > most.abs() { v } else { most })
}

/// Smallest and largest value.
fn range(x: &[f32]) -> (f32, f32) {
    x.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(min, max), &v| (min.min(v), max.max(v)))
}

/// 32 codes of 4 bits: values 0..16 in the low nibbles, 16..32 in the high ones.
fn put_nibbles(to: &mut Vec<u8>, q: &[u8]) {
    to.extend((0..16).map(|j| (q[j] & 15) | (q[j + 16] << 4)));
}

/// The fifth bits of 32 codes.
fn put_fifth_bits(to: &mut Vec<u8>, q: &[u8]) {
    let bits = (0..32).fold(0_u32, |bits, j| bits | (u32::from(q[j] >> 4) & 1) << j);
    to.extend(bits.to_le_bytes());
}

/// Scale and codes of a format without minimum; `middle` is the code of 0.
fn centred(x: &[f32], middle: f32) -> (f32, Vec<u8>) {
    let d = extreme(x) / -middle;
    let id = inverse(d);
    let most = 2.0 * middle - 1.0;
    (d, x.iter().map(|v| (v * id + (middle + 0.5)).trunc().clamp(0.0, most) as u8).collect())
}

/// Scale, minimum and codes of a format with minimum; `most` is the largest code.
fn ranged(x: &[f32], most: f32) -> (f32, f32, Vec<u8>) {
    let (min, max) = range(x);
    let d = (max - min) / most;
    let id = inverse(d);
    let q = x.iter().map(|v| ((v - min) * id + 0.5).trunc().clamp(0.0, most) as u8);
    (d, min, q.collect())
}

fn q4_0(x: &[f32], to: &mut Vec<u8>) {
    let (d, q) = centred(x, 8.0);
    put_f16(to, d);
    put_nibbles(to, &q);
}

fn q4_1(x: &[f32], to: &mut Vec<u8>) {
    let (d, m, q) = ranged(x, 15.0);
    put_f16(to, d);
    put_f16(to, m);
    put_nibbles(to, &q);
}

fn q5_0(x: &[f32], to: &mut Vec<u8>) {
    let (d, q) = centred(x, 16.0);
    put_f16(to, d);
    put_fifth_bits(to, &q);
    put_nibbles(to, &q);
}

fn q5_1(x: &[f32], to: &mut Vec<u8>) {
    let (d, m, q) = ranged(x, 31.0);
    put_f16(to, d);
    put_f16(to, m);
    put_fifth_bits(to, &q);
    put_nibbles(to, &q);
}

fn q8_0(x: &[f32], to: &mut Vec<u8>) {
    let d = extreme(x).abs() / 127.0;
    let id = inverse(d);
    put_f16(to, d);
    to.extend(x.iter().map(|v| ((v * id).round() as i8).cast_unsigned()));
}

/// The code whose value times `scale` comes nearest to `v`; the first of equals.
fn nearest(values: &[i8; 16], scale: f32, v: f32) -> u8 {
    let error = |q: &u8| (scale * f32::from(values[usize::from(*q)]) - v).abs();
    (0..16).min_by(|a, b| error(a).total_cmp(&error(b))).unwrap_or_default()
}

fn encode_iq4_nl(x: &[f32], to: &mut Vec<u8>) {
    let d = half::f16::from_f32(extreme(x) / -127.0);
    let q: Vec<u8> = x.iter().map(|&v| nearest(&iq4_nl::VALUES, d.to_f32(), v)).collect();
    to.extend(d.to_le_bytes());
    put_nibbles(to, &q);
}

fn encode_iq4_xs(x: &[f32], to: &mut Vec<u8>) {
    let scales: Vec<f32> = x.chunks_exact(32).map(|x| extreme(x) / -127.0).collect();
    let d = half::f16::from_f32(extreme(&scales).abs() / 31.0);
    let id = inverse(d.to_f32());
    let codes: Vec<u8> = scales.iter().map(|s| ((s * id).round().clamp(-32.0, 31.0) + 32.0) as u8).collect();
    to.extend(d.to_le_bytes());
    let high = (0..8).fold(0_u16, |bits, b| bits | u16::from(codes[b] >> 4) << (2 * b));
    to.extend(high.to_le_bytes());
    to.extend((0..4).map(|i| (codes[2 * i] & 15) | (codes[2 * i + 1] << 4)));
    for (x, code) in x.chunks_exact(32).zip(&codes) {
        let scale = d.to_f32() * (f32::from(*code) - 32.0);
        let q: Vec<u8> = x.iter().map(|&v| nearest(&iq4_nl::VALUES, scale, v)).collect();
        put_nibbles(to, &q);
    }
}

fn encode_mxfp4(x: &[f32], to: &mut Vec<u8>) {
    // The exponent of the largest magnitude, less the 2 that 4.0 = 2^2 in the codes gives back.
    let exponent = (extreme(x).abs().to_bits() >> 23) as u8;
    let e = exponent.saturating_sub(2);
    let scale = mxfp4::half_scale(e);
    let q: Vec<u8> = x.iter().map(|&v| nearest(&mxfp4::DOUBLED_VALUES, scale, v)).collect();
    to.push(e);
    put_nibbles(to, &q);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dequantize;

    /// A wave with outliers, zeros and an offset.
    fn values() -> Vec<f32> {
        (0..1024)
            .map(|i| match i {
                0..256 => 0.0,
                700 => 3.0,
                _ => (i as f32 * 0.37).sin() * (0.1 + i as f32 / 1024.0) + 0.05,
            })
            .collect()
    }

    /// Relative L2 error by bits per value, with an outlier that costs its block precision.
    #[test]
    fn values_come_back() {
        // Scales have no zero and no sign, and those of F8_B32 span rows.
        let types = DType::DEQUANTISED.iter().filter(|t| ![DType::F8_E8M0, DType::F8_B32].contains(t));
        for &dtype in types {
            let x = values();
            let bytes = quantize(dtype, &x);
            let mut y = vec![f32::NAN; x.len()];
            dequantize(dtype, &bytes, &mut y).unwrap();
            assert!(y[..256].iter().all(|&v| v == 0.0), "{dtype}: zeros stay");
            let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|v| v * v).sum::<f32>().sqrt();
            let error = norm(&mut x.iter().zip(&y).map(|(x, y)| x - y)) / norm(&mut x.iter().copied());
            let limit = match dtype {
                DType::F32 => 0.0,
                DType::F16 | DType::BF16 => 2e-3,
                DType::Q8_0 => 5e-3,
                DType::Q6_K => 0.02,
                DType::Q5_0 | DType::Q5_1 | DType::Q5_K => 0.04,
                DType::MXFP4 => 0.12,
                DType::Q3_K => 0.16,
                DType::Q2_K => 0.3,
                _ => 0.07,
            };
            assert!(error <= limit, "{dtype}: relative error {error}");
        }
    }

    #[test]
    #[should_panic(expected = "255 values are not blocks of Q4_K")]
    fn ragged_values_are_a_mistake() {
        quantize(DType::Q4_K, &[0.0; 255]);
    }
}
