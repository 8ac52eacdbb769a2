use crate::{Elem, Op, Recording, Tensor};

/// A linear layer: `y[t, n] = sum_k x[t, k] * weight[n, k] (+ bias[n])`.
/// `x: [T, K] f32`, `weight: [N, K]` in any weight format, `bias: [N] f32` → `[T, N] f32`. K is a multiple of 32.
///
/// # Panics
/// If the shapes disagree or `weight` is not a weight.
#[track_caller]
pub fn matmul(rec: &mut Recording, name: &str, x: Tensor, weight: Tensor, bias: Option<Tensor>) -> Tensor {
    matmul_stacked(rec, name, x, &[weight], bias)
}

/// A linear layer added to what is there: `into[t, n] += sum_k x[t, k] * weight[n, k]`, as a residual stream wants it.
/// `x: [T, K] f32`, `weight: [N, K]` in any weight format, `into: [T, N] f32`. K is a multiple of 32.
///
/// # Panics
/// If the shapes disagree or `weight` is not a weight.
#[track_caller]
pub fn matmul_add(rec: &mut Recording, name: &str, x: Tensor, weight: Tensor, into: Tensor) {
    assert!(weight.is_weight(), "matmul_add: the right side must be a weight");
    let ([t, k], [n, wk]) = (x.dims2(), weight.dims2());
    assert_eq!(k, wk, "matmul_add {name}: x is [T, {k}], weight is [{n}, {wk}]");
    assert_eq!(into.dims2(), [t, n], "matmul_add {name}: the sum must be [T, N]");
    rec.push(name, Op::MatmulAdd, &[x, weight, into], &[into]);
}

/// One linear layer whose rows come in several weights, one after the other: `y = [w_0 x | w_1 x | ...] (+ bias)`.
/// `x: [T, K] f32`, `weights: [N_i, K]`, each in a format of its own, `bias: [sum N_i] f32` → `[T, sum N_i] f32`. K is a
/// multiple of 32.
///
/// # Panics
/// If the shapes disagree, or there is no weight.
#[track_caller]
pub fn matmul_stacked(rec: &mut Recording, name: &str, x: Tensor, weights: &[Tensor], bias: Option<Tensor>) -> Tensor {
    let [t, k] = x.dims2();
    let rows = weights.iter().map(|weight| {
        assert!(weight.is_weight(), "matmul: the right side must be a weight");
        let [n, wk] = weight.dims2();
        assert_eq!(k, wk, "matmul {name}: x is [T, {k}], weight is [{n}, {wk}]");
        n
    });
    let n = rows.sum();
    let y = rec.scratch(Elem::F32, &[t, n]);
    let mut inputs: Vec<Tensor> = [x].into_iter().chain(weights.iter().copied()).collect();
    if let Some(bias) = bias {
        assert_eq!(bias.dims1(), [n], "matmul {name}: bias must be [sum N]");
        inputs.push(bias);
    }
    rec.push(name, Op::Matmul, &inputs, &[y]);
    y
}
