//! F8_B32, 36 bytes → 32 values: `d: f32` (4) | `qs: [u8; 32]` (32), codes of F8_E4M3; `y = d * q`.
//!
//! No file has such blocks: they are how an FP8 weight, whose scales are a tensor of their own, travels from its file
//! to an executor. [`Fp8Scales`] makes them.

use super::{f8_e4m3, u32_at};
use crate::{BlockLayout, FormatError};

/// 32 values in 36 bytes.
pub const LAYOUT: BlockLayout = BlockLayout::new(32, 36);

/// Rows, and columns, that share a scale.
pub(super) const TILE: usize = 128;

/// Decodes one block. Panics if the slices are shorter than [`LAYOUT`].
pub fn dequantize_block(block: &[u8], y: &mut [f32]) {
    let d = f32::from_bits(u32_at(block, 0));
    for (y, &q) in y[..32].iter_mut().zip(&block[4..36]) {
        *y = d * f8_e4m3::decode(q);
    }
}

/// The scales of an FP8 weight, one for each tile of 128 rows and 128 columns: the tensor `weight_scale_inv`.
///
/// `W[i, j] = fp8[i, j] * scales[i / 128, j / 128]`, with `fp8: [M, N]` in F8_E4M3 and
/// `scales: [ceil(M / 128), ceil(N / 128)]`. Despite the name one multiplies.
/// Source: `weight_dequant` in kernel.py of DeepSeek-V3.
#[derive(Clone, Debug, PartialEq)]
pub struct Fp8Scales {
    scales: Vec<f32>,
    rows: usize,
    cols: usize,
}

impl Fp8Scales {
    /// The scales of a weight `[rows, cols]`, as [`dequantize`](crate::dequantize) gives them, row by row.
    ///
    /// # Errors
    /// [`FormatError::BufferLen`] if there is not one scale per tile.
    pub fn new(rows: usize, cols: usize, scales: Vec<f32>) -> Result<Self, FormatError> {
        let (down, across) = (rows.div_ceil(TILE), cols.div_ceil(TILE));
        if down.checked_mul(across) != Some(scales.len()) {
            return Err(FormatError::BufferLen {
                what: format!("scales of an FP8 weight of shape [{rows}, {cols}]"),
                expected: format!("[{down}, {across}] values"),
                found: scales.len(),
            });
        }
        Ok(Self { scales, rows, cols })
    }

    /// What the code at `row`, `col` is multiplied with.
    ///
    /// # Panics
    /// If the weight has no such row or column.
    #[must_use]
    #[track_caller]
    pub fn at(&self, row: usize, col: usize) -> f32 {
        assert!(row < self.rows && col < self.cols, "[{row}, {col}] of [{}, {}]", self.rows, self.cols);
        self.scales[row / TILE * self.cols.div_ceil(TILE) + col / TILE]
    }

