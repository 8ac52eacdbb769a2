//! How tokens are drawn.

use crate::error::EngineError;
use aloud_ops::{MAX_STOP_IDS, SamplerState};

/// How tokens are drawn. The default is greedy: the most likely token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f32,
    /// Keeps the k most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the most likely tokens that reach this probability together; 1 keeps all.
    pub top_p: f32,
    /// Drops tokens less likely than this fraction of the most likely one; 0 keeps all.
    pub min_p: f32,
    /// Divides (if positive) or multiplies the logits of tokens of prompt and answer; 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted from the logits of tokens of the answer; 0 is off.
    pub presence_penalty: f32,
    /// Subtracted per occurrence in the answer; 0 is off.
    pub frequency_penalty: f32,
    /// Seed of the draws: the same seed and prompt give the same answer on the same device.
    pub seed: u32,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// What DeepSeek recommends for R1: temperature 0.6, top-p 0.95 (DeepSeek-R1 README).
    #[must_use]
    pub fn r1() -> Self {
        Sampling { temperature: 0.6, top_p: 0.95, ..Self::default() }
    }
}

/// The thought of a reasoning model, as token ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thought {
    /// Id of `<think>`.
    pub open: u32,
    /// Id of `</think>`.
    pub close: u32,
    /// Tokens after which the engine writes `</think>` itself.
    pub budget: Option<u32>,
    /// Whether the prompt ends inside the thought.
    pub open_at_start: bool,
}

/// The sampler's state on the device.
pub(crate) fn sampler_state(
    sampling: &Sampling,
    stop_ids: &[u32],
    thought: Option<Thought>,
    n_vocab: u32,
    max_tokens: u32,
) -> Result<SamplerState, EngineError> {
    let s = sampling;
    let check = |name, found: f32, fine: bool, expected| {
        if fine && found.is_finite() { Ok(found) } else { Err(EngineError::Sampling { name, found, expected }) }
    };
    if stop_ids.len() > MAX_STOP_IDS {
        return Err(EngineError::StopIds { found: stop_ids.len(), most: MAX_STOP_IDS });
    }
    let mut ids = [u32::MAX; MAX_STOP_IDS];
    ids[..stop_ids.len()].copy_from_slice(stop_ids);
    Ok(SamplerState {
        temperature: check("temperature", s.temperature, s.temperature >= 0.0, "0 or more")?,
        top_p: check("top_p", s.top_p, s.top_p > 0.0 && s.top_p <= 1.0, "more than 0, at most 1")?,
        min_p: check("min_p", s.min_p, (0.0..=1.0).contains(&s.min_p), "0 to 1")?,
        repetition_penalty: check(
            "repetition_penalty",
            s.repetition_penalty,
            s.repetition_penalty > 0.0,
            "more than 0",
        )?,
        presence_penalty: check("presence_penalty", s.presence_penalty, true, "a number")?,
        frequency_penalty: check("frequency_penalty", s.frequency_penalty, true, "a number")?,
        top_k: s.top_k,
        seed: s.seed,
        n_vocab,
        n_stop: stop_ids.len() as u32,
        max_tokens,
        think_open: thought.map_or(u32::MAX, |t| t.open),
        think_close: thought.map_or(u32::MAX, |t| t.close),
        think_budget: thought.and_then(|t| t.budget).unwrap_or(u32::MAX),
        reserved: [0; 2],
        stop_ids: ids,
    })
}
