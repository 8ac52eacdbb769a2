//! Q8_0, 34 bytes → 32 values: `d: f16` (2) | `qs: [i8; 32]` (32); `y = d * q`.
//!
//! Source: `block_q8_0` in ggml-common.h.

use super::{f16_at, i8_at};
use crate::BlockLayout;

/// 32 values in 34 bytes.
pub const LAYOUT: BlockLayout = BlockLayout::new(32, 34);

/// Decodes one block. Panics if the slices are shorter than [`LAYOUT`].
pub fn dequantize_block(block: &[u8], y: &mut [f32]) {
    let d = f16_at(block, 0);
    for (j, y) in y[..32].iter_mut().enumerate() {
        *y = d * f32::from(i8_at(block, 2 + j));
    }
}
