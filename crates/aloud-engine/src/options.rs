//! How the engine is set up.

use crate::drafting::Draft;
use crate::error::EngineError;
use aloud_model::Config;
use aloud_ops::Elem;

/// How the engine is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Tokens of context.
    pub n_ctx: u32,
    /// Elements of the KV cache: [`Elem::F16`] or [`Elem::F32`].
    pub cache: Elem,
    /// Tokens per cache block: a multiple of 32, which is what kernels walk at once.
    pub block_tokens: u32,
    /// Sizes of the chunks that prompts are cut into, ascending.
    pub chunks: Vec<u32>,
    /// Steps submitted before the first is read.
    pub run_ahead: usize,
    /// Tokens are drafted this way, if at all.
    pub draft: Option<Draft>,
    /// Tokens of a chunk from which latent attention expands keys and values out of the cache instead of absorbing the weights
    /// that do so.
    pub expand_from: u32,
}

impl Default for EngineOptions {
    fn default() -> Self {
        let chunks = vec![32, 128];
        EngineOptions {
            n_ctx: 4096,
            cache: Elem::F16,
            block_tokens: 32,
            chunks,
            run_ahead: 4,
            draft: None,
            expand_from: 64,
        }
    }
}

/// Whether a model can be given a context of so many tokens; for those who want to know before loading it.
///
/// # Errors
/// If it was made for fewer, or they are too few for a prompt and an answer.
pub fn check_context(n_ctx: u32, config: &Config) -> Result<(), EngineError> {
    let most = config.max_position_embeddings;
    if (2..=most).contains(&n_ctx) {
        return Ok(());
    }
    Err(EngineError::Context { n_ctx, expected: format!("2 to {most}, which the model was made for") })
}

impl EngineOptions {
    /// Sizes of the chunks that have plans of their own.
    pub(crate) fn chunks(&self) -> Vec<u32> {
        self.chunks.iter().copied().filter(|&c| c > 1).collect()
    }

    pub(crate) fn check(&self) -> Result<(), EngineError> {
        let wrong = |field, found, expected| Err(EngineError::Options { field, found, expected });
        if self.block_tokens == 0 || !self.block_tokens.is_multiple_of(32) {
            return wrong("block_tokens", self.block_tokens.to_string(), "a multiple of 32");
        }
        if !self.chunks.iter().any(|&c| c > 1) || !self.chunks.is_sorted() {
            return wrong("chunks", format!("{:?}", self.chunks), "ascending sizes, one of them above 1");
        }
        if !matches!(self.cache, Elem::F16 | Elem::F32) {
            return wrong("cache", format!("{:?}", self.cache), "F16 or F32");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_cannot_work_are_named() {
        let bad = [
            ("block_tokens", EngineOptions { block_tokens: 48, ..EngineOptions::default() }),
            ("block_tokens", EngineOptions { block_tokens: 0, ..EngineOptions::default() }),
            ("chunks", EngineOptions { chunks: vec![1], ..EngineOptions::default() }),
            ("chunks", EngineOptions { chunks: vec![64, 32], ..EngineOptions::default() }),
            ("cache", EngineOptions { cache: Elem::U32, ..EngineOptions::default() }),
        ];
        assert!(EngineOptions::default().check().is_ok());
        for (name, options) in bad {
            let error = options.check().expect_err("is refused");
            assert!(matches!(error, EngineError::Options { field, .. } if field == name), "{error}");
        }
    }
}
