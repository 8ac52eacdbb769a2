//! One open device, and a count of everything that is asked of it.

use crate::adapters::{AdapterSummary, Choice, choose};
use crate::clock::Clock;
use crate::error::GpuError;
use crate::pipelines::{PipelineId, Pipelines};
use crate::tile::{Tile, TileCaps};
use crate::tuning::{Tuning, Width};
use aloud_ops::DType;
use aloud_shaders::Kernel;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use web_time::Instant;

/// What may be changed when opening a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuOptions {
    /// Use what the device offers beyond what every WebGPU device has: subgroups, f16 and larger limits. Without it, the device is
    /// opened as a browser on a phone would open it: 16 KiB of workgroup memory, 8 storage bindings, 256 invocations.
    pub subgroups: bool,
    /// Let the driver check every array index and loop (slower; shaders are validated and tested without).
    pub checked_shaders: bool,
    /// Pretend that bindings are at most this large, to see how a smaller device fares.
    pub max_binding_bytes: Option<u64>,
    /// Join ops of few rows, see [`aloud_ops::fuse`].
    pub fused: bool,
    /// Multiply weights of whole numbers by dot products of bytes: activations are rounded to 8 bits in groups of 32. Less
    /// arithmetic, and another rounding.
    pub int8: bool,
    /// How many rows at once are multiplied, if the device can; else as is likely fastest. [`Tile::Subgroups`] stands for
    /// whatever does not round.
    pub tile: Option<Tile>,
    /// In a browser: the smallest size that subgroups have, if the page made the browser grant them. wgpu cannot ask for them.
    pub granted_subgroups: Option<u32>,
}

impl Default for GpuOptions {
    fn default() -> Self {
        GpuOptions {
            subgroups: true,
            checked_shaders: false,
            max_binding_bytes: None,
            fused: true,
            int8: false,
            tile: None,
            granted_subgroups: None,
        }
    }
}

/// What kernels are chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceCaps {
    /// Smallest size that subgroups have, if they may be used.
    pub subgroup_size: Option<u32>,
    /// Largest single binding in bytes.
    pub max_binding_bytes: u64,
    /// Storage buffers that a kernel can bind.
    pub max_bindings: u32,
    /// Whether ops of few rows are joined.
    pub fused: bool,
    /// Whether activations are rounded to 8 bits where weights are whole numbers times a scale.
    pub int8: bool,
    /// How many rows at once are multiplied.
    pub tiles: TileCaps,
    /// What was measured on it, see [`GpuExecutor::tune`](crate::GpuExecutor::tune).
    pub tuning: Tuning,
}

impl DeviceCaps {
    /// Whether even many rows are multiplied one by one. With four lanes tiles are hardly faster, and the memory that they
    /// share takes such an adapter, SwiftShader, a second a kernel to compile in a browser.
    #[must_use]
    pub fn row_by_row(self) -> bool {
        self.subgroup_size.is_some_and(|size| size < 8)
    }

    /// How so many rows are multiplied with weights of a format and of rows of K values.
    pub(crate) fn tile(self, dtype: DType, rows: u32, k: u32) -> Tile {
        if self.tiles.are_few(rows) {
            return Tile::Few;
        }
        let measured = self.tuning.tile(dtype, Width::of(k));
        let taken = measured.filter(|&tile| self.tiles.candidates(dtype).contains(&tile));
        taken.unwrap_or_else(|| self.tiles.tile(dtype))
    }
}

/// How often the device was asked for what, since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Buffers created.
    pub buffers: u64,
    /// Bind groups created.
    pub bind_groups: u64,
    /// Compute pipelines created.
    pub pipelines: u64,
    /// Compute passes begun.
    pub passes: u64,
    /// Dispatches encoded.
    pub dispatches: u64,
    /// Command buffers submitted.
    pub submits: u64,
    /// `write_buffer` calls.
    pub writes: u64,
    /// Buffers mapped for reading.
    pub maps: u64,
    /// Waits that block until the device is done.
    pub blocking_waits: u64,
}

impl std::ops::Sub for Counters {
    type Output = Counters;

    fn sub(self, before: Counters) -> Counters {
        Counters {
            buffers: self.buffers - before.buffers,
            bind_groups: self.bind_groups - before.bind_groups,
            pipelines: self.pipelines - before.pipelines,
            passes: self.passes - before.passes,
            dispatches: self.dispatches - before.dispatches,
            submits: self.submits - before.submits,
            writes: self.writes - before.writes,
            maps: self.maps - before.maps,
            blocking_waits: self.blocking_waits - before.blocking_waits,
        }
    }
}

