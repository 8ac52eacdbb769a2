//! One open device, and a count of everything that is asked of it.

use crate::adapters::{AdapterSummary, Choice, choose};
use crate::error::GpuError;
use aloud_shaders::Kernel;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use web_time::Instant;

/// What may be changed when opening a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuOptions {
    /// Use what the device offers beyond what every WebGPU device has: subgroups and larger limits. Without it, the device is
    /// opened as a browser on a phone would open it: 16 KiB of workgroup memory, 8 storage bindings, 256 invocations.
    pub subgroups: bool,
    /// Let the driver check every array index and loop (slower; shaders are validated and tested without).
    pub checked_shaders: bool,
    /// Pretend that bindings are at most this large, to see how a smaller device fares.
    pub max_binding_bytes: Option<u64>,
    /// Join ops of few rows, see [`aloud_ops::fuse`].
    pub fused: bool,
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
    /// Whether ops of few rows are joined.
    pub fused: bool,
}

impl DeviceCaps {
    /// Whether even many rows are multiplied one by one. With four lanes tiles are hardly faster, and the memory that they
    /// share takes such an adapter, SwiftShader, a second a kernel to compile in a browser.
    #[must_use]
    pub fn row_by_row(self) -> bool {
        self.subgroup_size.is_some_and(|size| size < 8)
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
}

/// A pipeline by kernel and the bits of its constants.
type PipelineKey = (&'static str, Vec<(&'static str, u64)>);

/// A kernel's module and layout, shared by its pipelines.
struct Module {
    shader: wgpu::ShaderModule,
    bind_layout: wgpu::BindGroupLayout,
    pipeline_layout: wgpu::PipelineLayout,
}

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
    modules: HashMap<&'static str, Module>,
    pipelines: HashMap<PipelineKey, wgpu::ComputePipeline>,
    checked_shaders: bool,
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
        Ok(Gpu {
            adapter: summary,
            caps: DeviceCaps {
                subgroup_size,
                max_binding_bytes: options.max_binding_bytes.map_or(binding, |most| most.min(binding)),
                fused: options.fused,
            },
            device,
            queue,
            counts: Counts::default(),
            failure,
            modules: HashMap::new(),
            pipelines: HashMap::new(),
            checked_shaders: options.checked_shaders,
            max_buffer_bytes: limits.max_buffer_size,
            staged_bytes: AtomicU64::new(0),
        })
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

    /// What the host took to encode since the device was opened; handing over is not in it, since a driver may wait there.
    #[must_use]
    pub fn encode_time(&self) -> Duration {
        Duration::from_nanos(self.counts.encode_ns.load(Relaxed))
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

    pub(crate) fn write(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        self.counts.writes.fetch_add(1, Relaxed);
        self.queue.write_buffer(buffer, offset, bytes);
        let staged = self.staged_bytes.fetch_add(bytes.len() as u64, Relaxed) + bytes.len() as u64;
        if staged >= STAGED_BYTES {
            self.staged_bytes.store(0, Relaxed);
            self.queue.submit([]);
        }
    }

    /// The pipeline of a kernel with these constants, made on first use.
    pub(crate) fn pipeline(
        &mut self,
        kernel: &'static Kernel,
        constants: &[(&'static str, f64)],
    ) -> wgpu::ComputePipeline {
        let key = (kernel.name, constants.iter().map(|&(name, v)| (name, v.to_bits())).collect());
        if let Some(pipeline) = self.pipelines.get(&key) {
            return pipeline.clone();
        }
        self.counts.pipelines.fetch_add(1, Relaxed);
        let module = module(&mut self.modules, &self.device, kernel, self.checked_shaders);
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: Some(&module.pipeline_layout),
            module: &module.shader,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants,
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        self.pipelines.insert(key, pipeline.clone());
        pipeline
    }

    pub(crate) fn bind_group(
        &mut self,
        label: &str,
        kernel: &'static Kernel,
        bindings: &[wgpu::BufferBinding<'_>],
    ) -> wgpu::BindGroup {
        self.counts.bind_groups.fetch_add(1, Relaxed);
        let module = module(&mut self.modules, &self.device, kernel, self.checked_shaders);
        let entries: Vec<wgpu::BindGroupEntry<'_>> = kernel
            .bindings
            .iter()
            .zip(bindings)
            .map(|(b, buffer)| wgpu::BindGroupEntry {
                binding: b.index,
                resource: wgpu::BindingResource::Buffer(buffer.clone()),
            })
            .collect();
        let descriptor =
            wgpu::BindGroupDescriptor { label: Some(label), layout: &module.bind_layout, entries: &entries };
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
    pub(crate) fn submit(&self, encoder: wgpu::CommandEncoder, since: Instant) {
        self.counts.submits.fetch_add(1, Relaxed);
        self.staged_bytes.store(0, Relaxed);
        let commands = encoder.finish();
        self.counts.encode_ns.fetch_add(since.elapsed().as_nanos() as u64, Relaxed);
        self.queue.submit([commands]);
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
        self.counts.blocking_waits.fetch_add(1, Relaxed);
        let all = wgpu::PollType::wait_indefinitely();
        self.device.poll(all).map_err(|e| GpuError::DeviceLost { reason: e.to_string() })?;
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

fn note(failure: &Mutex<Option<Failure>>, what: Failure) {
    failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(what);
}

fn module<'a>(
    modules: &'a mut HashMap<&'static str, Module>,
    device: &wgpu::Device,
    kernel: &'static Kernel,
    checked: bool,
) -> &'a Module {
    modules.entry(kernel.name).or_insert_with(|| {
        let entries: Vec<wgpu::BindGroupLayoutEntry> = kernel
            .bindings
            .iter()
            .map(|b| wgpu::BindGroupLayoutEntry {
                binding: b.index,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage { read_only: !b.writable },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let bind_layout = device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(kernel.name), entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.name),
            bind_group_layouts: &[Some(&bind_layout)],
            immediate_size: 0,
        });
        Module { shader: shader(device, kernel, checked), bind_layout, pipeline_layout }
    })
}

fn shader(device: &wgpu::Device, kernel: &'static Kernel, checked: bool) -> wgpu::ShaderModule {
    let text = if cfg!(target_arch = "wasm32") { kernel.browser_wgsl() } else { kernel.wgsl() };
    let descriptor =
        wgpu::ShaderModuleDescriptor { label: Some(kernel.name), source: wgpu::ShaderSource::Wgsl(text.into()) };
    if checked {
        return device.create_shader_module(descriptor);
    }
    #[expect(
        unsafe_code,
        reason = "bounds and loop checks cost up to half the speed; ADR 0005 says what replaces them"
    )]
    // SAFETY: the module is one of our own constants: validated by naga at build time, every index bounded by the shapes
    // that the planner derives the bindings and constants from, every loop by those constants; tests run all kernels with
    // checks on as well and compare.
    unsafe {
        device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
    }
}
