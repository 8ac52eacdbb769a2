use crate::{Elem, Op, Recording, Tensor};

/// Which two values of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RopePairing {
    /// `(i, i + C/2)`: Hugging Face's rotate-half, GGML's NEOX.
    Halves,
    /// `(2i, 2i + 1)`: GGML's NORM, the original paper.
    Interleaved,
}

/// Parameters of [`rope`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rope {
    /// C: width of one head.
    pub head_dim: u32,
    /// Which values pair up.
    pub pairing: RopePairing,
}

/// Turns each head by its position: `(a, b) -> (a cos - b sin, b cos + a sin)` with the angle of position
/// `step.pos + t` and pair `i` out of `table`.
/// `x: [T, N*C] f32`, `table: [positions, C] f32` (cos and sin in turn) → `[T, N*C] f32`.
///
/// Source: Su 2021, "RoFormer".
///
/// # Panics
/// If the widths disagree.
#[track_caller]
pub fn rope(rec: &mut Recording, x: Tensor, table: Tensor, params: Rope) -> Tensor {
    let ([_, width], [_, c]) = (x.dims2(), table.dims2());
    assert_eq!(c, params.head_dim, "rope: the table is for heads of {c}, not {}", params.head_dim);
    assert_eq!(width % c, 0, "rope: width {width} is no multiple of {c}");
    let y = rec.scratch(Elem::F32, x.shape());
    rec.push("rope", Op::Rope(params), &[x, table], &[y]);
    y
}
