//! A recording made ready: pipelines, bind groups, workgroup counts and memory, resolved once and replayed.

use crate::clock::Clock;
use crate::device::Gpu;
use crate::error::GpuError;
use crate::executor::Memory;
use crate::pipelines::PipelineId;
use crate::select::{Bind, Dim, Dispatch, rows_one_by_one, select};
use aloud_ops::{Cost, Op, Recording, Storage, Tensor, fuse};
use std::collections::HashMap;
use std::ops::Range;

/// A dispatch with everything resolved.
struct Ready {
    pipeline: PipelineId,
    bind_group: wgpu::BindGroup,
    grid: [Dim; 3],
    per_keys: Option<u32>,
}

impl Ready {
    fn encode(&self, gpu: &Gpu, pass: &mut wgpu::ComputePass<'_>, n_kv: u32) {
        let [x, y, z] = self.grid.map(|dim| match dim {
            Dim::Fixed(n) => n,
            Dim::PerKeys { keys, most } => n_kv.div_ceil(keys).clamp(1, most),
        });
        pass.set_pipeline(gpu.pipeline(self.pipeline));
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

/// Encodes dispatches one after the other, some several times; gives how many.
fn encode_all(gpu: &Gpu, ready: &[Ready], pass: &mut wgpu::ComputePass<'_>, n_kv: u32) -> u64 {
    let mut n_dispatches = 0;
    for neighbours in ready.chunk_by(|a, b| a.per_keys == b.per_keys) {
        for _ in 0..neighbours[0].per_keys.map_or(1, |keys| n_kv.div_ceil(keys)) {
            neighbours.iter().for_each(|ready| ready.encode(gpu, pass, n_kv));
            n_dispatches += neighbours.len() as u64;
        }
    }
    n_dispatches
}

/// What of a plan is timed.
pub(crate) struct Timed {
    /// Only what draws tokens.
    pub draws_only: bool,
    pub repeats: u32,
    pub n_kv: u32,
}

/// A recording made ready for one device.
pub struct GpuPlan {
    ready: Vec<Ready>,
    recording: Recording,
    /// Which of `ready` draw tokens.
    draws: Range<usize>,
}

/// What a plan costs per run, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanFigures {
    /// Dispatches; those that a run repeats for every so many cached positions count once.
    pub dispatches: usize,
    /// Bytes and FLOPs.
    pub cost: Cost,
}

impl GpuPlan {
    /// What a run with `n_tokens` rows costs, with `n_kv` cached positions after it.
    #[must_use]
    pub fn figures(&self, n_tokens: u32, n_kv: u32) -> PlanFigures {
        PlanFigures { dispatches: self.ready.len(), cost: self.recording.cost(n_tokens, n_kv) }
    }

    /// Encodes one pass; gives its dispatches.
    pub(crate) fn encode(&self, gpu: &Gpu, encoder: &mut wgpu::CommandEncoder, n_kv: u32) -> u64 {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        let n_dispatches = encode_all(gpu, &self.ready, &mut pass, n_kv);
        gpu.count_pass(n_dispatches);
        n_dispatches
    }

    /// Encodes one pass with what is to be timed, and when it began and ended.
    pub(crate) fn encode_timed(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        timed: &Timed,
        clock: Option<&Clock>,
    ) {
        let timestamp_writes = clock.map(Clock::writes);
        let descriptor = wgpu::ComputePassDescriptor { label: Some("aloud.timed"), timestamp_writes };
        let mut pass = encoder.begin_compute_pass(&descriptor);
        let ready = if timed.draws_only { &self.ready[self.draws.clone()] } else { &self.ready[..] };
        let n_dispatches: u64 = (0..timed.repeats).map(|_| encode_all(gpu, ready, &mut pass, timed.n_kv)).sum();
        drop(pass);
        if let Some(clock) = clock {
            clock.resolve(encoder);
        }
        gpu.count_pass(n_dispatches);
    }

    /// Encodes one pass with a single workgroup of every pipeline that the plans have.
    pub(crate) fn encode_pipelines<'p>(
        plans: impl Iterator<Item = &'p GpuPlan>,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
    ) {
        let mut seen: Vec<PipelineId> = Vec::new();
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for ready in plans.flat_map(|plan| &plan.ready) {
            if !seen.contains(&ready.pipeline) {
                seen.push(ready.pipeline);
                pass.set_pipeline(gpu.pipeline(ready.pipeline));
                pass.set_bind_group(0, &ready.bind_group, &[]);
                pass.dispatch_workgroups(1, 1, 1);
            }
        }
        gpu.count_pass(seen.len() as u64);
    }

