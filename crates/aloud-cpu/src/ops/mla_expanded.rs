use super::slot;
use aloud_ops::Mla;

/// Multi-head latent attention as the paper states it: keys and values of every cached position, then softmax.
///
/// `q: [T, width]`, `rows: [slots, R + P]`, `table: [positions, P]`, cos and sin in turn; `up` is the weight of keys and
/// values together, `[H, N + Vh, R]`, or keys `[H, R, N]` and values `[H, Vh, R]`, dequantised. Row `t` stands at `pos + t`.
#[expect(clippy::too_many_arguments, reason = "the op's tensors")]
pub fn mla_expanded(
    q: &[f32],
    width: usize,
    rows: &[f32],
    block_table: &[u32],
    table: &[f32],
    up: &[&[f32]],
    mla: &Mla,
    pos: usize,
    y: &mut [f32],
) {
    let (h, n, p) = (mla.num_attention_heads as usize, mla.qk_nope_head_dim as usize, mla.qk_rope_head_dim as usize);
    let (r, vh) = (mla.kv_lora_rank as usize, mla.v_head_dim as usize);
    let n_kv = pos + y.len() / (h * vh);
    let cached: Vec<&[f32]> =
        (0..n_kv).map(|s| &rows[slot(block_table, mla.block_tokens, s as u32) * (r + p)..][..r + p]).collect();
    for head in 0..h {
        let keys: Vec<Vec<f64>> = cached.iter().map(|c| (0..n).map(|d| key(up, mla, head, d, c)).collect()).collect();
        let values: Vec<Vec<f64>> =
            cached.iter().map(|c| (0..vh).map(|d| value(up, mla, head, d, c)).collect()).collect();
        for (t, (q, y)) in q.chunks_exact(width).zip(y.chunks_exact_mut(h * vh)).enumerate() {
            let q = &q[head * (n + p)..][..n + p];
            let turned = turned(&q[n..], &table[(pos + t) * p..][..p]);
            let score = |s: usize| {
                let nope: f64 = q.iter().zip(&keys[s]).map(|(&q, k)| f64::from(q) * k).sum();
                let rope: f64 = turned.iter().zip(&cached[s][r..]).map(|(q, &k)| q * f64::from(k)).sum();
                (nope + rope) * f64::from(mla.scale)
            };
            let scores: Vec<f64> = (0..=pos + t).map(score).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for (i, y) in y[head * vh..][..vh].iter_mut().enumerate() {
                *y = (weights.iter().zip(&values).map(|(w, v)| w * v[i]).sum::<f64>() / sum) as f32;
            }
        }
    }
}

fn dot(w: &[f32], c: &[f32]) -> f64 {
    w.iter().zip(c).map(|(&w, &c)| f64::from(w) * f64::from(c)).sum()
}

/// Value `d` of a head's key, of latent `c`.
fn key(up: &[&[f32]], mla: &Mla, head: usize, d: usize, c: &[f32]) -> f64 {
    let (n, r, vh) = (mla.qk_nope_head_dim as usize, mla.kv_lora_rank as usize, mla.v_head_dim as usize);
    match up {
        [joint] => dot(&joint[(head * (n + vh) + d) * r..][..r], c),
        _ => (0..r).map(|j| f64::from(up[0][(head * r + j) * n + d]) * f64::from(c[j])).sum(),
    }
}

/// Value `d` of a head's value, of latent `c`.
fn value(up: &[&[f32]], mla: &Mla, head: usize, d: usize, c: &[f32]) -> f64 {
    let (n, r, vh) = (mla.qk_nope_head_dim as usize, mla.kv_lora_rank as usize, mla.v_head_dim as usize);
    match up {
        [joint] => dot(&joint[(head * (n + vh) + n + d) * r..][..r], c),
        _ => dot(&up[1][(head * vh + d) * r..][..r], c),
    }
}

/// Pairs `(2i, 2i + 1)` turned by `(cos, sin)` of the same indices.
fn turned(x: &[f32], angles: &[f32]) -> Vec<f64> {
    let turn = |(x, a): (&[f32], &[f32])| {
        let [x0, x1, cos, sin] = [x[0], x[1], a[0], a[1]].map(f64::from);
        [x0 * cos - x1 * sin, x1 * cos + x0 * sin]
    };
    x.chunks_exact(2).zip(angles.chunks_exact(2)).flat_map(turn).collect()
}
