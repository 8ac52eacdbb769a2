use crate::{Elem, Op, Recording, Tensor};

/// Normalises rows of `D`: `y = x * weight / sqrt(mean(x^2) + eps)`.
/// `x: [T, N*D] f32`, `weight: [D] f32` → `[T, N*D] f32`; with `N > 1` each head of a row is normalised by itself
/// (Qwen3's query and key norms).
///
/// Source: Zhang & Sennrich 2019.
///
/// # Panics
/// If the width is no multiple of `D`.
#[track_caller]
pub fn rms_norm(rec: &mut Recording, x: Tensor, weight: Tensor, eps: f32) -> Tensor {
    let ([_, width], [d]) = (x.dims2(), weight.dims1());
    assert_eq!(width % d, 0, "rms_norm: width {width} is no multiple of {d}");
    let y = rec.scratch(Elem::F32, x.shape());
    rec.push("rms_norm", Op::RmsNorm { eps }, &[x, weight], &[y]);
    y
}
