use crate::ops::{LatentCache, Mla};
use crate::{Elem, Op, Recording, Tensor};

/// Splits the first projection of multi-head latent attention: caches its last columns, and norms the query's latent.
///
/// With `a[t] = (x [A], latent [R], key [P])` and `RMSNorm(v; w) = v * w / sqrt(mean(v^2) + eps)`, the cache's row of
/// position `pos + t` becomes `(RMSNorm(latent; kv_norm), key)`, the key's pairs `(2i, 2i + 1)` turned by that position.
/// Returns `RMSNorm(x; q_norm)`, or nothing without `q_norm`: x is then the heads' queries themselves.
///
/// `a: [T, A + R + P] f32`, `q_norm: [A] f32`, `kv_norm: [R] f32`, `table: [positions, P] f32` (cos and sin in turn)
/// → `[T, A] f32`.
///
/// Source: DeepSeek-V2 (2024), section 2.1.
///
/// # Panics
/// If the shapes disagree.
#[expect(clippy::too_many_arguments, reason = "the tensors of one layer, each named")]
#[track_caller]
pub fn mla_project(
    rec: &mut Recording,
    a: Tensor,
    q_norm: Option<Tensor>,
    kv_norm: Tensor,
    eps: f32,
    table: Tensor,
    cache: &LatentCache,
    mla: &Mla,
) -> Option<Tensor> {
    let ([t, width], [_, p]) = (a.dims2(), table.dims2());
    assert!(width > mla.latent_dim(), "mla_project: a is [T, {width}], which holds no [R + P] of {mla:?}");
    assert_eq!(kv_norm.dims1(), [mla.kv_lora_rank], "mla_project: kv_norm must be [R]");
    assert_eq!(p, mla.qk_rope_head_dim, "mla_project: the table is for {p} values");
    cache.check(mla);
    let x_width = width - mla.latent_dim();
    let (mut inputs, mut outputs) = (vec![a, kv_norm, table, cache.block_table], vec![cache.rows]);
    let y = q_norm.map(|q_norm| {
        assert_eq!(q_norm.dims1(), [x_width], "mla_project: q_norm must be [A]");
        inputs.push(q_norm);
        outputs.push(rec.scratch(Elem::F32, &[t, x_width]));
        outputs[1]
    });
    rec.push("mla_project", Op::MlaProject { eps, mla: *mla }, &inputs, &outputs);
    y
}
