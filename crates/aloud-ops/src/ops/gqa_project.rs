use crate::ops::KvCache;
use crate::{Elem, Op, Recording, Tensor};

/// Which two values of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RopePairing {
    /// `(i, i + C/2)`: Hugging Face's rotate-half, GGML's NEOX.
    Halves,
    /// `(2i, 2i + 1)`: GGML's NORM, the original paper.
    Interleaved,
}

/// Parameters of [`gqa_project`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GqaProject {
    /// H: query heads.
    pub n_heads: u32,
    /// K: key/value heads.
    pub n_kv_heads: u32,
    /// C: width of one head.
    pub head_dim: u32,
    /// Which values pair up.
    pub pairing: RopePairing,
    /// Added to the mean squares, where heads are normalised.
    pub eps: f32,
    /// Tokens per cache block.
    pub block_tokens: u32,
}

impl GqaProject {
    /// Values of a token: of all heads of queries, keys and values.
    #[must_use]
    pub fn width(&self) -> u32 {
        (self.n_heads + 2 * self.n_kv_heads) * self.head_dim
    }
}

/// What stands between the projections of grouped-query attention and the attention itself. Heads of queries and keys are
/// normalised if there are norms, then turned by their position, `(a, b) -> (a cos - b sin, b cos + a sin)` with the angle
/// of position `pos + t` and pair `i` out of `table`; keys and values go to the paged cache, where token `t` has slot
/// `block_table[(pos+t) / B] * B + (pos+t) % B`.
/// `qkv: [T, (H + 2K)*C] f32`, `qk_norm: [2, C] f32`, `table: [positions, C] f32` (cos and sin in turn); the cache is
/// `[slots, K*C]`, f16 or f32 → queries `[T, H*C] f32`.
///
/// Source: Su 2021, "RoFormer"; Qwen3 (2025) for the norms.
///
/// # Panics
/// If the widths disagree.
#[track_caller]
pub fn gqa_project(
    rec: &mut Recording,
    qkv: Tensor,
    qk_norm: Option<Tensor>,
    table: Tensor,
    cache: &KvCache,
    params: GqaProject,
) -> Tensor {
    let ([rows, width], [_, c], [_, cache_width]) = (qkv.dims2(), table.dims2(), cache.k.dims2());
    assert_eq!(c, params.head_dim, "gqa_project: the table is for heads of {c}, not {}", params.head_dim);
    assert_eq!(width, params.width(), "gqa_project: rows of {width} values do not hold the heads");
    assert_eq!(cache_width, params.n_kv_heads * c, "gqa_project: the cache must be [slots, K*C]");
    assert_eq!(c % 2, 0, "gqa_project: values of a head turn in pairs");
    let mut inputs = vec![qkv, table, cache.block_table];
    if let Some(norm) = qk_norm {
        assert_eq!(norm.dims2(), [2, c], "gqa_project: the norms must be [2, C]");
        inputs.push(norm);
    }
    let y = rec.scratch(Elem::F32, &[rows, params.n_heads * c]);
    rec.push("gqa_project", Op::GqaProject(params), &inputs, &[y, cache.k, cache.v]);
    y
}
