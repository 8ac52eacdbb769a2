//! The few words that change from step to step, as they lie in device memory.

use bytemuck::{Pod, Zeroable};

/// Stop ids that the sampler can hold.
pub const MAX_STOP_IDS: usize = 16;

/// Draft tokens that one step can verify.
pub const MAX_DRAFTS: usize = 4;

/// Where the sequence stands; every kernel reads it, the sampler advances it on the device.
///
/// `n_tokens == 0` means that the sequence has ended: every kernel then returns at once, so steps that the host
/// submitted ahead cost nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Step {
    /// Position of the first row of this step = number of tokens already in the cache.
    pub pos: u32,
    /// Rows of this step that are real.
    pub n_tokens: u32,
    /// Tokens sampled so far in this answer.
    pub n_generated: u32,
    /// 0 outside of the thought; inside it, 1 more than the tokens of thought so far.
    pub thinking: u32,
}

/// What the host sets once per answer and the sampler reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct SamplerState {
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f32,
    /// Keeps the smallest set of most likely tokens whose probability reaches this; 1 keeps all.
    pub top_p: f32,
    /// Drops tokens less likely than this fraction of the most likely one; 0 keeps all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens seen in prompt or answer; 1 is off (Keskar 2019).
    pub repetition_penalty: f32,
    /// Subtracted from the logits of tokens that occur in the answer; 0 is off.
    pub presence_penalty: f32,
    /// Subtracted per occurrence in the answer; 0 is off.
    pub frequency_penalty: f32,
    /// Keeps the k most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Seed of the draws.
    pub seed: u32,
    /// Ids at or above this are padding of the embedding and are never drawn.
    pub n_vocab: u32,
    /// How many of `stop_ids` count.
    pub n_stop: u32,
    /// Tokens after which the sequence ends whatever is drawn.
    pub max_tokens: u32,
    /// Id of `<think>`; `u32::MAX` if the model has none.
    pub think_open: u32,
    /// Id of `</think>`; `u32::MAX` if the model has none.
    pub think_close: u32,
    /// Tokens of thought after which `</think>` is written for the model; `u32::MAX` is no limit.
    pub think_budget: u32,
    /// Not used; keeps the layout a multiple of 16 bytes.
    pub reserved: [u32; 2],
    /// Ids that end the sequence.
    pub stop_ids: [u32; MAX_STOP_IDS],
}

impl Default for SamplerState {
    fn default() -> Self {
        SamplerState {
            temperature: 0.0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            top_k: 0,
            seed: 0,
            n_vocab: u32::MAX,
            n_stop: 0,
            max_tokens: u32::MAX,
            think_open: u32::MAX,
            think_close: u32::MAX,
            think_budget: u32::MAX,
            reserved: [0; 2],
            stop_ids: [u32::MAX; MAX_STOP_IDS],
        }
    }
}

/// What the sampler reports of one step; the host reads it late, through a ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SampleResult {
    /// [`SampleResult::RUNNING`], [`SampleResult::STOPPED`], [`SampleResult::LENGTH`] or [`SampleResult::AFTER_END`].
    pub status: u32,
    /// Tokens that this step drew: one, and one more for each draft that turned out right.
    pub n_drawn: u32,
    /// Tokens sampled so far, these included.
    pub n_generated: u32,
    /// Tokens in the cache after this step.
    pub n_cached: u32,
    /// Drafts that this step verified.
    pub n_drafts: u32,
    /// The row that draws next; means something only while the step runs.
    pub next_row: u32,
    /// Not used; keeps the layout a multiple of 16 bytes.
    pub reserved: [u32; 2],
    /// The drawn tokens, the first `n_drawn` of them.
    pub tokens: [u32; 8],
    /// The drafts, the first `n_drafts` of them.
    pub drafts: [u32; MAX_DRAFTS],
}

impl SampleResult {
    /// More may follow.
    pub const RUNNING: u32 = 0;
    /// The last token is a stop id.
    pub const STOPPED: u32 = 1;
    /// The last token is the last one that was asked for.
    pub const LENGTH: u32 = 2;
    /// The sequence had ended before; nothing was drawn.
    pub const AFTER_END: u32 = 3;
    /// No row draws any more.
    pub const NO_ROW: u32 = u32::MAX;

    /// The drawn tokens.
    #[must_use]
    pub fn drawn(&self) -> &[u32] {
        &self.tokens[..self.n_drawn as usize]
    }
}
