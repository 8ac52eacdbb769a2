//! FP8 weights with a scale for each tile of 128 rows and 128 columns.

use crate::quant::{f8_b32, f8_e4m3, f8_e8m0};

/// F8_E4M3 codes `[rows, cols]` and scales `[ceil(rows / 128), ceil(cols / 128)]` of a matrix: each tile's largest value
/// becomes 448. With `ue8m0` scales are rounded up to powers of two, which F8_E8M0 can hold.
/// Source: `act_quant` and `weight_dequant` in kernel.py of DeepSeek-V3.
///
/// # Panics
/// If `values` is not `rows * cols` long.
#[must_use]
#[track_caller]
pub fn quantize_fp8(values: &[f32], rows: usize, cols: usize, ue8m0: bool) -> (Vec<u8>, Vec<f32>) {
    assert_eq!(values.len(), rows * cols, "values of a matrix [{rows}, {cols}]");
    let tile = f8_b32::TILE;
    let across = cols.div_ceil(tile);
    let tile_of = |at: usize| at / cols / tile * across + at % cols / tile;
    let mut scales = vec![0_f32; rows.div_ceil(tile) * across];
    for (at, v) in values.iter().enumerate() {
        let most = &mut scales[tile_of(at)];
        *most = most.max(v.abs());
    }
    for scale in &mut scales {
        *scale = match *scale / f8_e4m3::MAX {
            0.0 => 1.0,
            s if ue8m0 => f8_e8m0::decode(f8_e8m0::encode(s)),
            s => s,
        };
    }
    let codes = values.iter().enumerate().map(|(at, v)| f8_e4m3::encode(v / scales[tile_of(at)])).collect();
    (codes, scales)
}
