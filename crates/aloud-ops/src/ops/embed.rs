use crate::{Elem, Op, Recording, Tensor};

/// Looks up the rows of the embedding: `y[t] = table[tokens[t]]`.
/// `tokens: [T] u32`, `table: [V, D]` in any weight format → `[T, D] f32`.
///
/// # Panics
/// If `table` is not a weight matrix.
#[track_caller]
pub fn embed(rec: &mut Recording, tokens: Tensor, table: Tensor) -> Tensor {
    assert!(table.is_weight(), "embed: the table must be a weight");
    let [_, d] = table.dims2();
    let y = rec.scratch(Elem::F32, &[rec.max_tokens, d]);
    rec.push("embed", Op::Embed, &[tokens, table], &[y]);
    y
}
