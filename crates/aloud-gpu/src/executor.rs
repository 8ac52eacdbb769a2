//! Weights and state on one device, and running plans over them.

mod time;
mod tune;

pub use time::StepSeconds;

use crate::device::Gpu;
use crate::error::GpuError;
use crate::layout::{Planes, Scales, convert, device_dtype, planes, repack};
use crate::plan::GpuPlan;
use crate::readback::{RING, Ring, Ticket, read_buffer};
use crate::select::{Dims, WeightShape};
use crate::upload::{Target, Upload};
use aloud_ops::{DType, Elem, Executor, Recording, Storage, Tensor};
use std::collections::HashMap;
use web_time::Instant;

/// Offset at which any device can bind a buffer.
const BIND_ALIGN: u64 = 256;

struct Part {
    buffer: wgpu::Buffer,
    quant_bytes: u64,
    scales_at: u64,
    scale_bytes: u64,
}

struct Weight {
    name: String,
    shape: WeightShape,
    cols: u32,
    parts: Vec<Part>,
}

/// Everything that lies on the device.
#[derive(Default)]
pub(crate) struct Memory {
    weights: Vec<Weight>,
    states: Vec<(wgpu::Buffer, u64)>,
    /// Sizes that kernels read.
    dims: HashMap<Dims, wgpu::Buffer>,
    /// Buffers for activations, with their sizes.
    pub pool: Vec<(wgpu::Buffer, u64)>,
    held_bytes: u64,
    pool_bytes: u64,
}

/// What a [`Memory`] held at a time.
struct Held {
    counts: [usize; 3],
    held_bytes: u64,
    pool_bytes: u64,
}

impl Memory {
    pub fn weight_shape(&self, tensor: Tensor) -> (u32, &WeightShape) {
        let Storage::Weight(id) = tensor.storage else { unreachable!("ops take weights where they need them") };
        (id, &self.weights[id as usize].shape)
    }

    /// Columns of a weight.
    pub fn weight_cols(&self, weight: u32) -> u32 {
        self.weights[weight as usize].cols
    }

    pub fn binding(&self, tensor: Tensor) -> wgpu::BufferBinding<'_> {
        let Storage::State(id) = tensor.storage else {
            unreachable!("weights are bound by planes, scratch by the plan")
        };
        self.states[id as usize].0.as_entire_buffer_binding()
    }

    pub fn plane(&self, weight: u32, part: usize, scales: bool) -> wgpu::BufferBinding<'_> {
        let part = &self.weights[weight as usize].parts[part];
        let (offset, size) = if scales { (part.scales_at, part.scale_bytes) } else { (0, part.quant_bytes) };
        wgpu::BufferBinding { buffer: &part.buffer, offset, size: std::num::NonZero::new(size) }
    }

    /// Has sizes where kernels can read them.
    pub fn keep_dims(&mut self, gpu: &Gpu, dims: &Dims) {
        self.dims.entry(*dims).or_insert_with(|| {
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
            let buffer = gpu.buffer("aloud.dims", size_of::<Dims>() as u64, usage);
            gpu.write(&buffer, 0, bytemuck::bytes_of(dims));
            buffer
        });
    }

    /// Sizes that are kept.
    pub fn dims(&self, dims: &Dims) -> wgpu::BufferBinding<'_> {
        self.dims[dims].as_entire_buffer_binding()
    }

    /// How much there is.
    fn mark(&self) -> Held {
        let Memory { weights, states, pool, held_bytes, pool_bytes, .. } = self;
        Held { counts: [weights.len(), states.len(), pool.len()], held_bytes: *held_bytes, pool_bytes: *pool_bytes }
    }

    /// Frees what came since then; at once, since a browser frees what is dropped when it collects garbage, which may be never.
    fn release(&mut self, held: Held) {
        let [weights, states, pool] = held.counts;
        self.weights.drain(weights..).flat_map(|weight| weight.parts).for_each(|part| part.buffer.destroy());
        self.states.drain(states..).chain(self.pool.drain(pool..)).for_each(|(buffer, _)| buffer.destroy());
        (self.held_bytes, self.pool_bytes) = (held.held_bytes, held.pool_bytes);
    }

    pub fn grow_pool(&mut self, gpu: &Gpu, bytes: u64, label: &str) -> Result<usize, GpuError> {
        check_binding(gpu, label, bytes, "use a smaller batch or context")?;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        self.pool.push((gpu.buffer(&format!("aloud.{label}"), bytes, usage), bytes));
        self.pool_bytes += bytes;
        Ok(self.pool.len() - 1)
    }
}

