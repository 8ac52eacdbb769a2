//! Q6_K, 210 bytes → 256 values:
//! `ql: [u8; 128]` (128) | `qh: [u8; 64]` (64) | `scales: [i8; 16]` (16) | `d: f16` (2).
//!
//! Value `i = 128 h + 32 k + l` with `h < 2`, `k < 4`, `l < 32` has its low nibble in
//! `ql[64 h + 32 (k % 2) + l]` (high nibble for `k >= 2`) and 2 upper bits at `2k` of
//! `qh[32 h + l]`; `y = d * scales[i / 16] * (q - 32)`. Source: `block_q6_K` in ggml-common.h.

use super::{f16_at, i8_at};
use crate::BlockLayout;

/// 256 values in 210 bytes.
pub const LAYOUT: BlockLayout = BlockLayout::new(256, 210);

/// Decodes one block. Panics if the slices are shorter than [`LAYOUT`].
pub fn dequantize_block(block: &[u8], y: &mut [f32]) {
    let (ql, qh) = (&block[..128], &block[128..192]);
    let d = f16_at(block, 208);
    for (i, y) in y[..256].iter_mut().enumerate() {
        let (h, k, l) = (i / 128, i / 32 % 4, i % 32);
        let low = (ql[64 * h + 32 * (k % 2) + l] >> (4 * (k / 2))) & 15;
        let high = (qh[32 * h + l] >> (2 * k)) & 3;
        let scale = f32::from(i8_at(block, 192 + i / 16));
        *y = d * scale * (f32::from(low | (high << 4)) - 32.0);
    }
}
