//! Measures which variants of the kernels of a decode step are fastest, on weights of the shapes that are there.

use super::GpuExecutor;
use crate::clock::Clock;
use crate::error::GpuError;
use crate::plan::{GpuPlan, Timed};
use crate::select::{matvec_candidates, matvec_threads};
use crate::tuning::{Tuned, Tuning, Variant, Width, fastest};
use aloud_ops::{DType, Elem, Executor, Recording, Step, Tensor, matmul};
use std::time::Duration;
use web_time::Instant;

/// Bytes of the weight that is measured at most: more than caches hold, but for the largest, and quickly made.
const MOST_BYTES: u64 = 8 << 20;
/// Of so many measurements the shortest counts.
const ROUNDS: u32 = 3;
/// How far a tile's products may be from another's, as a share of them: two factors of 11 bits.
const AGREE: f64 = 2e-3;
/// Runs of a measurement at most.
const MOST_REPEATS: u32 = 1024;

/// A measurement takes at least so long, or the clock would decide. Browsers round the device's clock to a tenth of a millisecond
/// and the host's to a whole one, which also counts the way to the device and back.
fn least(clock: Option<&Clock>) -> Duration {
    let in_browser = if clock.is_some() { 4 } else { 20 };
    Duration::from_millis(if cfg!(target_arch = "wasm32") { in_browser } else { 2 })
}

/// Runs of a plan that depends on no cache.
fn timed(repeats: u32) -> Timed {
    Timed { draws_only: false, repeats, n_kv: 1 }
}

/// A format and width of which there are weights.
struct Class {
    dtype: DType,
    cols: u32,
    /// Of the largest weight, or what suffices of them.
    rows: u32,
    /// Of all weights.
    bytes: u64,
}

/// By which clock, since when, and until when it is measured.
#[derive(Clone, Copy)]
struct Limits<'a> {
    clock: Option<&'a Clock>,
    begun: Instant,
    budget: Duration,
}

/// Whether products are the same but for factors that are rounded to halves.
fn agree(expected: &[u8], found: &[u8]) -> bool {
    let values =
        |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect::<Vec<_>>();
    let (expected, found) = (values(expected), values(found));
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let off = squares(&mut expected.iter().zip(&found).map(|(a, b)| a - b));
    // Not a number is no agreement.
    off <= squares(&mut expected.iter().copied()) * AGREE * AGREE
}

impl GpuExecutor {
    /// Has plans that are compiled afterwards use what was measured elsewhere. Numbers of threads that this device cannot have
    /// count as not measured: with less than a whole subgroup kernels would compute nonsense.
    pub fn set_tuning(&mut self, tuning: Tuning) {
        let sizes: Vec<u32> = matvec_candidates(self.gpu.caps).collect();
        self.gpu.caps.tuning = tuning.among(&sizes);
    }

    /// Measures what the weights that were created need and [`DeviceCaps::tuning`](crate::DeviceCaps::tuning) does not have yet,
    /// those first that hold most bytes; what there was no time for waits for the next call. Plans that are compiled afterwards use it.
    ///
    /// Nothing stays behind on the device but pipelines.
    ///
    /// # Errors
    /// If the device fails, or has no room for 8 MiB.
    pub async fn tune(&mut self, budget: Duration) -> Result<Vec<Tuned>, GpuError> {
        let (begun, before) = (Instant::now(), self.gpu.caps.tuning);
        let clock = self.gpu.clock();
        let limits = Limits { clock: clock.as_ref(), begun, budget };
        let mut tuned = Vec::new();
        let mut longest = Duration::ZERO;
        let classes = self.classes();
        // Answers are longer than prompts: how one row is multiplied comes first.
        for (class, rows) in
            [1, self.tile_rows(budget)].into_iter().flat_map(|rows| classes.iter().map(move |c| (c, rows)))
        {
            let (width, at) = (Width::of(class.cols), begun.elapsed());
            let variants = self.variants(class, rows);
            let is_known = match rows {
                1 => before.threads(class.dtype, width).is_some(),
                _ => before.tile(class.dtype, width).is_some(),
            };
            // One for which there is no time is better measured as a whole by the next call.
            if is_known || variants.len() < 2 || at + longest >= budget {
                continue;
            }
            let held = self.memory.mark();
            let tried = self.measure(class, rows, variants, limits).await;
            self.memory.release(held);
            let tried = tried?;
            let chosen = fastest(&tried);
            self.gpu.caps.tuning.set(class.dtype, width, chosen);
            longest = longest.max(begun.elapsed() - at);
            tuned.push(Tuned { dtype: class.dtype, width, shape: [class.rows, class.cols], tried, chosen });
        }
        Ok(tuned)
    }

