//! Runs a [`Recording`](aloud_ops::Recording) on one wgpu device.
//!
//! [`Gpu::open`] takes an adapter, [`GpuExecutor`] holds weights and state on it and compiles recordings to plans. Which
//! kernel runs an op is decided in one place, `select/mod.rs`, from the device's capabilities.

mod adapters;
mod clock;
mod device;
mod error;
mod executor;
mod layout;
mod pipelines;
mod plan;
mod readback;
mod select;
#[cfg(not(target_arch = "wasm32"))]
mod staging;
mod tile;
mod tuning;
mod upload;

pub use adapters::{AdapterSummary, Choice, adapters};
pub use device::{Counters, DeviceCaps, EncodeTime, Gpu, GpuOptions};
pub use error::GpuError;
pub use executor::{GpuExecutor, StepSeconds};
pub use plan::{GpuPlan, PlanFigures};
#[cfg(not(target_arch = "wasm32"))]
pub use staging::MAX_STAGING_BYTES;
pub use tile::{Tile, TileCaps};
pub use tuning::{Tuned, Tuning, Variant, Width};
