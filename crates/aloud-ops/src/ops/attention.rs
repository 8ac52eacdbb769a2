use crate::{Elem, Op, Recording, Tensor};

/// The paged cache of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvCache {
    /// `[slots, K*C]`, f16 or f32.
    pub k: Tensor,
    /// `[slots, K*C]`, f16 or f32.
    pub v: Tensor,
    /// `[blocks] u32`: which block of slots holds tokens `[i*B, (i+1)*B)`.
    pub block_table: Tensor,
    /// B: tokens per block.
    pub block_tokens: u32,
}

/// Parameters of [`attention`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// H: query heads.
    pub n_heads: u32,
    /// K: key/value heads; `H / K` query heads share one.
    pub n_kv_heads: u32,
    /// C: width of one head.
    pub head_dim: u32,
    /// Multiplies the scores, usually `C^-0.5`.
    pub scale: f32,
    /// Tokens per cache block, a multiple of 32.
    pub block_tokens: u32,
}

/// Grouped-query attention over the cache, causal:
/// `o[t, h] = sum_{s <= pos+t} softmax_s(scale * q[t, h] . k[s, h / (H/K)]) v[s, h / (H/K)]`.
/// `q: [T, H*C] f32` → `[T, H*C] f32`. The keys of this step are in the cache already.
///
/// Source: Ainslie 2023, "GQA".
///
/// # Panics
/// If the shapes disagree.
#[track_caller]
pub fn attention(rec: &mut Recording, q: Tensor, cache: &KvCache, params: Attention) -> Tensor {
    let ([_, width], [_, kv_width]) = (q.dims2(), cache.k.dims2());
    assert_eq!(width, params.n_heads * params.head_dim, "attention: q must be [T, H*C]");
    assert_eq!(kv_width, params.n_kv_heads * params.head_dim, "attention: the cache must be [slots, K*C]");
    assert_eq!(params.n_heads % params.n_kv_heads, 0, "attention: K must divide H");
    assert_eq!(params.block_tokens % 32, 0, "attention: blocks hold a multiple of 32 tokens");
    let y = rec.scratch(Elem::F32, q.shape());
    rec.push("attention", Op::Attention(params), &[q, cache.k, cache.v, cache.block_table], &[y]);
    y
}
