//! Runs a recording op by op.

use crate::ops;
use aloud_format::{FormatError, dequantize};
use aloud_ops::{
    Command, DType, Elem, Executor, GqaProject, Mla, Op, Recording, SampleResult, SampleRow, SamplerState, Step,
    Storage, Tensor,
};
use std::borrow::Cow;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CpuError {
    /// A weight's bytes could not be read.
    #[error("weight `{name}`: {source}")]
    Weight {
        /// Which.
        name: String,
        /// Why.
        source: FormatError,
    },
}

/// A recording as it is: nothing needs preparing.
pub struct CpuPlan(Recording);

/// Holds every tensor as `f32` or, for integers, as `u32` bits in `f32`'s place.
#[derive(Default)]
pub struct CpuExecutor {
    states: Vec<Vec<u32>>,
    weights: Vec<(String, Vec<f32>)>,
    bytes: u64,
    int8: bool,
    halves: bool,
}

impl CpuExecutor {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that rounds activations to 8 bits where a device with `int8` does: before products with weights that are whole numbers
    /// times a scale.
    #[must_use]
    pub fn with_int8() -> Self {
        Self { int8: true, ..Self::default() }
    }

    /// One that rounds both factors of products of several rows to halves, where a device with such tiles does: unless the
    /// weight is f32.
    #[must_use]
    pub fn with_halves() -> Self {
        Self { halves: true, ..Self::default() }
    }
}

/// Of rows of `width` values the first `n` of each.
fn first_columns(rows: &[f32], width: usize, n: usize) -> Vec<f32> {
    rows.chunks_exact(width).flat_map(|row| &row[..n]).copied().collect()
}

pub(crate) fn floats(words: &[u32]) -> &[f32] {
    bytemuck::cast_slice(words)
}

impl Executor for CpuExecutor {
    type Plan = CpuPlan;
    type Ticket = Vec<u8>;
    type Error = CpuError;

    fn create_state(&mut self, _label: &str, elem: Elem, shape: &[u32]) -> Result<Tensor, CpuError> {
        let tensor = Tensor::new(Storage::State(self.states.len() as u32), elem, shape);
        self.states.push(vec![0; tensor.n_elems() as usize]);
        self.bytes += tensor.n_bytes();
        Ok(tensor)
    }

    fn create_weight(&mut self, label: &str, dtype: DType, shape: &[u32]) -> Result<Tensor, CpuError> {
        let tensor = Tensor::new(Storage::Weight(self.weights.len() as u32), Elem::Weight(dtype), shape);
        self.weights.push((label.to_owned(), vec![0.0; tensor.n_elems() as usize]));
        self.bytes += tensor.n_bytes();
        Ok(tensor)
    }

    fn write_weight(&mut self, weight: Tensor, first_row: u32, bytes: &[u8]) -> Result<(), CpuError> {
        let (Storage::Weight(id), Elem::Weight(dtype)) = (weight.storage, weight.elem) else {
            unreachable!("write_weight takes a weight")
        };
        let cols = weight.cols();
        let (name, values) = &mut self.weights[id as usize];
        let n = bytes.len() / dtype.block_bytes() * dtype.block_elems();
        let out = &mut values[first_row as usize * cols as usize..][..n];
        dequantize(dtype, bytes, out).map_err(|source| CpuError::Weight { name: name.clone(), source })
    }