fn check_binding(gpu: &Gpu, name: &str, need_bytes: u64, way_out: &'static str) -> Result<(), GpuError> {
    let limit_bytes = gpu.caps.max_binding_bytes.min(gpu.max_buffer_bytes());
    if need_bytes > limit_bytes {
        return Err(GpuError::BindingTooLarge { name: name.to_owned(), need_bytes, limit_bytes, way_out });
    }
    Ok(())
}

/// Rows that a part of a weight is a multiple of: whole matrices of a stack, and whole runs of rows that share words.
fn part_unit(name: &str, layout: &Planes, shape: &[u32]) -> Result<u64, GpuError> {
    let align = layout.row_align();
    let &[_, rows, _] = shape else { return Ok(align) };
    let whole = u64::from(rows).is_multiple_of(align);
    if !whole && layout.scales == Scales::PerTile {
        return Err(GpuError::StackRows { name: name.to_owned(), rows, multiple: align });
    }
    Ok(if whole { u64::from(rows) } else { u64::from(rows) * align })
}

/// Runs recordings on a [`Gpu`].
pub struct GpuExecutor {
    gpu: Gpu,
    memory: Memory,
    ring: Ring,
    upload: Upload,
}

impl GpuExecutor {
    /// On this device, which it owns from now on.
    #[must_use]
    pub fn new(gpu: Gpu) -> Self {
        let ring = Ring::new(&gpu);
        GpuExecutor { gpu, memory: Memory::default(), ring, upload: Upload::default() }
    }

    /// The device.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Waits until everything that plans run is compiled.
    ///
    /// # Errors
    /// If the driver refused something of it.
    pub fn finish_compiling(&mut self) -> Result<(), GpuError> {
        self.gpu.finish_pipelines()
    }

    /// Bytes of main memory through which weights travel, for as long as they come.
    #[must_use]
    pub fn staging_bytes(&self) -> u64 {
        self.upload.held_bytes()
    }

    /// Parts of a weight: rows that one binding holds, a multiple of `unit`.
    fn part_rows(&self, name: &str, layout: &Planes, unit: u64, rows: u64, cols: u32) -> Result<u64, GpuError> {
        let blocks = u64::from(cols / layout.block_elems);
        let unit_quants = unit * blocks * layout.quant_bytes;
        let unit_scales = layout.scale_bytes(unit, blocks);
        let limit = self.gpu.caps.max_binding_bytes;
        // Both planes lie in one buffer; a buffer may be larger than a binding, but never than its own limit.
        let by_binding = limit / unit_quants.max(unit_scales);
        let by_buffer = (self.gpu.max_buffer_bytes() - BIND_ALIGN) / (unit_quants + unit_scales);
        let units = by_binding.min(by_buffer);
        if units == 0 {
            check_binding(
                &self.gpu,
                name,
                unit_quants,
                "what must lie together of this weight is too large for the device",
            )?;
        }
        Ok((units * unit).min(rows))
    }
}

impl Executor for GpuExecutor {
    type Plan = GpuPlan;
    type Ticket = Ticket;
    type Error = GpuError;

    fn create_state(&mut self, label: &str, elem: Elem, shape: &[u32]) -> Result<Tensor, GpuError> {
        let tensor = Tensor::new(Storage::State(self.memory.states.len() as u32), elem, shape);
        let bytes = tensor.n_bytes();
        check_binding(&self.gpu, label, bytes, "use a smaller context (-c)")?;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        self.memory.states.push((self.gpu.buffer(&format!("aloud.{label}"), bytes, usage), bytes));
        self.memory.held_bytes += bytes;
        self.gpu.check()?;
        Ok(tensor)
    }

