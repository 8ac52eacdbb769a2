//! F32: `y: f32` (4 bytes); not a quant, kept here so that every type has one place.

use crate::BlockLayout;

/// One value in 4 bytes.
pub const LAYOUT: BlockLayout = BlockLayout::new(1, 4);

/// Decodes one value. Panics if the slices are shorter than [`LAYOUT`].
pub fn dequantize_block(block: &[u8], y: &mut [f32]) {
    y[0] = f32::from_bits(super::u32_at(block, 0));
}
