use crate::ops::{SampleRow, SamplerBuffers};
use crate::{Op, Recording, Tensor};

/// Makes the sampler's scores of the logits: padding ids become `-inf`, then repetition, presence and frequency
/// penalties, then division by the temperature (unless that is 0); finds the best of each of [`SamplerBuffers::SLICES`]
/// slices of the vocabulary on the way. `logits: [T, V] f32` → `scores: [V] f32`, `best: [SLICES, 2] u32`
/// (bits of the score, id; the lowest id wins a tie). A row behind drafts that went wrong is left alone, see
/// [`crate::sample`].
///
/// # Panics
/// If the shapes disagree.
#[track_caller]
pub fn penalize(rec: &mut Recording, logits: Tensor, buffers: &SamplerBuffers, at: SampleRow) {
    let [rows, v] = logits.dims2();
    assert!(at.row < rows, "penalize: row {} of {rows}", at.row);
    assert_eq!(buffers.scores.dims1(), [v], "penalize: scores must be [V]");
    let inputs = [logits, buffers.sampler, buffers.counts, buffers.result];
    rec.push("penalize", Op::Penalize(at), &inputs, &[buffers.scores, buffers.best]);
}
