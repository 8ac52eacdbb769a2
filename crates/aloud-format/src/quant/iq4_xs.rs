//! IQ4_XS, 136 bytes → 256 values:
//! `d: f16` (2) | `scales_h: u16` (2) | `scales_l: [u8; 4]` (4) | `qs: [u8; 128]` (128).
//!
//! Sub-block `b < 8` of 32 values is `qs[16 b..]`, low nibbles first. Its 6-bit scale has 4 bits in
//! `scales_l[b / 2]` and 2 bits at `2b` of `scales_h`; `y = d * (scale - 32) * VALUES[q]` with the
//! values of IQ4_NL. Source: `block_iq4_xs` in ggml-common.h.

use super::f16_at;
use super::iq4_nl::VALUES;
use crate::BlockLayout;

/// 256 values in 136 bytes.
pub const LAYOUT: BlockLayout = BlockLayout::new(256, 136);

/// Decodes one block. Panics if the slices are shorter than [`LAYOUT`].
pub fn dequantize_block(block: &[u8], y: &mut [f32]) {
    let d = f16_at(block, 0);
    let scales_h = u16::from_le_bytes([block[2], block[3]]);
    let (scales_l, qs) = (&block[4..8], &block[8..136]);
    for (b, y) in y[..256].chunks_exact_mut(32).enumerate() {
        let low = (scales_l[b / 2] >> (4 * (b % 2))) & 15;
        let high = ((scales_h >> (2 * b)) & 3) as u8;
        let scale = d * (f32::from(low | (high << 4)) - 32.0);
        for (l, y) in y.iter_mut().enumerate() {
            let q = (qs[16 * b + l % 16] >> (4 * (l / 16))) & 15;
            *y = scale * f32::from(VALUES[usize::from(q)]);
        }
    }
}
