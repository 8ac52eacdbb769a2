//! Model configs and weights to a [`Recording`](aloud_ops::Recording).
//!
//! Knows neither devices nor text. [`Config`] comes from GGUF metadata or from Hugging Face's `config.json`, [`Weights`]
//! are bound to it with every shape checked, and [`Decoder`] writes the forward pass down.

mod arch;
mod config;
mod error;
mod estimate;
mod forward;
mod load;
mod memory;
mod names;
mod rope;
mod tensors;

pub use arch::Architecture;
pub use config::{Config, Experts, Latent, RopeScaling};
pub use error::ModelError;
pub use estimate::{Estimate, GPU_RESERVE_BYTES, Mix};
pub use forward::{Decoder, LayerCache};
pub use load::{AttentionWeights, Dense, FeedForward, Layer, NextToken, Progress, Room, Weights, allocate, load};
pub use memory::MemoryNeed;
pub use names::Container;
pub use rope::rope_table;
pub use tensors::{mtp_layer, read_bytes};
