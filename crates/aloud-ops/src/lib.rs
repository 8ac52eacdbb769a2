//! Typed operations and the [`Recording`] that holds them.
//!
//! A model never touches a device: it appends ops to a [`Recording`], which is plain data (an op, its tensors, its
//! parameters). An [`Executor`] turns the recording into a plan and runs it; `aloud-gpu` does so on a wgpu device and
//! `aloud-cpu` in plain Rust. Shape letters are those of ARCHITECTURE.md: T new tokens, S cached positions, D model
//! width, H query heads, K key/value heads, C head width, F feed-forward width, V vocabulary.

mod cost;
mod executor;
mod fuse;
mod ops;
mod recording;
mod step;
mod tensor;

pub use aloud_format::DType;
pub use cost::Cost;
pub use executor::Executor;
pub use fuse::{PROJECT_QUERY_BINDINGS, fuse};
pub use ops::*;
pub use recording::{Command, Op, Recording};
pub use step::{MAX_DRAFTS, MAX_STOP_IDS, SampleResult, SamplerState, Step};
pub use tensor::{Elem, Storage, Tensor};
