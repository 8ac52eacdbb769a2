use super::rope;
use aloud_ops::{Mla, RopePairing};

/// Absorbed queries of rows of `q_width` values; `w` is dequantised: `[H, R, N]`, or `[H, N + Vh, R]` with the keys first. `table: [positions, P]`.
pub fn mla_query(q: &[f32], q_width: usize, w: &[f32], table: &[f32], mla: &Mla, pos: usize, y: &mut [f32]) {
    let [h, r, n, p] =
        [mla.num_attention_heads, mla.kv_lora_rank, mla.qk_nope_head_dim, mla.qk_rope_head_dim].map(|d| d as usize);
    let rows = y.len() / (h * (r + p));
    let per_head = w.len() / h;
    let transposed = per_head == r * n;
    for t in 0..rows {
        let q = &q[t * q_width..];
        for head in 0..h {
            let (nope, turned) = q[head * (n + p)..][..n + p].split_at(n);
            let w = &w[head * per_head..][..per_head];
            let (latent, to_turned) = y[(t * h + head) * (r + p)..][..r + p].split_at_mut(r);
            for (j, latent) in latent.iter_mut().enumerate() {
                let key = |d: usize| if transposed { w[j * n + d] } else { w[d * r + j] };
                *latent = (0..n).map(|d| f64::from(key(d)) * f64::from(nope[d])).sum::<f64>() as f32;
            }
            rope(turned, &table[(pos + t) * p..][..p], RopePairing::Interleaved, to_turned);
        }
    }
}
