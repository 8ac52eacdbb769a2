//! Q4_K, 144 bytes → 256 values:
//! `d: f16` (2) | `dmin: f16` (2) | `scales: [u8; 12]` (12) | `qs: [u8; 128]` (128).
//!
//! Sub-block `j < 8` of 32 values takes the low (`j` even) or high nibbles of
//! `qs[32 (j / 2)..]`, and has a 6-bit scale `S` and minimum `M` packed in `scales`;
//! `y = d * S * q - dmin * M`. Source: `block_q4_K` in ggml-common.h.

use super::{f16_at, scale_min_k4};
use crate::BlockLayout;

/// 256 values in 144 bytes.
pub const LAYOUT: BlockLayout = BlockLayout::new(256, 144);

/// Decodes one block. Panics if the slices are shorter than [`LAYOUT`].
pub fn dequantize_block(block: &[u8], y: &mut [f32]) {
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    let (scales, qs) = (&block[4..16], &block[16..144]);
    for (j, y) in y[..256].chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_min_k4(scales, j);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        for (l, y) in y.iter_mut().enumerate() {
            let q = (qs[32 * (j / 2) + l] >> (4 * (j % 2))) & 15;
            *y = scale * f32::from(q) - min;
        }
    }
}
