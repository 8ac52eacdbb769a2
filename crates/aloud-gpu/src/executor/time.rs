//! How long the device takes, by its own clock if it has one.

use super::GpuExecutor;
use crate::clock::Clock;
use crate::error::GpuError;
use crate::plan::{GpuPlan, Timed};
use crate::readback::read_buffer;
use aloud_ops::{Executor, Tensor};
use web_time::Instant;

/// Seconds of a step, by the device's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepSeconds {
    /// Of the whole step.
    pub step: f64,
    /// Of drawing its token: penalties, cuts and the draw.
    pub draw: f64,
}

impl GpuExecutor {
    /// Runs a plan, and then once more what draws its token, with `n_kv` cached positions after it; `None` if the device has no
    /// clock. `step` is its state, of one row.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn time_step(
        &mut self,
        plan: &GpuPlan,
        n_kv: u32,
        step: Tensor,
    ) -> Result<Option<StepSeconds>, GpuError> {
        let Some(clock) = self.gpu.clock() else { return Ok(None) };
        let timed = |draws_only| Timed { draws_only, repeats: 1, n_kv };
        let whole = self.run_timed(plan, &timed(false), step, Some(&clock)).await?;
        let draw = self.run_timed(plan, &timed(true), step, Some(&clock)).await?;
        Ok(Some(StepSeconds { step: whole, draw }))
    }

    /// Seconds that it takes; 0 by a clock that stands still.
    pub(super) async fn run_timed(
        &mut self,
        plan: &GpuPlan,
        timed: &Timed,
        step: Tensor,
        clock: Option<&Clock>,
    ) -> Result<f64, GpuError> {
        self.gpu.finish_pipelines()?;
        let begun = Instant::now();
        let mut encoder = self.gpu.encoder();
        plan.encode_timed(&self.gpu, &mut encoder, timed, clock);
        self.gpu.submit(encoder, begun, 0);
        let Some(clock) = clock else {
            self.read_state(step).await?;
            return Ok(begun.elapsed().as_secs_f64());
        };
        let bytes = read_buffer(&self.gpu, clock.resolved(), 16).await?;
        let ticks: Vec<u64> = bytes.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().expect("8"))).collect();
        Ok(ticks[1].saturating_sub(ticks[0]) as f64 * clock.tick_seconds())
    }
}