    fn create_weight(&mut self, label: &str, dtype: DType, shape: &[u32]) -> Result<Tensor, GpuError> {
        let unsupported = || GpuError::Unsupported { name: label.to_owned(), dtype };
        let device_dtype = device_dtype(dtype).ok_or_else(unsupported)?;
        let layout = planes(device_dtype).ok_or_else(unsupported)?;
        let tensor = Tensor::new(Storage::Weight(self.memory.weights.len() as u32), Elem::Weight(dtype), shape);
        let cols = tensor.cols();
        let rows = tensor.n_elems() / u64::from(cols);
        if !cols.is_multiple_of(layout.block_elems) {
            return Err(GpuError::RowLength { name: label.to_owned(), cols, multiple: layout.block_elems });
        }
        let unit = part_unit(label, &layout, shape)?;
        let per_part = self.part_rows(label, &layout, unit, rows, cols)?;
        let mut weight = Weight {
            name: label.to_owned(),
            shape: WeightShape { dtype: device_dtype, parts: Vec::new() },
            cols,
            parts: Vec::new(),
        };
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let mut row = 0;
        while row < rows {
            let n = per_part.min(rows - row);
            let row_blocks = u64::from(cols / layout.block_elems);
            let (quant_bytes, scale_bytes) = (n * row_blocks * layout.quant_bytes, layout.scale_bytes(n, row_blocks));
            let scales_at = quant_bytes.next_multiple_of(BIND_ALIGN);
            let size = if scale_bytes == 0 { quant_bytes } else { scales_at + scale_bytes };
            let buffer = self.gpu.buffer(&format!("aloud.{label}.{row}"), size, usage);
            weight.shape.parts.push((row as u32, n as u32));
            weight.parts.push(Part { buffer, quant_bytes, scales_at, scale_bytes });
            self.memory.held_bytes += size;
            row += n;
        }
        self.memory.weights.push(weight);
        self.gpu.check()?;
        Ok(tensor)
    }

    fn write_weight(&mut self, tensor: Tensor, first_row: u32, bytes: &[u8]) -> Result<(), GpuError> {
        let (Storage::Weight(id), Elem::Weight(file_dtype)) = (tensor.storage, tensor.elem) else {
            unreachable!("write_weight takes a weight")
        };
        let weight = &self.memory.weights[id as usize];
        let dtype = weight.shape.dtype;
        let converted = convert(file_dtype, bytes);
        let bytes = converted.as_deref().unwrap_or(bytes);
        let layout = planes(dtype).expect("create_weight checked");
        let row_blocks = u64::from(weight.cols / layout.block_elems);
        let row_bytes = row_blocks as usize * layout.file_bytes;
        assert_eq!(bytes.len() % row_bytes, 0, "{}: whole rows are written", weight.name);
        let align = layout.row_align();
        assert_eq!(u64::from(first_row) % align, 0, "{}: slices begin at multiples of {align} rows", weight.name);
        let end = u64::from(first_row) + (bytes.len() / row_bytes) as u64;
        for (part, &(row0, n)) in weight.parts.iter().zip(&weight.shape.parts) {
            let (begin, end) = (u64::from(first_row.max(row0)), end.min(u64::from(row0) + u64::from(n)));
            if begin >= end {
                continue;
            }
            let range = |row: u64| (row - u64::from(first_row)) as usize * row_bytes;
            let at_once = layout.rows_of(Upload::best_bytes(), row_blocks);
            for begin in (begin..end).step_by(at_once as usize) {
                let end = end.min(begin + at_once);
                let (before, n) = (begin - u64::from(row0), end - begin);
                let quants = before * row_blocks * layout.quant_bytes;
                let scales = part.scales_at + layout.scale_bytes(before, row_blocks);
                let sizes = [n * row_blocks * layout.quant_bytes, layout.scale_bytes(n, row_blocks)];
                let target = |offset, bytes| Target { buffer: &part.buffer, offset, bytes };
                let targets = [target(quants, sizes[0]), target(scales, sizes[1])];
                let rows = &bytes[range(begin)..range(end)];
                self.upload.write(&self.gpu, targets, |[q, s]| repack(dtype, rows, row_blocks, q, s))?;
            }
        }
        self.gpu.check()
    }

