use crate::{Elem, Op, Recording, Tensor};

/// Copies the last real row, `step.n_tokens - 1`. `x: [T, D] f32` → `[1, D] f32`.
#[track_caller]
pub fn last_row(rec: &mut Recording, x: Tensor) -> Tensor {
    let [_, d] = x.dims2();
    let y = rec.scratch(Elem::F32, &[1, d]);
    rec.push("last_row", Op::LastRow, &[x], &[y]);
    y
}
