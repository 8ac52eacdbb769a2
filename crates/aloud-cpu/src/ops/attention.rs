use super::slot;
use aloud_ops::Attention;

/// Causal attention of each row of `q` over the paged cache; row `t` stands at `pos + t`.
pub fn attention(q: &[f32], k: &[f32], v: &[f32], block_table: &[u32], params: &Attention, pos: u32, y: &mut [f32]) {
    let (h, kv, c) = (params.n_heads as usize, params.n_kv_heads as usize, params.head_dim as usize);
    for (t, (q, y)) in q.chunks_exact(h * c).zip(y.chunks_exact_mut(h * c)).enumerate() {
        let slots: Vec<usize> = (0..=pos + t as u32).map(|p| slot(block_table, params.block_tokens, p)).collect();
        for head in 0..h {
            let q = &q[head * c..][..c];
            let of = |cache, slot| row(cache, slot, head / (h / kv), kv, c);
            let dot = |k: &[f32]| q.iter().zip(k).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum::<f64>();
            let scores: Vec<f64> = slots.iter().map(|&s| f64::from(params.scale) * dot(of(k, s))).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for (i, y) in y[head * c..][..c].iter_mut().enumerate() {
                let weighted = slots.iter().zip(&weights).map(|(&s, w)| w * f64::from(of(v, s)[i]));
                *y = (weighted.sum::<f64>() / sum) as f32;
            }
        }
    }
}

fn row(cache: &[f32], slot: usize, head: usize, n_heads: usize, c: usize) -> &[f32] {
    &cache[(slot * n_heads + head) * c..][..c]
}
