use crate::{Elem, Op, Recording, Tensor};

/// Normalises two rows and puts them side by side: `y = [RMSNorm(a; a_norm) | RMSNorm(b; b_norm)]`.
/// `a, b: [T, D] f32`, `a_norm, b_norm: [D] f32` → `[T, 2D] f32`. What a layer for multi-token prediction begins with.
///
/// Source: DeepSeek-V3 (2024), section 2.2.
///
/// # Panics
/// If the shapes disagree.
#[track_caller]
pub fn norm_concat(rec: &mut Recording, a: Tensor, a_norm: Tensor, b: Tensor, b_norm: Tensor, eps: f32) -> Tensor {
    let [t, d] = a.dims2();
    assert_eq!(a.dims2(), b.dims2(), "norm_concat: the rows must agree");
    assert_eq!((a_norm.dims1(), b_norm.dims1()), ([d], [d]), "norm_concat: norms must be [D]");
    let y = rec.scratch(Elem::F32, &[t, 2 * d]);
    rec.push("norm_concat", Op::NormConcat { eps }, &[a, a_norm, b, b_norm], &[y]);
    y
}
