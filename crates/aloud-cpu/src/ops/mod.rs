//! One function per op, on plain slices.

mod attention;
mod draft;
mod embed;
mod experts_down;
mod gate_up;
mod gqa_project;
mod kv_write;
mod last_row;
mod matmul;
mod matmul_half;
mod matmul_i8;
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

pub use attention::attention;
pub use draft::{draft_begin, draft_lookup, draft_pick};
pub use embed::embed;
pub use experts_down::experts_down;
pub use gate_up::gate_up;
pub use gqa_project::gqa_project;
pub use kv_write::kv_write;
pub use last_row::last_row;
pub use matmul::matmul;
pub use matmul_half::{in_halves, rows_in_halves};
pub use matmul_i8::{rms_norm_i8, rounded};
pub use mla_attention::mla_attention;
pub use mla_expanded::mla_expanded;
pub use mla_project::mla_project;
pub use mla_query::mla_query;
pub use norm_concat::norm_concat;
pub use penalize::{best_of_slices, penalize};
pub use rms_norm::rms_norm;
pub use rope::rope;
pub use route::{route, sigmoid, softmax, sort_slots};
pub use router::router;
pub use sample::{draw, sample, uniform};
pub use swiglu::swiglu;

/// Where position `p` lies in the paged cache.
#[must_use]
pub fn slot(block_table: &[u32], block_tokens: u32, p: u32) -> usize {
    (block_table[(p / block_tokens) as usize] * block_tokens + p % block_tokens) as usize
}
