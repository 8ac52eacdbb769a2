//! Q3_K, 110 bytes → 256 values:
//! `hmask: [u8; 32]` (32) | `qs: [u8; 64]` (64) | `scales: [u8; 12]` (12) | `d: f16` (2).
//!
//! Value `i = 128 h + 32 j + l` with `h < 2`, `j < 4`, `l < 32` has its low bits at `2j..2j+2` of
//! `qs[32 h + l]`; 4 is taken off where bit `4 h + j` of `hmask[l]` is *clear*. Run `k = i / 16` has
//! a 6-bit scale: 4 bits in `scales[k % 8]`, low nibble for `k < 8`, 2 bits in `scales[8 + k % 4]`
//! from bit `2 (k / 4)`; `y = d * (scale - 32) * q`. Source: `block_q3_K` in ggml-common.h.

use super::f16_at;
use crate::BlockLayout;

/// 256 values in 110 bytes.
pub const LAYOUT: BlockLayout = BlockLayout::new(256, 110);

/// Decodes one block. Panics if the slices are shorter than [`LAYOUT`].
pub fn dequantize_block(block: &[u8], y: &mut [f32]) {
    let (hmask, qs, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let d = f16_at(block, 108);
    for (i, y) in y[..256].iter_mut().enumerate() {
        let (h, j, l) = (i / 128, i / 32 % 4, i % 32);
        let low = f32::from((qs[32 * h + l] >> (2 * j)) & 3);
        let q = if (hmask[l] >> (4 * h + j)) & 1 == 0 { low - 4.0 } else { low };
        *y = d * (f32::from(scale(scales, i / 16)) - 32.0) * q;
    }
}

/// The 6-bit scale of run `k < 16`.
fn scale(scales: &[u8], k: usize) -> u8 {
    let low = (scales[k % 8] >> (4 * (k / 8))) & 15;
    let high = (scales[8 + k % 4] >> (2 * (k / 4))) & 3;
    low | (high << 4)
}
