use super::slot;

/// Writes rows of `x` into one side of the cache, rounded to half if `f16`.
pub fn kv_write(
    x: &[f32],
    block_table: &[u32],
    block_tokens: u32,
    pos: u32,
    width: usize,
    f16: bool,
    cache: &mut [f32],
) {
    for (t, x) in x.chunks_exact(width).enumerate() {
        let to = &mut cache[slot(block_table, block_tokens, pos + t as u32) * width..][..width];
        for (to, &x) in to.iter_mut().zip(x) {
            *to = if f16 { half::f16::from_f32(x).to_f32() } else { x };
        }
    }
}
