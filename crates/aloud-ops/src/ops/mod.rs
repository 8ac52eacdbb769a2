//! Op builders: each checks its shapes and appends one command.

mod attention;
mod embed;
mod kv_write;
mod last_row;
mod matmul;
mod mla;
mod mla_attention;
mod mla_expanded;
mod mla_project;
mod mla_query;
mod norm_concat;
mod penalize;
mod rms_norm;
mod rope;
mod route;
mod router;
mod sample;
mod swiglu;

pub use attention::{Attention, KvCache, attention};
pub use embed::embed;
pub use kv_write::kv_write;
pub use last_row::last_row;
pub use matmul::{matmul, matmul_add, matmul_stacked};
pub use mla::{KvUp, LatentCache, Mla};
pub use mla_attention::mla_attention;
pub use mla_expanded::mla_expanded;
pub use mla_project::mla_project;
pub use mla_query::mla_query;
pub use norm_concat::norm_concat;
pub use penalize::penalize;
pub use rms_norm::rms_norm;
pub use rope::{Rope, RopePairing, rope};
pub use route::{GroupScore, Route, Routing, Scoring, SlotOrder, route};
pub use router::router;
pub use sample::{SamplerBuffers, sample};
pub use swiglu::swiglu;
