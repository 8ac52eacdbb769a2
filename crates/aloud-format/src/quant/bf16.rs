//! BF16: the upper 16 bits of an IEEE single (2 bytes).

use crate::BlockLayout;

/// One value in 2 bytes.
pub const LAYOUT: BlockLayout = BlockLayout::new(1, 2);

/// Decodes one value. Panics if the slices are shorter than [`LAYOUT`].
pub fn dequantize_block(block: &[u8], y: &mut [f32]) {
    y[0] = f32::from_bits(u32::from(u16::from_le_bytes([block[0], block[1]])) << 16);
}