    fn write_state(&mut self, state: Tensor, offset_bytes: u64, bytes: &[u8]) {
        let Storage::State(id) = state.storage else { unreachable!("write_state takes a state") };
        let to: &mut [u8] = bytemuck::cast_slice_mut(&mut self.states[id as usize]);
        to[offset_bytes as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    fn compile(&mut self, recording: &Recording) -> Result<CpuPlan, CpuError> {
        Ok(CpuPlan(recording.clone()))
    }

    fn submit(&mut self, plan: &CpuPlan, _n_kv: u32, result: Option<Tensor>) -> Result<Option<Vec<u8>>, CpuError> {
        let mut scratch = vec![Vec::new(); plan.0.n_scratch() as usize];
        for command in &plan.0.commands {
            let step: Step = *bytemuck::from_bytes(bytemuck::cast_slice(self.read(&scratch, plan.0.step)));
            self.run(&mut scratch, command, plan.0.step, step, plan.0.max_tokens);
        }
        Ok(result.map(|r| bytemuck::cast_slice(self.read(&scratch, r)).to_vec()))
    }

    fn warm_up<'p>(&mut self, _plans: impl Iterator<Item = &'p CpuPlan>) -> Result<(), CpuError> {
        Ok(()) // nothing is compiled
    }

    async fn read_ticket(&mut self, ticket: Vec<u8>, out: &mut [u8]) -> Result<(), CpuError> {
        out.copy_from_slice(&ticket[..out.len()]);
        Ok(())
    }

    async fn read_state(&mut self, state: Tensor) -> Result<Vec<u8>, CpuError> {
        Ok(bytemuck::cast_slice(self.read(&[], state)).to_vec())
    }

    fn max_in_flight(&self) -> usize {
        1
    }

    fn max_binding_bytes(&self) -> u64 {
        u64::MAX
    }

    fn resident_bytes(&self) -> (u64, u64) {
        (self.bytes, 0)
    }
}

impl CpuExecutor {
    pub(crate) fn read<'a>(&'a self, scratch: &'a [Vec<u32>], tensor: Tensor) -> &'a [u32] {
        match tensor.storage {
            Storage::Scratch(id) => &scratch[id as usize],
            Storage::State(id) => &self.states[id as usize],
            Storage::Weight(id) => bytemuck::cast_slice(&self.weights[id as usize].1),
        }
    }

    pub(crate) fn store(&mut self, scratch: &mut [Vec<u32>], tensor: Tensor, values: Vec<u32>) {
        match tensor.storage {
            Storage::Scratch(id) => scratch[id as usize] = values,
            Storage::State(id) => self.states[id as usize][..values.len()].copy_from_slice(&values),
            Storage::Weight(_) => unreachable!("no op writes a weight"),
        }
    }

