use crate::{Elem, Op, Recording, Tensor};

/// Adds element by element: `y = a + b`. `a, b: [T, D] f32` → `[T, D] f32`.
///
/// # Panics
/// If the shapes differ.
#[track_caller]
pub fn add(rec: &mut Recording, a: Tensor, b: Tensor) -> Tensor {
    assert_eq!(a.dims2(), b.dims2(), "add: shapes must agree");
    let y = rec.scratch(Elem::F32, a.shape());
    rec.push("add", Op::Add, &[a, b], &[y]);
    y
}
