//! What can be wrong with a model.

use aloud_format::FormatError;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The file itself.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A family that is not built in.
    #[error("architecture `{found}` is not supported; expected one of {expected}")]
    Architecture {
        /// What the model says.
        found: String,
        /// What there is.
        expected: String,
    },
    /// A config value that is missing, or of another kind than it should be.
    #[error("config field `{field}`: expected {expected}, found {found}")]
    Config {
        /// Which field.
        field: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A feature of the config that has no implementation.
    #[error("config field `{field}` is `{found}`, which is not supported; supported are {supported}")]
    Unsupported {
        /// Which field.
        field: String,
        /// Its value.
        found: String,
        /// What there is.
        supported: &'static str,
    },
    /// A relative of a supported family that needs more than is built.
    #[error("`{found}` is not supported: it needs {missing}; supported relatives are DeepSeek-V2, V3, V3.1 and R1")]
    Variant {
        /// What the model says.
        found: String,
        /// What there would have to be.
        missing: &'static str,
    },
    /// The executor refused.
    #[error(transparent)]
    Executor(Box<dyn std::error::Error + Send + Sync>),
}

impl ModelError {
    /// Wraps an executor's error.
    pub fn executor(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        ModelError::Executor(Box::new(error))
    }
}
