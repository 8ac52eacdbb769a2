use crate::{Elem, Op, Recording, Tensor};

/// The gate of the feed-forward block: `y = silu(gate) * up`, `silu(z) = z / (1 + e^-z)`.
/// `gate, up: [T, F] f32` → `[T, F] f32`.
///
/// Source: Shazeer 2020, "GLU Variants Improve Transformer".
///
/// # Panics
/// If the shapes differ.
#[track_caller]
pub fn swiglu(rec: &mut Recording, gate: Tensor, up: Tensor) -> Tensor {
    assert_eq!(gate.dims2(), up.dims2(), "swiglu: gate and up must agree");
    let y = rec.scratch(Elem::F32, gate.shape());
    rec.push("swiglu", Op::Swiglu, &[gate, up], &[y]);
    y
}
