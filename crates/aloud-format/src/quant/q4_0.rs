//! Q4_0, 18 bytes → 32 values: `d: f16` (2) | `qs: [u8; 16]` (16).
//!
//! Low nibbles are values 0..16, high nibbles values 16..32; `y = d * (q - 8)`.
//! Source: `block_q4_0` in ggml-common.h.

use super::f16_at;
use crate::BlockLayout;

/// 32 values in 18 bytes.
pub const LAYOUT: BlockLayout = BlockLayout::new(32, 18);

/// Decodes one block. Panics if the slices are shorter than [`LAYOUT`].
pub fn dequantize_block(block: &[u8], y: &mut [f32]) {
    let d = f16_at(block, 0);
    let qs = &block[2..18];
    for j in 0..16 {
        y[j] = d * (f32::from(qs[j] & 15) - 8.0);
        y[j + 16] = d * (f32::from(qs[j] >> 4) - 8.0);
    }
}
