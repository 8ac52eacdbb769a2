use crate::{Elem, Executor, Op, Recording, Tensor};

/// The persistent buffers of the sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplerBuffers {
    /// [`crate::SamplerState`] as `[32] u32`, written by the host once per answer.
    pub sampler: Tensor,
    /// `[V] u32`: occurrences in the answer in the low 31 bits, bit 31 set for tokens of the prompt.
    pub counts: Tensor,
    /// `[V] f32`, see [`crate::penalize`].
    pub scores: Tensor,
    /// `[SLICES, 2] u32`, see [`crate::penalize`].
    pub best: Tensor,
    /// `[T] u32`: the ids that the next step embeds.
    pub tokens: Tensor,
    /// [`crate::SampleResult`] as `[20] u32`.
    pub result: Tensor,
}

impl SamplerBuffers {
    /// Slices of the vocabulary whose best score is found independently.
    pub const SLICES: u32 = 64;

    /// Creates the buffers for a vocabulary of `v` and steps of up to `max_tokens` rows.
    ///
    /// # Errors
    /// If the executor cannot hold them.
    pub fn create<E: Executor>(executor: &mut E, v: u32, max_tokens: u32) -> Result<Self, E::Error> {
        Ok(SamplerBuffers {
            sampler: executor.create_state("sampler", Elem::U32, &[32])?,
            counts: executor.create_state("counts", Elem::U32, &[v])?,
            scores: executor.create_state("scores", Elem::F32, &[v])?,
            best: executor.create_state("best", Elem::U32, &[Self::SLICES, 2])?,
            tokens: executor.create_state("tokens", Elem::U32, &[max_tokens])?,
            result: executor.create_state("result", Elem::U32, &[20])?,
        })
    }
}

/// Parameters of [`penalize`](crate::penalize) and [`sample`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleRow {
    /// Which row of the logits.
    pub row: u32,
    /// Whether the rows behind the first are drafts to be verified: `tokens[1..step.n_tokens]`. Otherwise all rows of the step
    /// were known, and one is sampled.
    pub drafts: bool,
}

/// Draws the next token and advances the step on the device.
///
/// With temperature 0 the best score wins, the lowest id on a tie. Otherwise top-k, top-p and min-p cut in this order
/// (each renormalises what the one before left; at least one token stays; ties at a cut all stay), and one uniform
/// number, a hash of seed and `n_generated`, picks from what is left in the order of ids. Inside a thought that used up
/// `think_budget` tokens, `think_close` is taken instead. The token goes to `tokens[0]`, its count rises, `step` moves
/// on by its rows and becomes one row; or 0 rows when a stop id was drawn or `max_tokens` reached.
///
/// Rows of drafts are sampled in turn: row `i` only if what was drawn at row `i - 1` is draft `i`, from the distribution that
/// it would have without drafts, with the number that it would have been drawn by. So the text is the one without drafts;
/// a draft is accepted with the probability that the model gives it, as in speculative sampling (Leviathan 2022) with a
/// draft distribution that is sure of itself. The step moves on by the rows that were right.
///
/// Source: Holtzman 2019 (top-p), Nguyen 2024 (min-p), Jarzynski & Olano 2020 (PCG hash).
pub fn sample(rec: &mut Recording, buffers: &SamplerBuffers, at: SampleRow) {
    let inputs = [buffers.scores, buffers.best, buffers.sampler];
    rec.push("sample", Op::Sample(at), &inputs, &[rec.step, buffers.tokens, buffers.counts, buffers.result]);
}
