//! MXFP4, 17 bytes → 32 values: `e: u8` (1) | `qs: [u8; 16]` (16).
//!
//! Low nibbles are values 0..16, high nibbles values 16..32; a nibble is a float of 1 sign, 2
//! exponent and 1 fraction bits; `y = 2^(e - 127) * FP4[q]`. Source: OCP Microscaling Formats v1.0
//! and `block_mxfp4` in ggml-common.h. As in ggml, `e = 255` is a scale like any other, not NaN, and
//! the code for −0 gives +0.

use crate::BlockLayout;

/// 32 values in 17 bytes.
pub const LAYOUT: BlockLayout = BlockLayout::new(32, 17);

/// Twice the values of the 16 codes, so that they are whole.
pub const DOUBLED_VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Decodes one block. Panics if the slices are shorter than [`LAYOUT`].
pub fn dequantize_block(block: &[u8], y: &mut [f32]) {
    let d = half_scale(block[0]);
    let qs = &block[1..17];
    for j in 0..16 {
        y[j] = d * f32::from(DOUBLED_VALUES[usize::from(qs[j] & 15)]);
        y[j + 16] = d * f32::from(DOUBLED_VALUES[usize::from(qs[j] >> 4)]);
    }
}

/// `2^(e - 128)`, half the block's scale; subnormal for `e < 2`.
pub fn half_scale(e: u8) -> f32 {
    f32::from_bits(match e {
        0 | 1 => 0x0020_0000 << e,
        _ => u32::from(e - 1) << 23,
    })
}