    pub(crate) fn compile(gpu: &mut Gpu, memory: &mut Memory, recording: &Recording) -> Result<GpuPlan, GpuError> {
        let caps = gpu.caps;
        let joined = || fuse(recording, rows_one_by_one(caps), caps.max_bindings);
        let recording = if caps.fused { joined() } else { recording.clone() };
        let mut scratch = Scratch::new(&recording);
        let mut ready = Vec::new();
        let mut draws = 0..0;
        for (index, command) in recording.commands.iter().enumerate() {
            let selected = select(command, &recording, gpu.caps, |t| memory.weight_shape(t));
            let outputs = command.outputs.iter().filter(|t| t.is_scratch());
            for tensor in outputs {
                scratch.place(gpu, memory, *tensor, &command.label)?;
            }
            let temps: Result<Vec<usize>, GpuError> =
                selected.temps.iter().map(|&bytes| scratch.take(gpu, memory, bytes, &command.label)).collect();
            let temps = temps?;
            if matches!(command.op, Op::Penalize(_)) && draws.is_empty() {
                draws.start = ready.len();
            }
            for dispatch in &selected.dispatches {
                ready.push(resolve(gpu, memory, &scratch, &temps, dispatch, &command.label));
            }
            if matches!(command.op, Op::Sample(_)) {
                draws.end = ready.len();
            }
            scratch.free.extend(temps);
            scratch.release_after(index);
        }
        gpu.check()?;
        Ok(GpuPlan { ready, recording, draws: draws.start..draws.end.max(draws.start) })
    }
}

fn resolve(
    gpu: &mut Gpu,
    memory: &mut Memory,
    scratch: &Scratch,
    temps: &[usize],
    dispatch: &Dispatch,
    label: &str,
) -> Ready {
    let binds = dispatch.bindings();
    let mut constants = dispatch.constants.clone();
    if dispatch.kernel.overrides.contains(&"ROW_GROUPS") {
        let weight =
            binds.iter().find_map(|bind| if let Bind::Plane { weight, .. } = bind { Some(*weight) } else { None });
        let weight = weight.expect("the format of a weight asks for it");
        constants.push(("ROW_GROUPS", f64::from(memory.weight_cols(weight) / 32)));
    }
    for bind in &binds {
        if let Bind::Dims(dims) = bind {
            memory.keep_dims(gpu, dims);
        }
    }
    let bindings: Vec<wgpu::BufferBinding<'_>> = binds
        .into_iter()
        .map(|bind| match bind {
            Bind::Tensor(tensor) => match tensor.storage {
                Storage::Scratch(id) => memory.pool[scratch.place_of[&id]].0.as_entire_buffer_binding(),
                _ => memory.binding(tensor),
            },
            Bind::Plane { weight, part, scales } => memory.plane(weight, part, scales),
            Bind::Temp(i) => memory.pool[temps[i]].0.as_entire_buffer_binding(),
            Bind::Dims(dims) => memory.dims(&dims),
        })
        .collect();
    Ready {
        pipeline: gpu.order_pipeline(dispatch.kernel, &constants),
        bind_group: gpu.bind_group(label, dispatch.kernel, &bindings),
        grid: dispatch.grid,
        per_keys: dispatch.per_keys,
    }
}

/// Gives scratch tensors buffers of the pool, each for as long as it is read.
struct Scratch {
    place_of: HashMap<u32, usize>,
    free: Vec<usize>,
    /// Tensors that are read for the last time by op `i`.
    last_use: HashMap<usize, Vec<u32>>,
    started: bool,
}

impl Scratch {
    fn new(recording: &Recording) -> Self {
        let mut last: HashMap<u32, usize> = HashMap::new();
        for (index, command) in recording.commands.iter().enumerate() {
            for tensor in command.inputs.iter().chain(&command.outputs) {
                if let Storage::Scratch(id) = tensor.storage {
                    last.insert(id, index);
                }
            }
        }
        let mut last_use: HashMap<usize, Vec<u32>> = HashMap::new();
        for (id, index) in last {
            last_use.entry(index).or_default().push(id);
        }
        Scratch { place_of: HashMap::new(), free: Vec::new(), last_use, started: false }
    }

    fn place(&mut self, gpu: &Gpu, memory: &mut Memory, tensor: Tensor, label: &str) -> Result<(), GpuError> {
        let Storage::Scratch(id) = tensor.storage else { return Ok(()) };
        if self.place_of.contains_key(&id) {
            return Ok(()); // an op adds to what an earlier one wrote
        }
        let place = self.take(gpu, memory, tensor.n_bytes(), label)?;
        self.place_of.insert(id, place);
        Ok(())
    }

    /// The smallest free buffer that holds so much, or a new one. Plans run one after the other, so they share the pool.
    fn take(&mut self, gpu: &Gpu, memory: &mut Memory, bytes: u64, label: &str) -> Result<usize, GpuError> {
        if !self.started {
            self.free = (0..memory.pool.len()).collect();
            self.started = true;
        }
        let fits = self.free.iter().enumerate().filter(|&(_, &i)| memory.pool[i].1 >= bytes);
        if let Some((at, _)) = fits.min_by_key(|&(_, &i)| memory.pool[i].1) {
            return Ok(self.free.swap_remove(at));
        }
        memory.grow_pool(gpu, bytes, label)
    }

    fn release_after(&mut self, index: usize) {
        for id in self.last_use.remove(&index).unwrap_or_default() {
            self.free.extend(self.place_of.remove(&id));
        }
    }
}
