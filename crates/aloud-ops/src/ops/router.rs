use crate::{DType, Elem, Op, Recording, Tensor};

/// Normalises a row and asks the router: `h = x * norm / sqrt(mean(x^2) + eps)`, `logits[t, e] = sum_d weight[e, d] * h[t, d]`.
/// `x: [T, D] f32`, `norm: [D] f32`, `weight: [E, D]` in F32, F16 or BF16 → `h: [T, D] f32`, `logits: [T, E] f32`. D is a
/// multiple of 32.
///
/// Source: DeepSeek-V2 (2024), section 2.2; the norm is Zhang & Sennrich's (2019).
///
/// # Panics
/// If the shapes disagree or the weight is quantised.
#[track_caller]
pub fn router(rec: &mut Recording, x: Tensor, norm: Tensor, eps: f32, weight: Tensor) -> (Tensor, Tensor) {
    let ([t, d], [e, wd]) = (x.dims2(), weight.dims2());
    assert_eq!((norm.dims1(), wd), ([d], d), "router: x is [T, {d}], weight is [{e}, {wd}]");
    let plain = [DType::F32, DType::F16, DType::BF16].map(Elem::Weight);
    assert!(plain.contains(&weight.elem), "router: the weight must be a plain one, not {:?}", weight.elem);
    let h = rec.scratch(Elem::F32, &[t, d]);
    let logits = rec.scratch(Elem::F32, &[t, e]);
    rec.push("router", Op::Router { eps }, &[x, norm, weight], &[h, logits]);
    (h, logits)
}