    fn write_state(&mut self, state: Tensor, offset_bytes: u64, bytes: &[u8]) {
        let Storage::State(id) = state.storage else { unreachable!("write_state takes a state") };
        self.gpu.write(&self.memory.states[id as usize].0, offset_bytes, bytes);
    }

    fn compile(&mut self, recording: &Recording) -> Result<GpuPlan, GpuError> {
        GpuPlan::compile(&mut self.gpu, &mut self.memory, recording)
    }

    fn submit(&mut self, plan: &GpuPlan, n_kv: u32, result: Option<Tensor>) -> Result<Option<Ticket>, GpuError> {
        self.gpu.finish_pipelines()?;
        self.upload.end(&self.gpu);
        let begun = Instant::now();
        let mut encoder = self.gpu.encoder();
        let n_dispatches = plan.encode(&self.gpu, &mut encoder, n_kv);
        let mut slot = None;
        if let Some(result) = result {
            let Storage::State(id) = result.storage else { unreachable!("results are states") };
            slot = Some(self.ring.copy(&mut encoder, &self.memory.states[id as usize].0, result.n_bytes())?);
        }
        self.gpu.submit(encoder, begun, n_dispatches);
        Ok(slot.map(|slot| self.ring.ticket(&self.gpu, slot)))
    }

    fn warm_up<'p>(&mut self, plans: impl Iterator<Item = &'p GpuPlan>) -> Result<(), GpuError> {
        self.gpu.finish_pipelines()?;
        self.upload.flush(&self.gpu);
        let begun = Instant::now();
        let mut encoder = self.gpu.encoder();
        GpuPlan::encode_pipelines(plans, &self.gpu, &mut encoder);
        self.gpu.submit(encoder, begun, 0);
        Ok(())
    }

    async fn read_ticket(&mut self, ticket: Ticket, out: &mut [u8]) -> Result<(), GpuError> {
        self.ring.read(&self.gpu, ticket, out).await
    }

    async fn read_state(&mut self, state: Tensor) -> Result<Vec<u8>, GpuError> {
        let Storage::State(id) = state.storage else { unreachable!("read_state takes a state") };
        let (buffer, bytes) = &self.memory.states[id as usize];
        read_buffer(&self.gpu, buffer, *bytes).await
    }

    fn max_in_flight(&self) -> usize {
        RING
    }

    fn max_binding_bytes(&self) -> u64 {
        self.gpu.caps.max_binding_bytes
    }

    fn resident_bytes(&self) -> (u64, u64) {
        (self.memory.held_bytes, self.memory.pool_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_matrices_and_share_no_words() {
        let unit = |dtype, shape: &[u32]| part_unit("experts", &planes(dtype).expect("a device format"), shape);
        assert_eq!(unit(DType::Q8_0, &[100, 64]).expect("fits"), 2);
        assert_eq!(unit(DType::Q8_0, &[4, 6, 64]).expect("fits"), 6);
        assert_eq!(unit(DType::Q8_0, &[4, 3, 64]).expect("fits"), 6);
        assert_eq!(unit(DType::F8_E4M3, &[100, 64]).expect("fits"), 32);
        assert_eq!(unit(DType::F8_E4M3, &[4, 96, 64]).expect("fits"), 96);
        let error = unit(DType::F8_E4M3, &[4, 40, 64]).expect_err("matrices would share scales").to_string();
        assert!(error.contains("`experts` is a stack of matrices of 40 rows; expected a multiple of 32"), "{error}");
    }
}
