//! What can go wrong while generating.

use aloud_model::ModelError;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The prompt leaves no room for an answer.
    #[error(
        "the prompt has {n_prompt} tokens and the context holds {n_ctx}: at least one place must be left for the answer; \
         shorten the prompt or use a larger context (-c)"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        n_prompt: usize,
        /// Tokens of the context.
        n_ctx: u32,
    },
    /// There is nothing to continue.
    #[error("the prompt is empty: expected at least one token")]
    EmptyPrompt,
    /// An id that the model does not have.
    #[error("token id {id} is out of range: the model has {n_vocab}")]
    TokenId {
        /// The id.
        id: u32,
        /// How many there are.
        n_vocab: u32,
    },
    /// A sampling parameter outside of what it can be.
    #[error("`{name}` is {found}, expected {expected}")]
    Sampling {
        /// Which parameter.
        name: &'static str,
        /// Its value.
        found: f32,
        /// What it can be.
        expected: &'static str,
    },
    /// More stop ids than the sampler holds.
    #[error("{found} stop ids were given, at most {most} are possible")]
    StopIds {
        /// How many were given.
        found: usize,
        /// How many fit.
        most: usize,
    },
    /// The context that was asked for cannot be had.
    #[error("a context of {n_ctx} tokens was asked for, expected {expected}")]
    Context {
        /// What was asked for.
        n_ctx: u32,
        /// What is possible.
        expected: String,
    },
    /// A setting of the engine that cannot work.
    #[error("engine option `{field}` is {found}, expected {expected}")]
    Options {
        /// Which.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it can be.
        expected: &'static str,
    },
    /// Loading.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The executor.
    #[error(transparent)]
    Executor(Box<dyn std::error::Error + Send + Sync>),
}

impl EngineError {
    /// Wraps an executor's error.
    pub(crate) fn executor(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        EngineError::Executor(Box::new(error))
    }
}
