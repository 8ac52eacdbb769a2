//! Op builders: each checks its shapes and appends one command.

mod add;
mod attention;
mod embed;
mod kv_write;
mod last_row;
mod matmul;
mod penalize;
mod rms_norm;
mod rope;
mod sample;
mod swiglu;

pub use add::add;
pub use attention::{Attention, KvCache, attention};
pub use embed::embed;
pub use kv_write::kv_write;
pub use last_row::last_row;
pub use matmul::matmul;
pub use penalize::penalize;
pub use rms_norm::rms_norm;
pub use rope::{Rope, RopePairing, rope};
pub use sample::{SamplerBuffers, sample};
pub use swiglu::swiglu;