/// Bytes written after which the device is told to begin, since until then they wait in memory besides.
const STAGED_BYTES: u64 = 64 << 20;

#[derive(Default)]
struct Counts {
    buffers: AtomicU64,
    bind_groups: AtomicU64,
    pipelines: AtomicU64,
    passes: AtomicU64,
    dispatches: AtomicU64,
    submits: AtomicU64,
    writes: AtomicU64,
    maps: AtomicU64,
    blocking_waits: AtomicU64,
    encode_ns: AtomicU64,
    least_encode_ps: AtomicU64,
}

/// What the host took to encode. Handing over is not in it, since a driver may wait there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeTime {
    /// Of everything since the device was opened.
    pub total: Duration,
    /// A dispatch of the submission that took the least: what is left where nothing else, a CPU that plays the GPU
    /// among it, takes the host's time. Submissions of few dispatches do not count. `None` before the first.
    pub least_per_dispatch: Option<Duration>,
}

/// A submission of so many dispatches tells what one costs.
const TELLING_DISPATCHES: u64 = 16;

/// An open device. Everything that is created or submitted goes through here and is counted.
pub struct Gpu {
    /// The adapter it runs on.
    pub adapter: AdapterSummary,
    /// What kernels are chosen by.
    pub caps: DeviceCaps,
    device: wgpu::Device,
    queue: wgpu::Queue,
    counts: Counts,
    failure: Arc<Mutex<Option<Failure>>>,
    pipelines: Pipelines,
    has_clock: bool,
    max_buffer_bytes: u64,
    /// Bytes written since the last submission.
    staged_bytes: AtomicU64,
}

enum Failure {
    Lost(String),
    OutOfMemory(String),
    Refused(String),
}

