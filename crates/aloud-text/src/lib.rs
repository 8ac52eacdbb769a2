//! Tokenizers, chat templates, incremental detokenising, `<think>` splitting and stop strings.
//!
//! Text goes in one direction: messages are rendered by a [`ChatTemplate`], the result is cut into
//! ids by a [`Tokenizer`], and the ids that a model answers with become text again through a
//! [`Detokenizer`], a [`ThinkSplitter`] and [`StopStrings`].
//!
//! Two rules hold throughout. Text that a user wrote never becomes a control token: see
//! [`Special::AsText`] and [`RenderedPrompt`]. And a chat template comes out of a downloaded file,
//! so it runs with limits on its steps, memory and output: see [`TemplateLimits`].
//!
//! This crate knows nothing of files, models or devices; GGUF metadata arrives as the plain
//! strings and numbers of [`GgufTokenizer`].

mod detokenizer;
mod error;
mod guard;
mod stop;
mod template;
mod think;
mod tokenizer;

pub use detokenizer::Detokenizer;
pub use error::TextError;
pub use stop::StopStrings;
pub use template::{ChatTemplate, Message, RenderOptions, RenderedPrompt, Role, TemplateLimits, ThinkMode};
pub use think::{TextEvent, ThinkSplitter};
pub use tokenizer::{GgufTokenizer, PRE_TOKENIZERS, Special, Tokenizer};
