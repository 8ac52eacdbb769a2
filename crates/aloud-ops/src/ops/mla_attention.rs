use crate::ops::{KvUp, LatentCache, Mla};
use crate::{Elem, Op, Recording, Tensor};

/// Latent attention over the cache, absorbed and causal: with `c[s]` the first R and `k[s]` the last P values of the cached
/// row of position s, `o[t, h] = V[h] sum_{s <= pos+t} softmax_s(scale * (q[t, h, ..R] . c[s] + q[t, h, R..] . k[s])) c[s]`,
/// where `V[h]: [Vh, R]` is head h of the values' part of `kv_up`.
///
/// `q: [T, H*(R+P)] f32` comes from [`crate::mla_query`] → `[T, H*Vh] f32`. The rows of this step are in the cache already.
///
/// Source: DeepSeek-V2 (2024), section 2.1.2 and appendix C.
///
/// # Panics
/// If the shapes disagree.
#[track_caller]
pub fn mla_attention(rec: &mut Recording, q: Tensor, cache: &LatentCache, kv_up: &KvUp, mla: &Mla) -> Tensor {
    let [t, width] = q.dims2();
    let h = mla.num_attention_heads;
    assert_eq!(width, h * mla.latent_dim(), "mla_attention: q must be [T, H*(R+P)]");
    cache.check(mla);
    kv_up.check(mla);
    let values = kv_up.tensors().pop().expect("it has one at least");
    let y = rec.scratch(Elem::F32, &[t, h * mla.v_head_dim]);
    rec.push("mla_attention", Op::MlaAttention(*mla), &[q, cache.rows, cache.block_table, values], &[y]);
    y
}
