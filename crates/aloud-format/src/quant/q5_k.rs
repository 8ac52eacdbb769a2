//! Q5_K, 176 bytes → 256 values: `d: f16` (2) | `dmin: f16` (2) | `scales: [u8; 12]` (12) |
//! `qh: [u8; 32]` (32) | `qs: [u8; 128]` (128).
//!
//! As Q4_K, with bit `j` of `qh[l]` as the fifth bit of value `l` of sub-block `j`.
//! Source: `block_q5_K` in ggml-common.h.

use super::{f16_at, scale_min_k4};
use crate::BlockLayout;

/// 256 values in 176 bytes.
pub const LAYOUT: BlockLayout = BlockLayout::new(256, 176);

/// Decodes one block. Panics if the slices are shorter than [`LAYOUT`].
pub fn dequantize_block(block: &[u8], y: &mut [f32]) {
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    let (scales, qh, qs) = (&block[4..16], &block[16..48], &block[48..176]);
    for (j, y) in y[..256].chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_min_k4(scales, j);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        for (l, y) in y.iter_mut().enumerate() {
            let low = (qs[32 * (j / 2) + l] >> (4 * (j % 2))) & 15;
            let q = low | (((qh[l] >> j) & 1) << 4);
            *y = scale * f32::from(q) - min;
        }
    }
}
