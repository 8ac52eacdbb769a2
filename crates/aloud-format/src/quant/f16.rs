//! F16: `y: f16` (2 bytes), IEEE half.

use crate::BlockLayout;

/// One value in 2 bytes.
pub const LAYOUT: BlockLayout = BlockLayout::new(1, 2);

/// Decodes one value. Panics if the slices are shorter than [`LAYOUT`].
pub fn dequantize_block(block: &[u8], y: &mut [f32]) {
    y[0] = super::f16_at(block, 0);
}
