//! Load a model, chat with it, read a stream of typed events.
//!
//! ```no_run
//! # async fn run() -> Result<(), aloud::Error> {
//! use aloud::{ChatEvent, ChatOptions, LoadOptions, Message, Model, ModelFiles, Role};
//!
//! let files = ModelFiles::open("model.gguf")?;
//! let mut model = Model::load(files, &LoadOptions::default(), |_| {}).await?;
//! let question = [Message::new(Role::User, "What is the capital of France?")];
//! let options = ChatOptions::default();
//! let ending = model
//!     .chat(&question, &options, |event| {
//!         if let ChatEvent::Answer(text) = event {
//!             print!("{text}");
//!         }
//!         std::ops::ControlFlow::Continue(())
//!     })
//!     .await?;
//! println!("\n{} tokens", ending.usage.completion_tokens);
//! # Ok(())
//! # }
//! ```
//!
//! The library does no I/O of its own beside [`FileSource`], which exists only natively: it is handed
//! [`ByteSource`]s.

mod aside;
mod chat;
mod drafts;
mod error;
#[cfg(not(target_arch = "wasm32"))]
mod file;
mod files;
mod header;
mod model;
mod recommended;
mod speed;

pub use aloud_engine::{
    Control, Draft, DraftKind, EngineError, Finish, LayerTrace, Phase, Sampling, StepTrace, TokenLogprob, Trace,
    check_context,
};
pub use aloud_format::{
    ByteSource, DType, FormatError, Gguf, MemorySource, MetaArray, MetaValue, Metadata, ShardIndex, TensorInfo,
    TensorSet,
};
pub use aloud_gpu::{
    AdapterSummary, Choice, Counters, DeviceCaps, Gpu, GpuError, GpuExecutor, GpuOptions, GpuPlan, PlanFigures,
    StepSeconds, Tile, Tuned, Variant, adapters,
};
pub use aloud_model::{
    Config, Container, Estimate, GPU_RESERVE_BYTES, MemoryNeed, Mix, ModelError, Progress, RopeScaling, read_bytes,
};
pub use aloud_ops as ops;
pub use aloud_ops::Elem;
pub use aloud_text::{
    ChatTemplate, Detokenizer, Message, RenderOptions, Role, Special, TextError, ThinkMode, Tokenizer,
};
pub use chat::{ChatEvent, ChatOptions, Ending, FinishReason, Timings, Usage};
pub use drafts::{DraftReport, Drafts};
pub use error::Error;
#[cfg(not(target_arch = "wasm32"))]
pub use file::FileSource;
pub use files::{HuggingFaceFiles, ModelFiles};
pub use header::Header;
pub use model::{Bench, DEFAULT_CTX, LoadOptions, LoadTimes, Model, Resident};
pub use speed::Speed;