impl Gpu {
    /// Opens an adapter.
    ///
    /// # Errors
    /// If there is none, or it does not open.
    pub async fn open(choice: &Choice, options: GpuOptions) -> Result<Gpu, GpuError> {
        let (summary, adapter) = choose(choice).await?;
        let mut features = wgpu::Features::empty();
        let subgroups = options.subgroups && adapter.features().contains(wgpu::Features::SUBGROUP);
        features.set(wgpu::Features::SUBGROUP, subgroups);
        let has_clock = adapter.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        features.set(wgpu::Features::TIMESTAMP_QUERY, has_clock);
        let f16 = options.subgroups && adapter.features().contains(wgpu::Features::SHADER_F16);
        features.set(wgpu::Features::SHADER_F16, f16);
        let matrix = if f16 && subgroups { matrix_size(&adapter) } else { None };
        features.set(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, matrix.is_some());
        let mut limits = adapter.limits();
        if !options.subgroups {
            limits = wgpu::Limits {
                max_storage_buffer_binding_size: limits.max_storage_buffer_binding_size,
                max_buffer_size: limits.max_buffer_size,
                ..wgpu::Limits::default()
            };
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("aloud"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features: experimental(matrix.is_some()),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) = adapter
            .request_device(&descriptor)
            .await
            .map_err(|e| GpuError::DeviceRefused { adapter: summary.name.clone(), reason: e.to_string() })?;
        let failure = Arc::new(Mutex::new(None));
        let lost = Arc::clone(&failure);
        device.set_device_lost_callback(move |_, reason| note(&lost, Failure::Lost(reason)));
        let refused = Arc::clone(&failure);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let what =
                if matches!(error, wgpu::Error::OutOfMemory { .. }) { Failure::OutOfMemory } else { Failure::Refused };
            note(&refused, what(error.to_string()));
        }));
        let binding = limits.max_storage_buffer_binding_size;
        let offered = subgroups.then(|| adapter.get_info().subgroup_min_size);
        let subgroup_size = offered.or(options.granted_subgroups.filter(|_| options.subgroups));
        let is_cpu = summary.kind == "CPU";
        let pipelines = Pipelines::new(&device, options.checked_shaders);
        Ok(Gpu {
            adapter: summary,
            caps: DeviceCaps {
                subgroup_size,
                max_binding_bytes: options.max_binding_bytes.map_or(binding, |most| most.min(binding)),
                max_bindings: limits.max_storage_buffers_per_shader_stage,
                fused: options.fused,
                int8: options.int8,
                tiles: TileCaps { subgroup_size, f16, matrix, is_cpu, wanted: options.tile },
                tuning: Tuning::default(),
            },
            device,
            queue,
            counts: Counts::default(),
            failure,
            pipelines,
            has_clock,
            max_buffer_bytes: limits.max_buffer_size,
            staged_bytes: AtomicU64::new(0),
        })
    }

    /// What tells this device, as it was opened, and this version's kernels from others: a [`Tuning`] is of both.
    #[must_use]
    pub fn tuning_key(&self) -> String {
        let AdapterSummary { name, backend, driver, .. } = &self.adapter;
        let lanes = self.caps.subgroup_size.unwrap_or(0);
        let int8 = if self.caps.int8 { ", int8" } else { "" };
        format!("{name}, {backend}, {driver}, subgroups {lanes}{int8}, kernels {:016x}", aloud_shaders::HASH)
    }

    /// The device's clock, if it has one.
    pub(crate) fn clock(&self) -> Option<Clock> {
        self.has_clock.then(|| Clock::new(&self.device, &self.queue))
    }

    /// What was asked of the device so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let c = &self.counts;
        Counters {
            buffers: c.buffers.load(Relaxed),
            bind_groups: c.bind_groups.load(Relaxed),
            pipelines: c.pipelines.load(Relaxed),
            passes: c.passes.load(Relaxed),
            dispatches: c.dispatches.load(Relaxed),
            submits: c.submits.load(Relaxed),
            writes: c.writes.load(Relaxed),
            maps: c.maps.load(Relaxed),
            blocking_waits: c.blocking_waits.load(Relaxed),
        }
    }

    /// What the host took to encode so far.
    #[must_use]
    pub fn encode_time(&self) -> EncodeTime {
        let least_ps = self.counts.least_encode_ps.load(Relaxed);
        EncodeTime {
            total: Duration::from_nanos(self.counts.encode_ns.load(Relaxed)),
            least_per_dispatch: (least_ps > 0).then(|| Duration::from_secs_f64(least_ps as f64 * 1e-12)),
        }
    }

    /// The first failure that the driver reported, if any.
    pub(crate) fn check(&self) -> Result<(), GpuError> {
        match &*self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            None => Ok(()),
            Some(Failure::Lost(reason)) => Err(GpuError::DeviceLost { reason: reason.clone() }),
            Some(Failure::OutOfMemory(reason)) => Err(GpuError::OutOfMemory { reason: reason.clone() }),
            Some(Failure::Refused(reason)) => Err(GpuError::Refused { reason: reason.clone() }),
        }
    }

    pub(crate) fn max_buffer_bytes(&self) -> u64 {
        self.max_buffer_bytes
    }

    pub(crate) fn buffer(&self, label: &str, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.counts.buffers.fetch_add(1, Relaxed);
        let size = size.max(16).next_multiple_of(16);
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    /// A buffer to be filled at once.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn mapped_buffer(&self, label: &str, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.counts.buffers.fetch_add(1, Relaxed);
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: true };
        self.device.create_buffer(&descriptor)
    }

    pub(crate) fn write(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        self.counts.writes.fetch_add(1, Relaxed);
        self.queue.write_buffer(buffer, offset, bytes);
        let staged = self.staged_bytes.fetch_add(bytes.len() as u64, Relaxed) + bytes.len() as u64;
        if staged >= STAGED_BYTES {
            self.staged_bytes.store(0, Relaxed);
            self.queue.submit([]);
        }
    }

    /// Has the pipeline of a kernel with these constants made, unless it was before.
    pub(crate) fn order_pipeline(&mut self, kernel: &'static Kernel, constants: &[(&'static str, f64)]) -> PipelineId {
        let (id, is_new) = self.pipelines.order(kernel, constants);
        self.counts.pipelines.fetch_add(u64::from(is_new), Relaxed);
        id
    }

    /// Waits for all pipelines that were ordered: before plans run.
    pub(crate) fn finish_pipelines(&mut self) -> Result<(), GpuError> {
        self.pipelines.finish();
        self.check()
    }

    pub(crate) fn pipeline(&self, id: PipelineId) -> &wgpu::ComputePipeline {
        self.pipelines.get(id)
    }

    pub(crate) fn bind_group(
        &mut self,
        label: &str,
        kernel: &'static Kernel,
        bindings: &[wgpu::BufferBinding<'_>],
    ) -> wgpu::BindGroup {
        self.counts.bind_groups.fetch_add(1, Relaxed);
        let layout = self.pipelines.bind_layout(kernel);
        let entries: Vec<wgpu::BindGroupEntry<'_>> = kernel
            .bindings
            .iter()
            .zip(bindings)
            .map(|(b, buffer)| wgpu::BindGroupEntry {
                binding: b.index,
                resource: wgpu::BindingResource::Buffer(buffer.clone()),
            })
            .collect();
        let descriptor = wgpu::BindGroupDescriptor { label: Some(label), layout, entries: &entries };
        self.device.create_bind_group(&descriptor)
    }

    pub(crate) fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("aloud.step") })
    }

    pub(crate) fn count_pass(&self, dispatches: u64) {
        self.counts.passes.fetch_add(1, Relaxed);
        self.counts.dispatches.fetch_add(dispatches, Relaxed);
    }

    /// Hands over what was encoded since then.
    pub(crate) fn submit(&self, encoder: wgpu::CommandEncoder, since: Instant, n_dispatches: u64) {
        self.counts.submits.fetch_add(1, Relaxed);
        self.staged_bytes.store(0, Relaxed);
        let commands = encoder.finish();
        let took = since.elapsed().as_nanos() as u64;
        self.counts.encode_ns.fetch_add(took, Relaxed);
        if n_dispatches >= TELLING_DISPATCHES {
            let (ps, least) = (took * 1000 / n_dispatches, self.counts.least_encode_ps.load(Relaxed));
            self.counts.least_encode_ps.store(if least == 0 { ps } else { ps.min(least) }, Relaxed);
        }
        self.queue.submit([commands]);
    }

    /// Hands over copies that were encoded, which are no step.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn submit_copies(&self, encoder: wgpu::CommandEncoder) -> wgpu::SubmissionIndex {
        self.counts.submits.fetch_add(1, Relaxed);
        self.staged_bytes.store(0, Relaxed);
        self.queue.submit([encoder.finish()])
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn count_write(&self) {
        self.counts.writes.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_map(&self) {
        self.counts.maps.fetch_add(1, Relaxed);
    }

    /// Lets the driver deliver what is ready, without waiting.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn poll(&self) -> Result<(), GpuError> {
        self.device.poll(wgpu::PollType::Poll).map_err(|e| GpuError::DeviceLost { reason: e.to_string() })?;
        self.check()
    }

    /// Waits until the device has done all that was submitted.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn wait(&self) -> Result<(), GpuError> {
        self.block(wgpu::PollType::wait_indefinitely())
    }

    /// Waits until the device has done what was submitted then, and what before it.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn wait_for(&self, submission: wgpu::SubmissionIndex) -> Result<(), GpuError> {
        self.block(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None })
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn block(&self, until: wgpu::PollType) -> Result<(), GpuError> {
        self.counts.blocking_waits.fetch_add(1, Relaxed);
        self.device.poll(until).map_err(|e| GpuError::DeviceLost { reason: e.to_string() })?;
        self.check()
    }
}

