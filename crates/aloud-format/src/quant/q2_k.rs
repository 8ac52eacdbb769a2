//! Q2_K, 84 bytes → 256 values:
//! `scales: [u8; 16]` (16) | `qs: [u8; 64]` (64) | `d: f16` (2) | `dmin: f16` (2).
//!
//! Value `i = 128 h + 32 j + l` with `h < 2`, `j < 4`, `l < 32` is bits `2j..2j+2` of
//! `qs[32 h + l]`. Each run of 16 values has one scale byte `s`, low nibble scale, high nibble
//! minimum; `y = d * (s & 15) * q - dmin * (s >> 4)`. Source: `block_q2_K` in ggml-common.h.

use super::f16_at;
use crate::BlockLayout;

/// 256 values in 84 bytes.
pub const LAYOUT: BlockLayout = BlockLayout::new(256, 84);

/// Decodes one block. Panics if the slices are shorter than [`LAYOUT`].
pub fn dequantize_block(block: &[u8], y: &mut [f32]) {
    let (scales, qs) = (&block[..16], &block[16..80]);
    let (d, dmin) = (f16_at(block, 80), f16_at(block, 82));
    for (i, y) in y[..256].iter_mut().enumerate() {
        let (h, j, l) = (i / 128, i / 32 % 4, i % 32);
        let scale = scales[i / 16];
        let q = (qs[32 * h + l] >> (2 * j)) & 3;
        *y = d * f32::from(scale & 15) * f32::from(q) - dmin * f32::from(scale >> 4);
    }
}