    fn run(&mut self, scratch: &mut [Vec<u32>], command: &Command, step_at: Tensor, step: Step, max_tokens: u32) {
        if step.n_tokens == 0 && !matches!(command.op, Op::Sample(_) | Op::DraftBegin) {
            return;
        }
        let input = |i: usize| self.read(scratch, command.inputs[i]);
        // Rows that are real; a tensor of one row stays one row.
        let rows = |t: Tensor| if t.shape()[0] == max_tokens { step.n_tokens } else { t.shape()[0] } as usize;
        let values = |i: usize| {
            let t = command.inputs[i];
            let width = t.n_elems() as usize / t.shape()[0] as usize;
            &floats(input(i))[..if t.is_scratch() { rows(t) * width } else { t.n_elems() as usize }]
        };
        let out = command.outputs[0];
        let mut y = vec![0f32; out.n_elems() as usize];
        let width = out.n_elems() as usize / out.shape()[0] as usize;
        let real = rows(out) * width;
        match command.op {
            Op::Embed => {
                let tokens = &input(0)[..step.n_tokens as usize];
                ops::embed(tokens, values(1), width, &mut y[..real]);
            }
            Op::RmsNorm { eps } => ops::rms_norm(values(0), values(1), eps, &mut y[..real]),
            Op::Matmul => {
                self.matmul(scratch, command, |weight| self.factor(weight, values(0), None), 1, &mut y[..real]);
            }
            Op::MatmulAdd => {
                let [_, k] = command.inputs[1].dims2();
                ops::matmul(
                    &self.factor(command.inputs[1], values(0), None),
                    values(1),
                    None,
                    k as usize,
                    &mut y[..real],
                );
                y.iter_mut().zip(values(2)).for_each(|(y, &x)| *y += x);
            }
            Op::NormMatmul { eps } => {
                let x = first_columns(values(0), command.inputs[0].cols() as usize, values(1).len());
                let h = |weight| self.factor(weight, &x, Some((values(1), eps)));
                self.matmul(scratch, command, h, 2, &mut y[..real]);
            }
            Op::GateUp { eps } => {
                let h = self.factor(command.inputs[1], values(0), eps.map(|eps| (values(3), eps)));
                ops::gate_up(&h, values(1), values(2), command.inputs[0].cols() as usize, &mut y[..real]);
            }
            Op::NormConcat { eps } => {
                ops::norm_concat(values(0), values(1), values(2), values(3), eps, &mut y[..real]);
            }
            Op::GqaProject(params) => {
                let q = self.gqa_project(scratch, command, &params, step);
                y[..real].copy_from_slice(&q);
            }
            Op::ProjectAttention(params, attention) => {
                let q = self.gqa_project(scratch, command, &params, step);
                let [k, v] = [1, 2].map(|i| floats(self.read(scratch, command.outputs[i])));
                let block_table = self.read(scratch, command.inputs[2]);
                ops::attention(&q, k, v, block_table, &attention, step.pos, &mut y[..real]);
            }
            Op::Attention(params) => {
                ops::attention(values(0), values(1), values(2), input(3), &params, step.pos, &mut y[..real]);
            }
            Op::MlaProject { eps, mla } => {
                let latents: Vec<Tensor> = command.inputs[..4].to_vec();
                self.cache_latents(scratch, &latents, command.outputs[0], eps, &mla, step);
                return self.query_latents(scratch, command, eps, step);
            }
            Op::MlaQuery(mla) | Op::ProjectQuery { mla, .. } => {
                let q_width = command.inputs[0].cols() as usize;
                ops::mla_query(values(0), q_width, values(1), values(2), &mla, step.pos as usize, &mut y[..real]);
                if let (Op::ProjectQuery { eps, .. }, &[_, _, table, a, kv_norm, block_table]) =
                    (command.op, &command.inputs[..])
                {
                    let latents = [a, kv_norm, table, block_table];
                    self.cache_latents(scratch, &latents, command.outputs[1], eps, &mla, step);
                }
            }
            Op::MlaAttention(mla) => {
                ops::mla_attention(values(0), values(1), input(2), values(3), &mla, step.pos, &mut y[..real]);
            }
            Op::MlaExpanded(mla) => {
                let up: Vec<&[f32]> = (4..command.inputs.len()).map(values).collect();
                let [_, q_width] = command.inputs[0].dims2();
                let (q, pos, y) = (values(0), step.pos as usize, &mut y[..real]);
                ops::mla_expanded(q, q_width as usize, values(1), input(2), values(3), &up, &mla, pos, y);
            }
            Op::Swiglu => ops::swiglu(values(0), values(1), &mut y[..real]),
            Op::Router { eps } => return self.router(scratch, command, eps, step),
            Op::Route(params) => return self.route(scratch, command, &params, step),
            Op::ExpertsGateUp(_) => return self.experts_gate_up(scratch, command, step),
            Op::ExpertsDown(_) => return self.experts_down(scratch, command, step),
            Op::LastRow => ops::last_row(values(0), width, step.n_tokens as usize, &mut y),
            Op::Penalize(at) => {
                let state: &SamplerState = bytemuck::from_bytes(bytemuck::cast_slice(input(1)));
                let before: &SampleResult = bytemuck::from_bytes(bytemuck::cast_slice(input(3)));
                if at.row > 0 && before.next_row != at.row {
                    return;
                }
                let logits = &floats(input(0))[at.row as usize * y.len()..][..y.len()];
                ops::penalize(logits, state, input(2), &mut y);
                let best = ops::best_of_slices(&y).concat();
                self.store(scratch, command.outputs[1], best);
            }
            Op::Sample(at) => return self.sample(scratch, command, step_at, step, at),
            Op::DraftLookup { n_drafts } => return self.draft_lookup(scratch, command, step, n_drafts),
            Op::DraftDrop => return self.put(scratch, out, Step { n_tokens: step.n_tokens.min(1), ..step }),
            Op::DraftBegin => {
                let (step, tokens) =
                    ops::draft_begin(&self.pod(scratch, command.inputs[0]), self.pod(scratch, command.inputs[1]));
                self.store(scratch, command.outputs[0], tokens);
                return self.put(scratch, command.outputs[1], step);
            }
            Op::DraftPick { n_drafts } => return self.draft_pick(scratch, command, step, n_drafts),
        }
        self.store(scratch, out, bytemuck::allocation::cast_vec(y));
    }

    /// What of the rows `x` is multiplied with a weight: normed if there is a norm, rounded if the weight is for that.
    pub(crate) fn factor(&self, weight: Tensor, x: &[f32], norm: Option<(&[f32], f32)>) -> Vec<f32> {
        let plain = [DType::F32, DType::F16, DType::BF16, DType::F8_B32].map(Elem::Weight);
        let int8 = self.int8 && !plain.contains(&weight.elem);
        let mut h = x.to_vec();
        match norm {
            Some((norm, eps)) if int8 => ops::rms_norm_i8(x, norm, eps, &mut h),
            Some((norm, eps)) => ops::rms_norm(x, norm, eps, &mut h),
            None if int8 => h = ops::rounded(x),
            None => {}
        }
        h
    }

