//! Factors as halves: what tiles make of them that go through workgroup memory as f16.

use half::f16;

/// Values as halves give them back, rounded to 11 bits.
#[must_use]
pub fn in_halves(values: &[f32]) -> Vec<f32> {
    values.iter().map(|&v| f16::from_f32(v).to_f32()).collect()
}

/// Rows of `k` values as halves give them back. Each is scaled by the power of two that puts the largest of its values between
/// 2^14 and 2^15, so that none is beyond what a half holds, 65504.
#[must_use]
pub fn rows_in_halves(x: &[f32], k: usize) -> Vec<f32> {
    let row = |x: &[f32]| {
        let largest = x.iter().fold(0f32, |most, v| most.max(v.abs()));
        let exponent = (268 - (largest.to_bits() >> 23).min(254)).min(253);
        let [to, from] = [exponent, 254 - exponent].map(|exponent| f32::from_bits(exponent << 23));
        x.iter().map(move |&v| f16::from_f32(v * to).to_f32() * from).collect::<Vec<_>>()
    };
    x.chunks_exact(k).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_eleven_bits_of_their_largest_whatever_their_size() {
        for size in [1e-37, 1e-30, 0.02, 1.0, 65504.0, 1e9, 3e38] {
            let x = [size, -size / 3.0, size / 1000.0, 0.0];
            for (&x, got) in x.iter().zip(rows_in_halves(&x, 4)) {
                assert!((got - x).abs() <= x.abs() / 2048.0, "{x} became {got}");
            }
        }
        assert_eq!(rows_in_halves(&[0.0, 0.0, 3e9, 1.0], 2)[..2], [0.0, 0.0]);
    }
}