    /// Blocks of F8_B32 of the rows from `first_row` on, whose F8_E4M3 codes are given; any range of rows.
    ///
    /// # Errors
    /// [`FormatError::Fp8Columns`] if the rows are no multiple of 32 long; [`FormatError::BufferLen`] if `codes` is not
    /// whole rows, or more than the weight has.
    pub fn blocks(&self, first_row: usize, codes: &[u8]) -> Result<Vec<u8>, FormatError> {
        if !self.cols.is_multiple_of(LAYOUT.elems) || self.cols == 0 {
            return Err(FormatError::Fp8Columns { cols: self.cols });
        }
        let most = self.rows.saturating_sub(first_row);
        if !codes.len().is_multiple_of(self.cols) || codes.len() / self.cols > most {
            return Err(FormatError::BufferLen {
                what: format!("codes of an FP8 weight from row {first_row} on"),
                expected: format!("at most {most} rows of {} bytes", self.cols),
                found: codes.len(),
            });
        }
        let mut blocks = Vec::with_capacity(codes.len() / LAYOUT.elems * LAYOUT.bytes);
        for (row, codes) in (first_row..).zip(codes.chunks_exact(self.cols)) {
            for (at, q) in codes.chunks_exact(LAYOUT.elems).enumerate() {
                blocks.extend(self.at(row, at * LAYOUT.elems).to_le_bytes());
                blocks.extend(q);
            }
        }
        Ok(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, dequantize, quantize_fp8};

    /// Codes and scales of a made-up weight; code `k` is `(37 k + 11) % 256`, without the codes of NaN.
    fn weight(rows: usize, cols: usize, scales: &[f32]) -> (Vec<u8>, Fp8Scales) {
        let code = |k: usize| ((37 * k + 11) % 256) as u8;
        let codes = (0..rows * cols).map(code).map(|q| if q & 127 == 127 { 0 } else { q }).collect();
        (codes, Fp8Scales::new(rows, cols, scales.to_vec()).unwrap())
    }

    #[test]
    fn a_weight_with_partial_tiles_at_both_edges() {
        let (codes, scales) = weight(130, 140, &[0.5, 0.25, 2.0, 0.125]);
        let w = |i: usize, j: usize| f8_e4m3::decode(codes[i * 140 + j]) * scales.at(i, j);
        assert_eq!([w(0, 0), w(0, 128), w(129, 0), w(129, 139)], [0.0107421875, -11.0 / 2048.0, 7.5, 3.5]);
        let all = || (0..130 * 140).map(|k| f64::from(w(k / 140, k % 140)));
        assert!((all().sum::<f64>() - 2655.8723).abs() < 1e-4);
        assert!((all().map(f64::abs).sum::<f64>() - 384098.943).abs() < 1e-3);
    }

    #[test]
    fn any_range_of_rows_becomes_blocks() {
        let (codes, scales) = weight(130, 160, &[0.5, 0.25, 2.0, 0.125]);
        for rows in [0..130, 0..1, 126..130, 127..128, 129..130, 5..5] {
            let blocks = scales.blocks(rows.start, &codes[rows.start * 160..rows.end * 160]).unwrap();
            let mut found = vec![0.0; rows.len() * 160];
            dequantize(DType::F8_B32, &blocks, &mut found).unwrap();
            for (at, &found) in found.iter().enumerate() {
                let (i, j) = (rows.start + at / 160, at % 160);
                assert_eq!(found, f8_e4m3::decode(codes[i * 160 + j]) * scales.at(i, j), "{rows:?}: [{i}, {j}]");
            }
        }
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let refused = |error: FormatError, needle: &str| assert!(error.to_string().contains(needle), "{error}");
        refused(Fp8Scales::new(129, 128, vec![1.0]).unwrap_err(), "[129, 128]: expected [2, 1] values, found 1");
        let (codes, scales) = weight(4, 96, &[1.0]);
        refused(scales.blocks(1, &codes).unwrap_err(), "from row 1 on: expected at most 3 rows of 96 bytes, found 384");
        refused(scales.blocks(0, &codes[1..]).unwrap_err(), "found 383");
        refused(scales.blocks(9, &codes).unwrap_err(), "at most 0 rows");
        let (codes, scales) = weight(1, 140, &[1.0, 1.0]);
        refused(scales.blocks(0, &codes).unwrap_err(), "expected a multiple of 32 columns, found 140");
    }

    #[test]
    fn a_row_of_activations_is_rounded_as_by_the_reference() {
        let x: Vec<f32> = (0..128).map(|i| ((37 * i + 11) % 256 - 128) as f32 / 64.0).collect();
        let check = |ue8m0, scale: f32, codes: [u8; 8], sum: f64| {
            let (found, scales) = quantize_fp8(&x, 1, 128, ue8m0);
            assert_eq!((&scales[..], &found[..8]), (&[scale][..], &codes[..]));
            let total: f64 = found.iter().map(|&q| f64::from(scale * f8_e4m3::decode(q))).sum();
            assert!((total - sum).abs() < 1e-6, "sum {total}");
        };
        check(false, 0.004_429_408_5, [0xfd, 0xf9, 0xf1, 0xdb, 0x6e, 0x77, 0x7c, 0xfd], -3.2445418);
        check(true, 0.0078125, [0xf7, 0xf2, 0xeb, 0xd4, 0x68, 0x70, 0x75, 0xf6], -3.0625);
    }

    /// A rounding error of a sixteenth of each value at most, and of half a step where values are small.
    #[test]
    fn a_weight_comes_back() {
        let (rows, cols) = (200, 288);
        let x: Vec<f32> =
            (0..rows * cols).map(|i| (i as f32 * 0.37).sin() * 2_f32.powi((i / 4000) as i32 - 9)).collect();
        for ue8m0 in [false, true] {
            let (codes, scales) = quantize_fp8(&x, rows, cols, ue8m0);
            let scales = Fp8Scales::new(rows, cols, scales).unwrap();
            for (at, &x) in x.iter().enumerate() {
                let scale = scales.at(at / cols, at % cols);
                let error = (scale * f8_e4m3::decode(codes[at]) - x).abs();
                assert!(error <= (x.abs() / 16.0).max(scale / 1024.0) * 1.0001, "{at}: {x} is off by {error}");
                assert!(!ue8m0 || scale.log2().fract() == 0.0);
            }
        }
        assert_eq!(quantize_fp8(&[0.0; 32], 1, 32, true), (vec![0; 32], vec![1.0]), "zeros need no scale");
    }
}