    /// Rows times the weights among the inputs from `first` on, side by side; a bias may follow them.
    fn matmul(
        &self,
        scratch: &[Vec<u32>],
        command: &Command,
        rows: impl Fn(Tensor) -> Vec<f32>,
        first: usize,
        y: &mut [f32],
    ) {
        let width = command.outputs[0].cols() as usize;
        let (weights, bias): (Vec<Tensor>, Vec<Tensor>) = command.inputs[first..].iter().partition(|t| t.is_weight());
        let mut column = 0;
        for weight in weights {
            let [n, k] = weight.dims2().map(|n| n as usize);
            let mut part = vec![0.0; y.len() / width * n];
            let bias = bias.first().map(|&bias| &floats(self.read(scratch, bias))[column..column + n]);
            let (mut x, mut w) = (rows(weight), Cow::from(floats(self.read(scratch, weight))));
            if self.halves && command.outputs[0].dims2()[0] > 1 && weight.elem != Elem::Weight(DType::F32) {
                (x, w) = (ops::rows_in_halves(&x, k), Cow::from(ops::in_halves(&w)));
            }
            ops::matmul(&x, &w, bias, k, &mut part);
            for (y, part) in y.chunks_exact_mut(width).zip(part.chunks_exact(n)) {
                y[column..column + n].copy_from_slice(part);
            }
            column += n;
        }
    }

    /// Fills the caches among the outputs; the queries of the rows that are real.
    fn gqa_project(
        &mut self,
        scratch: &mut [Vec<u32>],
        command: &Command,
        params: &GqaProject,
        step: Step,
    ) -> Vec<f32> {
        let n = step.n_tokens as usize;
        let [width, c] = [params.width(), params.head_dim].map(|n| n as usize);
        let kv_width = params.n_kv_heads as usize * c;
        let q_width = params.n_heads as usize * c;
        let [qkv, table] = [0, 1].map(|i| floats(self.read(scratch, command.inputs[i])));
        let norms = command.inputs.get(3).map(|&norms| floats(self.read(scratch, norms)));
        let mut parts = [Vec::new(), Vec::new(), Vec::new()];
        for (t, qkv) in qkv[..n * width].chunks_exact(width).enumerate() {
            let turned = ops::gqa_project(&qkv[..width - kv_width], norms, table, params, step.pos as usize + t);
            parts[0].extend_from_slice(&turned[..q_width]);
            parts[1].extend_from_slice(&turned[q_width..]);
            parts[2].extend_from_slice(&qkv[width - kv_width..]);
        }
        let [q, k, v] = parts;
        for (rows, &cache) in [k, v].iter().zip(&command.outputs[1..]) {
            let mut to = self.read(scratch, cache).to_vec();
            let block_table = self.read(scratch, command.inputs[2]);
            let (f16, cells) = (cache.elem == Elem::F16, bytemuck::cast_slice_mut(&mut to));
            ops::kv_write(rows, block_table, params.block_tokens, step.pos, kv_width, f16, cells);
            self.store(scratch, cache, to);
        }
        q
    }

    /// Fills the cache with rows of the real tokens; `inputs` are those of `mla_project`.
    fn cache_latents(
        &mut self,
        scratch: &mut [Vec<u32>],
        inputs: &[Tensor],
        cache: Tensor,
        eps: f32,
        mla: &Mla,
        step: Step,
    ) {
        let width = inputs[0].cols() as usize;
        let [a, kv_norm, table] = [0, 1, 2].map(|i| floats(self.read(scratch, inputs[i])));
        let block_table = self.read(scratch, inputs[3]);
        let mut rows = Vec::new();
        for (t, a) in a[..step.n_tokens as usize * width].chunks_exact(width).enumerate() {
            let latent = &a[width - mla.latent_dim() as usize..];
            rows.extend(ops::mla_project(latent, kv_norm, eps, table, mla, step.pos as usize + t));
        }
        let mut to = self.read(scratch, cache).to_vec();
        let (f16, width) = (cache.elem == Elem::F16, mla.latent_dim() as usize);
        ops::kv_write(&rows, block_table, mla.block_tokens, step.pos, width, f16, bytemuck::cast_slice_mut(&mut to));
        self.store(scratch, cache, to);
    }

