use crate::ops::{KvUp, Mla};
use crate::{Elem, Op, Recording, Tensor};

/// Absorbs the keys' weights into the queries, so that they meet the cached latents directly:
/// `y[t, h] = (sum_d K[h, d] q_nope[t, h, d], q_rope[t, h])`, the second part's pairs `(2i, 2i + 1)` turned by position
/// `pos + t`, where `K[h, d]: [R]` is row d of head h of the keys' part of `kv_up`.
///
/// `q: [T, W] f32` with `W >= H*(N+P)`, of each row its first `H*(N+P)` values (per head N, then P) count;
/// `table: [positions, P] f32` (cos and sin in turn) → `[T, H*(R+P)] f32`.
///
/// Source: DeepSeek-V2 (2024), section 2.1.2 and appendix C.
///
/// # Panics
/// If the shapes disagree.
#[track_caller]
pub fn mla_query(rec: &mut Recording, q: Tensor, kv_up: &KvUp, table: Tensor, mla: &Mla) -> Tensor {
    let ([t, width], [_, p]) = (q.dims2(), table.dims2());
    let h = mla.num_attention_heads;
    assert!(width >= h * mla.qk_head_dim(), "mla_query: q is [T, {width}], too narrow for {mla:?}");
    assert_eq!(width % 4, 0, "mla_query: rows are read by four");
    assert_eq!(p, mla.qk_rope_head_dim, "mla_query: the table is for {p} values");
    kv_up.check(mla);
    let y = rec.scratch(Elem::F32, &[t, h * mla.latent_dim()]);
    rec.push("mla_query", Op::MlaQuery(*mla), &[q, kv_up.tensors()[0], table], &[y]);
    y
}
