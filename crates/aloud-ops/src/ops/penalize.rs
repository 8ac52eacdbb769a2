use crate::ops::SamplerBuffers;
use crate::{Op, Recording, Tensor};

/// Makes the sampler's scores of the logits: padding ids become `-inf`, then repetition, presence and frequency
/// penalties, then division by the temperature (unless that is 0); finds the best of each of [`SamplerBuffers::SLICES`]
/// slices of the vocabulary on the way. `logits: [1, V] f32` → `scores: [V] f32`, `best: [SLICES, 2] u32`
/// (bits of the score, id; the lowest id wins a tie).
///
/// # Panics
/// If the shapes disagree.
#[track_caller]
pub fn penalize(rec: &mut Recording, logits: Tensor, buffers: &SamplerBuffers) {
    let [rows, v] = logits.dims2();
    assert_eq!(rows, 1, "penalize: one row is sampled");
    assert_eq!(buffers.scores.dims1(), [v], "penalize: scores must be [V]");
    rec.push("penalize", Op::Penalize, &[logits, buffers.sampler, buffers.counts], &[buffers.scores, buffers.best]);
}
