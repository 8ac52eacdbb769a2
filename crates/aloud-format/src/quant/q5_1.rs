//! Q5_1, 24 bytes → 32 values: `d: f16` (2) | `m: f16` (2) | `qh: u32` (4) | `qs: [u8; 16]` (16).
//!
//! Nibbles as in Q4_0; bit j of `qh` is the fifth bit of value j; `y = d * q + m`.
//! Source: `block_q5_1` in ggml-common.h.

use super::{f16_at, u32_at};
use crate::BlockLayout;

/// 32 values in 24 bytes.
pub const LAYOUT: BlockLayout = BlockLayout::new(32, 24);

/// Decodes one block. Panics if the slices are shorter than [`LAYOUT`].
pub fn dequantize_block(block: &[u8], y: &mut [f32]) {
    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
    let qh = u32_at(block, 4);
    let qs = &block[8..24];
    for j in 0..16 {
        let low = (qs[j] & 15) | (((qh >> j) & 1) << 4) as u8;
        let high = (qs[j] >> 4) | (((qh >> (j + 16)) & 1) << 4) as u8;
        y[j] = d * f32::from(low) + m;
        y[j + 16] = d * f32::from(high) + m;
    }
}
