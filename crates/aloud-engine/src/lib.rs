//! Token ids in, token ids out: prefill, decode, sampling and KV pages, on any executor.
//!
//! The decode loop stays on the device: the host submits steps ahead and reads the ids late, through a ring; the sampler
//! writes the next id and position where the next step reads them. Knows nothing of text.

mod control;
mod drafting;
mod engine;
mod error;
mod logprobs;
mod options;
mod pages;
mod plans;
mod sampling;
mod trace;

pub use control::Control;
pub use drafting::{Draft, DraftKind, DraftStats};
pub use engine::{Engine, Event, Finish, Generation, PreparedStep, Request};
pub use error::EngineError;
pub use logprobs::TokenLogprob;
pub use options::{EngineOptions, check_context};
pub use pages::Pages;
pub use plans::PlanSet;
pub use sampling::{Sampling, Thought};
pub use trace::{LayerTrace, Phase, StepTrace, Trace};
