use super::slot;
use aloud_ops::Mla;

/// Causal attention of absorbed queries over the latent cache `[slots, R + P]`; row `t` stands at `pos + t`.
/// `w` is dequantised: `[H, Vh, R]`, or `[H, N + Vh, R]` with the values last.
pub fn mla_attention(q: &[f32], cache: &[f32], block_table: &[u32], w: &[f32], mla: &Mla, pos: u32, y: &mut [f32]) {
    let [h, r, vh, width] =
        [mla.num_attention_heads, mla.kv_lora_rank, mla.v_head_dim, mla.latent_dim()].map(|d| d as usize);
    let per_head = w.len() / h;
    for (t, (q, y)) in q.chunks_exact(h * width).zip(y.chunks_exact_mut(h * vh)).enumerate() {
        let row = |p| &cache[slot(block_table, mla.block_tokens, p) * width..][..width];
        let rows: Vec<&[f32]> = (0..=pos + t as u32).map(row).collect();
        for head in 0..h {
            let q = &q[head * width..][..width];
            let dot = |k: &[f32]| q.iter().zip(k).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum::<f64>();
            let scores: Vec<f64> = rows.iter().map(|k| f64::from(mla.scale) * dot(k)).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let mut latent = vec![0f64; r];
            for (row, weight) in rows.iter().zip(&weights) {
                latent.iter_mut().zip(*row).for_each(|(o, &c)| *o += weight / sum * f64::from(c));
            }
            let values = &w[(head + 1) * per_head - vh * r..][..vh * r];
            for (w, y) in values.chunks_exact(r).zip(&mut y[head * vh..][..vh]) {
                *y = w.iter().zip(&latent).map(|(&w, &c)| f64::from(w) * c).sum::<f64>() as f32;
            }
        }
    }
}