/// A browser frees a device's memory when it collects garbage, which may be never.
#[cfg(target_arch = "wasm32")]
impl Drop for Gpu {
    fn drop(&mut self) {
        self.device.destroy();
    }
}

/// Rows and columns of the cooperative matrices that multiply f16 to sums of f32, if the adapter has any that kernels are made
/// for: the larger, if several. Subgroups of more than 64 lanes would leave a workgroup with one, and units of the tile undone.
fn matrix_size(adapter: &wgpu::Adapter) -> Option<u32> {
    use wgpu::CooperativeScalarType::{F16, F32};
    if !adapter.features().contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
        || adapter.get_info().subgroup_max_size > 64
    {
        return None;
    }
    let sizes = adapter.cooperative_matrix_properties().into_iter().filter_map(|p| {
        let is_square = p.m_size == p.n_size && p.n_size == p.k_size;
        (is_square && p.ab_type == F16 && p.cr_type == F32).then_some(p.m_size)
    });
    sizes.filter(|size| [8, 16].contains(size)).max()
}

fn experimental(on: bool) -> wgpu::ExperimentalFeatures {
    if !on {
        return wgpu::ExperimentalFeatures::disabled();
    }
    #[expect(unsafe_code, reason = "wgpu asks everybody who uses cooperative matrices to know that they are new")]
    // SAFETY: the one experimental feature that is asked for is that of cooperative matrices; the kernels that have any are
    // our own constants, validated by naga at build time, and load and store within their workgroup memory.
    unsafe {
        wgpu::ExperimentalFeatures::enabled()
    }
}

fn note(failure: &Mutex<Option<Failure>>, what: Failure) {
    failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(what);
}
