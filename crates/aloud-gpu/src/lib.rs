//! Runs a [`Recording`](aloud_ops::Recording) on one wgpu device.
//!
//! [`Gpu::open`] takes an adapter, [`GpuExecutor`] holds weights and state on it and compiles recordings to plans. Which
//! kernel runs an op is decided in one place, `select/mod.rs`, from the device's capabilities.

mod adapters;
mod device;
mod error;
mod executor;
mod layout;
mod plan;
mod readback;
mod select;

pub use adapters::{AdapterSummary, Choice, adapters};
pub use device::{Counters, DeviceCaps, Gpu, GpuOptions};
pub use error::GpuError;
pub use executor::GpuExecutor;
pub use plan::{GpuPlan, PlanFigures};
