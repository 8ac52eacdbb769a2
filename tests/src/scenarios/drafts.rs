//! Drafting and verifying.

use crate::{Numbers, Scenario, floats, integers};
use aloud_cpu::ops;
use aloud_ops::{Executor, Recording, SampleResult, SampleRow, SamplerBuffers, SamplerState, Step, Tensor};

/// Rows of logits, the first of a known token and the others of drafts.
pub struct Verify {
    /// V.
    pub v: u32,
    /// The known token and the drafts.
    pub tokens: Vec<u32>,
    /// How tokens are drawn.
    pub state: SamplerState,
    /// Where the sequence stands.
    pub step: Step,
}

impl Verify {
    /// What the model says after each row, whatever was drafted.
    #[must_use]
    pub fn right(v: u32, rows: usize) -> Vec<u32> {
        let greedy = SamplerState::default();
        logits(v, rows).chunks_exact(v as usize).map(|row| ops::draw(row, &greedy, 0.0)).collect()
    }

    /// Records it for the given logits.
    pub fn record_with<E: Executor>(&self, e: &mut E, at: Tensor, logits: &[f32]) -> (Recording, SamplerBuffers) {
        let rows = self.tokens.len() as u32;
        let logits = floats(e, &[rows, self.v], logits);
        let buffers = SamplerBuffers::create(e, self.v, rows).expect("fits");
        e.write_state(buffers.sampler, 0, bytemuck::bytes_of(&self.state));
        e.write_state(buffers.tokens, 0, bytemuck::cast_slice(&self.tokens));
        let mut rec = Recording::new(at, rows);
        for row in 0..rows {
            let at = SampleRow { row, drafts: true };
            aloud_ops::penalize(&mut rec, logits, &buffers, at);
            aloud_ops::sample(&mut rec, &buffers, at);
        }
        (rec, buffers)
    }
}

/// Of as many rows; with ties.
fn logits(v: u32, rows: usize) -> Vec<f32> {
    let mut numbers = Numbers::new(u64::from(v));
    (0..rows * v as usize).map(|_| (numbers.unit() * 60.0).floor() as f32 / 8.0).collect()
}

impl Scenario for Verify {
    fn step(&self) -> Step {
        self.step
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let logits = logits(self.v, self.tokens.len());
        let (rec, buffers) = self.record_with(e, at, &logits);
        (rec, vec![at, buffers.result, buffers.counts, buffers.tokens])
    }
}

/// Drafts out of a sequence, the last tokens of which were drawn in the last step.
pub struct Lookup {
    /// The sequence.
    pub history: Vec<u32>,
    /// Tokens of it that the last step drew.
    pub n_drawn: u32,
    /// Drafts at most.
    pub n_drafts: u32,
    /// Tokens that may still come.
    pub left: u32,
}

impl Scenario for Lookup {
    fn step(&self) -> Step {
        Step { pos: self.history.len() as u32 - 1, n_tokens: 1, n_generated: 5, thinking: 0 }
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let n = self.history.len();
        let known = n - self.n_drawn as usize;
        let buffers = SamplerBuffers::create(e, 8, 5).expect("fits");
        let state = SamplerState { max_tokens: 5 + self.left, ..SamplerState::default() };
        e.write_state(buffers.sampler, 0, bytemuck::bytes_of(&state));
        let mut result = SampleResult { n_drawn: self.n_drawn, n_cached: n as u32 - 1, ..SampleResult::default() };
        result.tokens[..self.n_drawn as usize].copy_from_slice(&self.history[known..]);
        e.write_state(buffers.result, 0, bytemuck::bytes_of(&result));
        e.write_state(buffers.tokens, 0, bytemuck::cast_slice(&self.history[n - 1..]));
        let history = integers(e, &[n as u32 + 40], &self.history[..known]);
        let mut rec = Recording::new(at, 5);
        aloud_ops::draft_lookup(&mut rec, &buffers, history, self.n_drafts);
        (rec, vec![at, buffers.tokens, history])
    }
}

/// The bookkeeping of multi-token prediction.
pub struct Predict {
    /// Where the model stands.
    pub main: Step,
    /// Where its layer for prediction stands.
    pub own: Step,
    /// What the last step drew.
    pub result: SampleResult,
    /// Of the answer.
    pub max_tokens: u32,
    /// Whether a round of drafts begins, or a draft is picked.
    pub begin: bool,
}

impl Scenario for Predict {
    fn step(&self) -> Step {
        self.own
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let buffers = SamplerBuffers::create(e, 64, 5).expect("fits");
        let state = SamplerState { max_tokens: self.max_tokens, ..SamplerState::default() };
        e.write_state(buffers.sampler, 0, bytemuck::bytes_of(&state));
        e.write_state(buffers.result, 0, bytemuck::bytes_of(&self.result));
        let best: Vec<u32> = (0..64u32).flat_map(|i| [((i * 37 % 64) as f32 - 40.0).to_bits(), 100 + i]).collect();
        e.write_state(buffers.best, 0, bytemuck::cast_slice(&best));
        let main = integers(e, &[4], bytemuck::cast_slice(bytemuck::bytes_of(&self.main)));
        let tokens = integers(e, &[5], &[9, 9, 9, 9, 9]);
        let mut rec = Recording::new(at, 5);
        if self.begin {
            aloud_ops::draft_begin(&mut rec, &buffers, main, tokens);
        } else {
            aloud_ops::draft_pick(&mut rec, &buffers, main, tokens, 3);
        }
        (rec, vec![at, main, tokens, buffers.tokens])
    }
}
