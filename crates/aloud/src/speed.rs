//! How fast a device is, by the engine's own kernels, before any model is there.

use crate::error::Error;
use aloud_gpu::{Choice, Gpu, GpuExecutor, GpuOptions, GpuPlan};
use aloud_ops::{DType, Elem, Executor, Recording, Step, Tensor, matmul};
use std::time::Duration;
use web_time::Instant;

/// Sides of the measured matrix: large enough that its bytes take the time, small enough for any device.
const SIDE: u32 = 2048;
/// Dispatches of the recording that measures what a dispatch costs.
const N_SMALL: u32 = 64;
/// What is measured is repeated for at least so long.
const LEAST: Duration = Duration::from_millis(120);

/// How fast a device is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// Bytes of weights that a matrix times a vector reads per second.
    pub bytes_per_second: f64,
    /// What a dispatch costs that computes nothing to speak of.
    pub dispatch_seconds: f64,
    /// From a step's submission to its result in memory, with nothing to compute.
    pub readback_seconds: f64,
}

impl Speed {
    /// Measures a device with weights of a format, in about half a second.
    ///
    /// # Errors
    /// If it does not open, or there is no kernel for the format.
    pub async fn measure(device: &Choice, gpu: GpuOptions, dtype: DType) -> Result<Speed, Error> {
        // On a device its scales stand beside it.
        let dtype = if dtype == DType::F8_E4M3 { DType::F8_B32 } else { dtype };
        let mut executor = GpuExecutor::new(Gpu::open(device, gpu).await?);
        let step = executor.create_state("step", Elem::U32, &[4])?;
        let one = Step { pos: 0, n_tokens: 1, n_generated: 0, thinking: 0 };
        executor.write_state(step, 0, bytemuck::bytes_of(&one));
        let small = plan(&mut executor, step, dtype, 32, N_SMALL)?;
        let large = plan(&mut executor, step, dtype, SIDE, 4)?;
        let single = plan(&mut executor, step, dtype, 32, 1)?;
        let readback = seconds(&mut executor, &single, step, 1).await?;
        let many = seconds(&mut executor, &small, step, 4).await?;
        let dispatch_seconds = (many / f64::from(N_SMALL)).max(1e-9);
        let whole = seconds(&mut executor, &large, step, 4).await?;
        let bytes = dtype.bytes_for(u64::from(SIDE) * u64::from(SIDE)).expect("a multiple of every block") * 4;
        let computing = (whole - 4.0 * dispatch_seconds).max(whole / 4.0);
        Ok(Speed { bytes_per_second: bytes as f64 / computing, dispatch_seconds, readback_seconds: readback })
    }
}

/// `n` products in a row of a square matrix and a vector.
fn plan(executor: &mut GpuExecutor, step: Tensor, dtype: DType, side: u32, n: u32) -> Result<GpuPlan, Error> {
    let weight = executor.create_weight("speed.weight", dtype, &[side, side])?;
    let mut rec = Recording::new(step, 1);
    let mut x = executor.create_state("speed.x", Elem::F32, &[1, side])?;
    for i in 0..n {
        x = matmul(&mut rec, &format!("speed.{i}"), x, weight, None);
    }
    Ok(executor.compile(&rec)?)
}

/// Seconds that a run of a plan takes on average, `n_ahead` being submitted at once: what else the machine does slows an answer
/// too. The first runs do not count.
async fn seconds(executor: &mut GpuExecutor, plan: &GpuPlan, step: Tensor, n_ahead: u32) -> Result<f64, Error> {
    let (mut spent, mut rounds) = (Duration::ZERO, 0);
    while rounds < 3 || spent < LEAST {
        let started = Instant::now();
        for _ in 1..n_ahead {
            executor.submit(plan, 1, None)?;
        }
        let ticket = executor.submit(plan, 1, Some(step))?.expect("a result was asked for");
        executor.read_ticket(ticket, &mut [0; size_of::<Step>()]).await?;
        if rounds > 0 {
            spent += started.elapsed();
        }
        rounds += 1;
    }
    Ok(spent.as_secs_f64() / f64::from(n_ahead * (rounds - 1)))
}