    /// The normed latents of queries, if they have any.
    fn query_latents(&mut self, scratch: &mut [Vec<u32>], command: &Command, eps: f32, step: Step) {
        let (Some(&q_norm), Some(&y)) = (command.inputs.get(4), command.outputs.get(1)) else { return };
        let width = command.inputs[0].cols() as usize;
        let a = &floats(self.read(scratch, command.inputs[0]))[..step.n_tokens as usize * width];
        let q_norm = floats(self.read(scratch, q_norm));
        let x = first_columns(a, width, q_norm.len());
        let mut queries = vec![0.0; x.len()];
        ops::rms_norm(&x, q_norm, eps, &mut queries);
        self.store(scratch, y, bytemuck::allocation::cast_vec(queries));
    }

    /// A state as the struct that it is.
    fn pod<T: bytemuck::Pod>(&self, scratch: &[Vec<u32>], tensor: Tensor) -> T {
        *bytemuck::from_bytes(bytemuck::cast_slice(self.read(scratch, tensor)))
    }

    fn put<T: bytemuck::Pod>(&mut self, scratch: &mut [Vec<u32>], tensor: Tensor, value: T) {
        self.store(scratch, tensor, bytemuck::cast_slice(bytemuck::bytes_of(&value)).to_vec());
    }

    fn sample(&mut self, scratch: &mut [Vec<u32>], command: &Command, step_at: Tensor, step: Step, at: SampleRow) {
        let [_, tokens, counts, report] = [0, 1, 2, 3].map(|i| command.outputs[i]);
        let scores = floats(self.read(scratch, command.inputs[0]));
        let state: SamplerState = self.pod(scratch, command.inputs[2]);
        let before: SampleResult = self.pod(scratch, report);
        let rows = self.read(scratch, tokens);
        let Some((next, result)) = ops::sample(scores, &state, step, at, rows, before) else { return };
        self.put(scratch, report, result);
        if step.n_tokens == 0 {
            return;
        }
        let token = result.tokens[at.row as usize];
        self.put(scratch, step_at, next);
        if result.next_row == SampleResult::NO_ROW {
            self.store(scratch, tokens, vec![token]);
        }
        let mut all = self.read(scratch, counts).to_vec();
        all[token as usize] += 1;
        self.store(scratch, counts, all);
    }

    fn draft_lookup(&mut self, scratch: &mut [Vec<u32>], command: &Command, step: Step, n_drafts: u32) {
        let [tokens_at, history_at, step_at] = [0, 1, 2].map(|i| command.outputs[i]);
        let result: SampleResult = self.pod(scratch, command.inputs[0]);
        let state: SamplerState = self.pod(scratch, command.inputs[1]);
        let mut history = self.read(scratch, history_at).to_vec();
        let n = result.n_cached as usize;
        history[n + 1 - result.n_drawn as usize..=n].copy_from_slice(result.drawn());
        let drafts = ops::draft_lookup(&history[..=n], &state, step.n_generated, n_drafts);
        self.put(scratch, step_at, Step { n_tokens: 1 + drafts.len() as u32, ..step });
        let tokens: Vec<u32> = [history[n]].into_iter().chain(drafts).collect();
        self.store(scratch, tokens_at, tokens);
        self.store(scratch, history_at, history);
    }

    fn draft_pick(&mut self, scratch: &mut [Vec<u32>], command: &Command, step: Step, n_drafts: u32) {
        let [all_at, tokens_at, main_at, step_at] = [0, 1, 2, 3].map(|i| command.outputs[i]);
        let state: SamplerState = self.pod(scratch, command.inputs[1]);
        let best = self.read(scratch, command.inputs[0]);
        let main: Step = self.pod(scratch, main_at);
        let (next_main, next, draft) = ops::draft_pick(best, &state, main, step, n_drafts);
        if let Some(id) = draft {
            let mut all = self.read(scratch, all_at).to_vec();
            all[main.n_tokens as usize] = id;
            self.store(scratch, all_at, all);
            self.store(scratch, tokens_at, vec![id]);
        }
        self.put(scratch, main_at, next_main);
        self.put(scratch, step_at, next);
    }
}
