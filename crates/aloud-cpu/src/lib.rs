//! The oracle: runs a [`Recording`](aloud_ops::Recording) in plain Rust with f64 sums.
//!
//! Each op has one file of the same name as its builder and its kernel. Written to be obviously right, not fast; never
//! shipped to users.

mod executor;
mod moe;
pub mod ops;

pub use executor::{CpuError, CpuExecutor, CpuPlan};