    /// Rows with which tiles are measured: enough to fill a GPU. On a CPU, which takes a second to compile one, only if there
    /// is time.
    fn tile_rows(&self, budget: Duration) -> u32 {
        match self.gpu.caps {
            caps if caps.row_by_row() || caps.int8 => 0,
            caps if caps.tiles.is_cpu && budget < Duration::from_secs(60) => 0,
            caps if caps.tiles.is_cpu => 16,
            _ => 256,
        }
    }

    /// What to try for so many rows, the default first.
    fn variants(&self, class: &Class, rows: u32) -> Vec<Variant> {
        let caps = self.gpu.caps;
        match rows {
            0 => Vec::new(),
            1 => {
                let default = matvec_threads(caps, class.dtype, class.cols);
                let mut all: Vec<u32> = matvec_candidates(caps).collect();
                all.sort_by_key(|threads| threads.ilog2().abs_diff(default.ilog2()));
                all.into_iter().map(Variant::Threads).collect()
            }
            _ => caps.tiles.candidates(class.dtype).into_iter().map(Variant::Tile).collect(),
        }
    }

    /// What there is, the most bytes first.
    fn classes(&self) -> Vec<Class> {
        let mut classes: Vec<Class> = Vec::new();
        for weight in &self.memory.weights {
            let (dtype, cols) = (weight.shape.dtype, weight.cols);
            let bytes: u64 = weight.parts.iter().map(|part| part.quant_bytes + part.scale_bytes).sum();
            let rows = weight.shape.parts.iter().map(|&(_, n)| n).sum::<u32>();
            let enough = MOST_BYTES / (bytes / u64::from(rows.max(1))).max(1);
            // FP8's scales are of 32 rows.
            let rows = (enough.min(u64::from(rows)) as u32).next_multiple_of(32);
            let alike = |c: &&mut Class| c.dtype == dtype && Width::of(c.cols) == Width::of(cols);
            match classes.iter_mut().find(alike) {
                Some(class) => {
                    class.bytes += bytes;
                    if u64::from(rows) * u64::from(cols) > u64::from(class.rows) * u64::from(class.cols) {
                        (class.rows, class.cols) = (rows, cols);
                    }
                }
                None => classes.push(Class { dtype, cols, rows, bytes }),
            }
        }
        classes.sort_by_key(|class| std::cmp::Reverse(class.bytes));
        classes
    }

