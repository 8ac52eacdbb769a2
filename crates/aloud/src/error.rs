//! What can go wrong, over all crates.

use aloud_engine::EngineError;
use aloud_format::FormatError;
use aloud_gpu::GpuError;
use aloud_model::ModelError;
use aloud_text::TextError;

/// Errors of the library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Tokenizer or template.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Config or weights.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The device.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// Generation.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A path that is not a model.
    #[error("`{path}`: expected {expected}, found {found}")]
    Path {
        /// The path.
        path: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// Multi-token prediction by a model that cannot.
    #[error(
        "`{model}` has no layer for multi-token prediction (most conversions leave it out); draft by lookup (--draft lookup) or \
         not at all"
    )]
    NoDraftLayer {
        /// Which model.
        model: String,
    },
    /// The model fits no buffer of the device.
    #[error(
        "a context of {n_ctx} tokens needs a cache buffer of {need_bytes} bytes, `{adapter}` binds at most {limit_bytes}; \
         use -c {fits} or less"
    )]
    ContextTooLarge {
        /// What was asked for.
        n_ctx: u32,
        /// Bytes of one side of one layer's cache.
        need_bytes: u64,
        /// The device's limit.
        limit_bytes: u64,
        /// The largest context that fits.
        fits: u64,
        /// The device.
        adapter: String,
    },
    /// The model asks for more memory than there is.
    #[error(
        "`{model}` needs {need_bytes} bytes (weights {weight_bytes}, cache {kv_bytes}), the machine has {found_bytes} \
         available; use a smaller quantisation, or a smaller context (-c)"
    )]
    TooLarge {
        /// Which model.
        model: String,
        /// In all.
        need_bytes: u64,
        /// Of these, weights.
        weight_bytes: u64,
        /// Of these, the cache.
        kv_bytes: u64,
        /// What there is.
        found_bytes: u64,
    },
}
