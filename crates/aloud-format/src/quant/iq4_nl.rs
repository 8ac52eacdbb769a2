//! IQ4_NL, 18 bytes → 32 values: `d: f16` (2) | `qs: [u8; 16]` (16).
//!
//! Low nibbles are values 0..16, high nibbles values 16..32; `y = d * VALUES[q]`.
//! Source: `block_iq4_nl` and `kvalues_iq4nl` in ggml-common.h.

use super::f16_at;
use crate::BlockLayout;

/// 32 values in 18 bytes.
pub const LAYOUT: BlockLayout = BlockLayout::new(32, 18);

/// What the 16 codes of IQ4_NL and IQ4_XS stand for, in units of the scale.
pub const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Decodes one block. Panics if the slices are shorter than [`LAYOUT`].
pub fn dequantize_block(block: &[u8], y: &mut [f32]) {
    let d = f16_at(block, 0);
    let qs = &block[2..18];
    for j in 0..16 {
        y[j] = d * f32::from(VALUES[usize::from(qs[j] & 15)]);
        y[j + 16] = d * f32::from(VALUES[usize::from(qs[j] >> 4)]);
    }
}