    /// The speed of every variant, the default first: as many as there is time for, but two at least, so that every load knows
    /// more than the last.
    async fn measure(
        &mut self,
        class: &Class,
        rows: u32,
        mut variants: Vec<Variant>,
        Limits { clock, begun, budget }: Limits<'_>,
    ) -> Result<Vec<(Variant, f64)>, GpuError> {
        let file_dtype = if class.dtype == DType::F8_E4M3 { DType::F8_B32 } else { class.dtype };
        let n = if rows > 1 && self.gpu.caps.tiles.is_cpu { class.rows.min(256) } else { class.rows };
        let weight = self.create_weight("tune.weight", file_dtype, &[n, class.cols])?;
        let x = self.create_state("tune.x", Elem::F32, &[rows, class.cols])?;
        let step = self.create_state("tune.step", Elem::U32, &[4])?;
        self.write_state(step, 0, bytemuck::bytes_of(&Step { n_tokens: rows, ..Step::default() }));
        let mut recording = Recording::new(step, rows);
        matmul(&mut recording, "tune", x, weight, None);
        let is_tile = rows > 1;
        let y = self.create_state("tune.y", Elem::F32, &[rows, n])?;
        if is_tile {
            recording.commands[0].outputs[0] = y;
            self.fill(class, weight, file_dtype, x)?;
        }
        let caps = self.gpu.caps;
        let default = variants[0];
        // The exact tile first: what the others compute is compared with what it does.
        if let Some(at) = variants.iter().position(|&variant| variant == Variant::Tile(caps.tiles.exact(class.dtype))) {
            variants.swap(0, at);
        }
        let mut candidates = Vec::new();
        let mut expected: Option<Vec<u8>> = None;
        let mut refused = Vec::new();
        for variant in variants {
            if begun.elapsed() >= budget && candidates.len() >= 2 {
                break;
            }
            self.gpu.caps.tuning.set(class.dtype, Width::of(class.cols), variant);
            let plan = self.compile(&recording);
            self.gpu.caps = caps;
            let plan = plan?;
            self.run_timed(&plan, &timed(1), step, None).await?; // some drivers compile at first use
            if is_tile {
                let found = self.read_state(y).await?;
                let first = expected.get_or_insert_with(|| found.clone());
                if !agree(first, &found) {
                    refused.push((variant, 0.0));
                    continue;
                }
            }
            candidates.push((variant, plan));
        }
        if let Some(at) = candidates.iter().position(|&(variant, _)| variant == default) {
            candidates.swap(0, at);
        }
        // As often for all: so far as the clock counts the way to the device, it counts it alike.
        let (repeats, clock) = self.repeats(&candidates[0].1, step, clock).await?;
        let products = f64::from(rows) * f64::from(n) * f64::from(class.cols);
        let work = if is_tile { products } else { recording.cost(1, 1).weight_bytes as f64 } * f64::from(repeats);
        let mut tried: Vec<(Variant, f64)> = candidates.iter().map(|&(variant, ..)| (variant, 0.0)).collect();
        // By turns, so that whatever else the device is busy with is no candidate's fault.
        for round in 0..ROUNDS {
            if round > 0 && begun.elapsed() >= budget.saturating_mul(2) {
                break;
            }
            let best = tried.iter().fold(0.0, |best: f64, &(_, speed)| best.max(speed));
            for ((_, plan), (_, speed)) in candidates.iter().zip(&mut tried) {
                if round > 0 && *speed < best / 2.0 {
                    continue;
                }
                let seconds = self.run_timed(plan, &timed(repeats), step, clock).await?;
                // A clock that was set back in between tells nothing.
                if seconds > 0.0 {
                    *speed = speed.max(work / seconds);
                }
            }
        }
        tried.extend(refused);
        Ok(tried)
    }

    /// Numbers that any format takes for sensible ones: no byte is so large that it would be an infinity's.
    fn fill(&mut self, class: &Class, weight: Tensor, file_dtype: DType, x: Tensor) -> Result<(), GpuError> {
        let mut state = 0x9E37_79B9u32;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        let [n, k] = weight.dims2().map(|n| n as usize);
        let row_bytes = k / file_dtype.block_elems() * file_dtype.block_bytes();
        let mut bytes: Vec<u8> = (0..n * row_bytes).map(|_| (next() >> 8) as u8 & 0x3b).collect();
        if class.dtype == DType::F8_E4M3 {
            // Of a tile all blocks have one scale.
            bytes
                .chunks_exact_mut(file_dtype.block_bytes())
                .for_each(|b| b[..4].copy_from_slice(&0.01f32.to_le_bytes()));
        }
        // FP8's scales are of 32 rows, and the others' parts begin where they like.
        for (slice, rows) in bytes.chunks(row_bytes * 32).zip((0..).step_by(32)) {
            self.write_weight(weight, rows, slice)?;
        }
        let values: Vec<f32> = (0..x.dims2()[0] * class.cols).map(|_| next() as f32 / u32::MAX as f32 - 0.5).collect();
        self.write_state(x, 0, bytemuck::cast_slice(&values));
        self.upload.end(&self.gpu);
        Ok(())
    }

    /// How often a plan is run so that the clock can tell, and by which clock: a device's that stands still is none.
    async fn repeats<'c>(
        &mut self,
        plan: &GpuPlan,
        step: Tensor,
        clock: Option<&'c Clock>,
    ) -> Result<(u32, Option<&'c Clock>), GpuError> {
        let least = least(clock).as_secs_f64();
        let mut repeats = 1;
        loop {
            let took = self.run_timed(plan, &timed(repeats), step, clock).await?;
            if took >= least || repeats == MOST_REPEATS {
                return Ok((repeats, clock.filter(|_| took > 0.0)));
            }
            // A little at a time, since a short run may be all rounding.
            let more = (1.2 * least / took.max(1e-9)).clamp(2.0, 8.0);
            repeats = ((f64::from(repeats) * more) as u32).min(MOST_REPEATS);
        }
    }
}
