use crate::{Elem, KvUp, LatentCache, Mla, Op, Recording, Tensor};

/// Multi-head latent attention with keys and values made of the latent first, causal, for many rows at once:
/// `k[s, h] = W_K,h c_s`, `v[s, h] = W_V,h c_s`,
/// `o[t, h] = sum_{s <= pos+t} softmax_s(scale * (q_nope[t, h] . k[s, h] + rope(q_rope)[t, h] . k_rope_s)) v[s, h]`.
/// `q: [T, W] f32`, `W >= H*(N+P)`, of each head `[N | P]`, the P not yet rotated; `table: [positions, P] f32` as in
/// [`crate::gqa_project`], pairs `(2i, 2i + 1)`; row `t` stands at `step.pos + t` → `[T, H*Vh] f32`. The cache holds the rows of
/// this step already.
///
/// Making keys and values costs the same whatever T is; from about 170 rows it is cheaper than to attend to the latents.
///
/// Limits: `N + P <= 192`, `P <= 64`, `Vh <= 128`; N, P and Vh are multiples of 8, R of 32. The keys of [`KvUp::Split`]
/// are of a format whose blocks hold at most 32 values, and N is a multiple of 32.
///
/// Source: DeepSeek-V2 (2024), section 2.1.
///
/// # Panics
/// If the shapes disagree or a limit is passed.
#[track_caller]
pub fn mla_expanded(
    rec: &mut Recording,
    q: Tensor,
    cache: &LatentCache,
    kv_up: &KvUp,
    table: Tensor,
    mla: &Mla,
) -> Tensor {
    let ([t, width], [_, cached], [_, angles]) = (q.dims2(), cache.rows.dims2(), table.dims2());
    let (h, p, v) = (mla.num_attention_heads, mla.qk_rope_head_dim, mla.v_head_dim);
    kv_up.check(mla);
    assert!(width >= h * mla.qk_head_dim() && width.is_multiple_of(4), "mla_expanded: q must be [T, H*(N+P)]");
    assert_eq!(cached, mla.latent_dim(), "mla_expanded: the cache must be [slots, R+P]");
    assert_eq!(angles, p, "mla_expanded: the table is for heads of {angles}, not {p}");
    assert_eq!(mla.block_tokens % 32, 0, "mla_expanded: blocks hold a multiple of 32 tokens");
    let in_range = mla.qk_head_dim() <= 192 && p <= 64 && v <= 128;
    let whole = [mla.qk_nope_head_dim, p, v].iter().all(|n| n.is_multiple_of(8)) && mla.kv_lora_rank.is_multiple_of(32);
    assert!(in_range && whole, "mla_expanded: {mla:?} is out of range");
    let y = rec.scratch(Elem::F32, &[t, h * v]);
    let inputs = [&[q, cache.rows, cache.block_table, table], kv_up.tensors().as_slice()].concat();
    rec.push("mla_expanded", Op::MlaExpanded(*mla), &inputs, &[y]);
    y
}
