//! A recording made ready: pipelines, bind groups, workgroup counts and memory, resolved once and replayed.

use crate::device::Gpu;
use crate::error::GpuError;
use crate::executor::Memory;
use crate::select::{Bind, Dim, Dispatch, rows_one_by_one, select};
use aloud_ops::{Cost, Recording, Storage, Tensor, fuse};
use std::collections::HashMap;

/// A dispatch with everything resolved.
struct Ready {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    grid: [Dim; 3],
    per_keys: Option<u32>,
}

impl Ready {
    fn encode(&self, pass: &mut wgpu::ComputePass<'_>, n_kv: u32) {
        let [x, y, z] = self.grid.map(|dim| match dim {
            Dim::Fixed(n) => n,
            Dim::PerKeys { keys, most } => n_kv.div_ceil(keys).clamp(1, most),
        });
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

/// A recording made ready for one device.
pub struct GpuPlan {
    ready: Vec<Ready>,
    recording: Recording,
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

    /// Encodes one pass.
    pub(crate) fn encode(&self, gpu: &Gpu, encoder: &mut wgpu::CommandEncoder, n_kv: u32) {
        let mut n_dispatches = 0;
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for neighbours in self.ready.chunk_by(|a, b| a.per_keys == b.per_keys) {
            for _ in 0..neighbours[0].per_keys.map_or(1, |keys| n_kv.div_ceil(keys)) {
                neighbours.iter().for_each(|ready| ready.encode(&mut pass, n_kv));
                n_dispatches += neighbours.len() as u64;
            }
        }
        gpu.count_pass(n_dispatches);
    }

    pub(crate) fn compile(gpu: &mut Gpu, memory: &mut Memory, recording: &Recording) -> Result<GpuPlan, GpuError> {
        let recording = if gpu.caps.fused { fuse(recording, rows_one_by_one(gpu.caps)) } else { recording.clone() };
        let mut scratch = Scratch::new(&recording);
        let mut ready = Vec::new();
        for (index, command) in recording.commands.iter().enumerate() {
            let selected = select(command, &recording, gpu.caps, |t| memory.weight_shape(t));
            let outputs = command.outputs.iter().filter(|t| t.is_scratch());
            for tensor in outputs {
                scratch.place(gpu, memory, *tensor, &command.label)?;
            }
            let temps: Result<Vec<usize>, GpuError> =
                selected.temps.iter().map(|&bytes| scratch.take(gpu, memory, bytes, &command.label)).collect();
            let temps = temps?;
            for dispatch in &selected.dispatches {
                ready.push(resolve(gpu, memory, &scratch, &temps, dispatch, &command.label));
            }
            scratch.free.extend(temps);
            scratch.release_after(index);
        }
        gpu.check()?;
        Ok(GpuPlan { ready, recording })
    }
}

fn resolve(
    gpu: &mut Gpu,
    memory: &Memory,
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
    let bindings: Vec<wgpu::BufferBinding<'_>> = binds
        .into_iter()
        .map(|bind| match bind {
            Bind::Tensor(tensor) => match tensor.storage {
                Storage::Scratch(id) => memory.pool[scratch.place_of[&id]].0.as_entire_buffer_binding(),
                _ => memory.binding(tensor),
            },
            Bind::Plane { weight, part, scales } => memory.plane(weight, part, scales),
            Bind::Temp(i) => memory.pool[temps[i]].0.as_entire_buffer_binding(),
        })
        .collect();
    Ready {
        pipeline: gpu.pipeline(dispatch.kernel, &constants),
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
