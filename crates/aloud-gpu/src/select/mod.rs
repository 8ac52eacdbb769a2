//! Which kernels run an op: the one place where capabilities and shapes decide.

mod attention;
mod experts;
mod matmul;
mod mla;
mod mla_expanded;
mod moe;

use crate::device::DeviceCaps;
use aloud_ops::{Command, DType, Op, Recording, SamplerBuffers, Tensor};
use aloud_shaders::{self as shaders, Kernel};
use bytemuck::{Pod, Zeroable};
use matmul::{gate_up, matmul, matmul_add, small_subgroup, weight_name};
pub use matmul::{matvec_candidates, matvec_threads, rows_one_by_one};

/// What a binding is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// A tensor of the recording.
    Tensor(Tensor),
    /// A plane of a part of a weight.
    Plane { weight: u32, part: usize, scales: bool },
    /// Memory that lives during this op only: `Selected::temps[i]`.
    Temp(usize),
    /// Numbers of this dispatch.
    Dims(Dims),
}

/// Sizes that are read and not compiled in, as `shaders/wgsl/helpers/dims.wesl` has them.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Dims {
    pub k: u32,
    pub n: u32,
    pub row0: u32,
    pub n_out: u32,
    pub add: u32,
}

/// Workgroups along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Always so many.
    Fixed(u32),
    /// One for so many cached positions, but `most` of them.
    PerKeys { keys: u32, most: u32 },
}

/// One dispatch of a kernel.
#[derive(Debug)]
pub struct Dispatch {
    pub kernel: &'static Kernel,
    pub constants: Vec<(&'static str, f64)>,
    binds: Vec<(&'static str, Bind)>,
    pub grid: [Dim; 3],
    /// Neighbours that have the same number here are run in turn, once for so many cached positions; `None`: once.
    pub per_keys: Option<u32>,
}

impl Dispatch {
    fn new(kernel: &'static Kernel, grid: [Dim; 3]) -> Self {
        Dispatch { kernel, constants: Vec::new(), binds: Vec::new(), grid, per_keys: None }
    }

    fn per_keys(mut self, keys: u32) -> Self {
        self.per_keys = Some(keys);
        self
    }

    fn constant(mut self, name: &'static str, value: impl Into<f64>) -> Self {
        self.constants.push((name, value.into()));
        self
    }

    fn bind(mut self, name: &'static str, to: Bind) -> Self {
        self.binds.push((name, to));
        self
    }

    fn tensor(self, name: &'static str, tensor: Tensor) -> Self {
        self.bind(name, Bind::Tensor(tensor))
    }

    /// What the kernel's bindings are bound to, in their order.
    ///
    /// # Panics
    /// If `select` forgot one: our bug.
    pub fn bindings(&self) -> Vec<Bind> {
        let of = |name: &str| self.binds.iter().find(|(n, _)| *n == name).map(|(_, to)| *to);
        let missing = |name: &str| -> ! { panic!("{}: nothing is bound to `{name}`", self.kernel.name) };
        self.kernel.bindings.iter().map(|b| of(b.name).unwrap_or_else(|| missing(b.name))).collect()
    }
}

/// A weight as it lies on the device.
pub struct WeightShape {
    pub dtype: DType,
    /// First row and number of rows of each part.
    pub parts: Vec<(u32, u32)>,
}

/// The dispatches of one op, and the bytes of the memory that lives during it.
#[derive(Debug, Default)]
pub struct Selected {
    pub dispatches: Vec<Dispatch>,
    pub temps: Vec<u64>,
}

fn kernel(name: &str) -> &'static Kernel {
    Kernel::by_name(name).unwrap_or_else(|| panic!("no kernel is named {name}"))
}

/// What the name of a kernel ends with that uses subgroups where it can.
fn suffix(caps: DeviceCaps) -> &'static str {
    if caps.subgroup_size.is_some() { "_sg" } else { "" }
}

fn quant_name(dtype: DType) -> String {
    dtype.to_string().to_lowercase()
}

fn fixed(x: u32, y: u32) -> [Dim; 3] {
    [Dim::Fixed(x), Dim::Fixed(y), Dim::Fixed(1)]
}

/// The dispatches of `command`.
pub fn select<'a>(
    command: &Command,
    recording: &Recording,
    caps: DeviceCaps,
    weight: impl Fn(Tensor) -> (u32, &'a WeightShape),
) -> Selected {
    let (inputs, outputs, t_max) = (&command.inputs, &command.outputs, recording.max_tokens);
    let out = outputs[0];
    let rows = out.shape()[0];
    let width = (out.n_elems() / u64::from(rows)) as u32;
    let flat = |kernel, names: &[(&'static str, Tensor)], size: &'static str| {
        let d = Dispatch::new(kernel, fixed(width.div_ceil(64), rows)).constant(size, width);
        one(names.iter().fold(d, |d, &(name, tensor)| d.tensor(name, tensor)))
    };
    let mut selected = match command.op {
        Op::Embed => embed(inputs, out, t_max, weight(inputs[1])),
        Op::MatmulAdd => matmul_add(command, caps, weight(inputs[1])),
        Op::Matmul | Op::NormMatmul { .. } => matmul(command, caps, &weight),
        Op::GateUp { eps } => gate_up(command, caps, eps, weight(inputs[1]), weight(inputs[2])),
        Op::NormConcat { eps } => {
            let d = Dispatch::new(&shaders::NORM_CONCAT, fixed(2, rows)).constant("D", width / 2).constant("EPS", eps);
            let d = d.tensor("a", inputs[0]).tensor("a_norm", inputs[1]).tensor("b", inputs[2]);
            one(d.tensor("b_norm", inputs[3]).tensor("y", out))
        }
        Op::RmsNorm { eps } => {
            let [d] = inputs[1].dims1();
            let k = if caps.subgroup_size.is_some() { &shaders::RMS_NORM_SG } else { &shaders::RMS_NORM };
            let wg = if d <= 256 { 32u32 } else { 128 };
            let d = Dispatch::new(k, fixed(width / d, rows)).constant("D", d).constant("N", width / d);
            let d = d.constant("EPS", eps).constant("WG", wg);
            one(d.tensor("x", inputs[0]).tensor("weight", inputs[1]).tensor("y", out))
        }
        Op::GqaProject(params) => attention::gqa_project(command, t_max, &params),
        Op::Attention(params) => attention::attention(inputs, out, t_max, caps, params),
        Op::ProjectAttention(project, params) => attention::project_attention(command, &project, params),
        Op::MlaProject { eps, mla } => mla::project(command, t_max, eps, &mla),
        Op::MlaQuery(mla) | Op::ProjectQuery { mla, .. } => mla::query(command, caps, &mla, weight(inputs[1])),
        Op::MlaAttention(mla) => mla::attention(command, caps, &mla, weight(inputs[3])),
        Op::MlaExpanded(mla) => mla_expanded::mla_expanded(command, t_max, caps, mla, weight),
        Op::Swiglu => flat(&shaders::SWIGLU, &[("gate", inputs[0]), ("up", inputs[1]), ("y", out)], "F"),
        Op::Router { eps } => moe::router(command, eps, caps, weight(inputs[2])),
        Op::Route(params) => moe::route(command, &params, caps),
        Op::ExpertsGateUp(count) => experts::gate_up(command, caps, count, weight(inputs[1]), weight(inputs[2])),
        Op::ExpertsDown(count) => experts::down(command, caps, count, weight(inputs[1])),
        Op::LastRow => flat(&shaders::LAST_ROW, &[("x", inputs[0]), ("y", out)], "D"),
        Op::Penalize(_)
        | Op::Sample(_)
        | Op::DraftLookup { .. }
        | Op::DraftDrop
        | Op::DraftBegin
        | Op::DraftPick { .. } => one(sampling(command, caps)),
    };
    for dispatch in &mut selected.dispatches {
        if dispatch.binds.iter().all(|&(name, _)| name != "step") {
            dispatch.binds.push(("step", Bind::Tensor(recording.step)));
        }
    }
    selected
}

/// What draws tokens and drafts.
fn sampling(command: &Command, caps: DeviceCaps) -> Dispatch {
    let (inputs, outputs) = (&command.inputs, &command.outputs);
    match command.op {
        Op::Penalize(at) => {
            let d = Dispatch::new(&shaders::PENALIZE, fixed(SamplerBuffers::SLICES, 1)).constant("ROW", at.row);
            let d = d.constant("WG", small_subgroup(caps.subgroup_size).unwrap_or(64));
            let d = d.constant("V", outputs[0].shape()[0]).tensor("logits", inputs[0]).tensor("result", inputs[3]);
            let d = d.tensor("sampler_state", inputs[1]).tensor("counts", inputs[2]);
            d.tensor("scores", outputs[0]).tensor("best", outputs[1])
        }
        Op::Sample(at) => {
            // SwiftShader would take a browser longer to compile the list than it ever saves.
            let kernel = if caps.row_by_row() { &shaders::SAMPLE } else { &shaders::SAMPLE_LIST };
            let d = Dispatch::new(kernel, fixed(1, 1)).constant("V", inputs[0].shape()[0]);
            let d = d.constant("ROW", at.row).constant("DRAFTS", u32::from(at.drafts));
            let d = d.tensor("scores", inputs[0]).tensor("best", inputs[1]).tensor("sampler_state", inputs[2]);
            d.tensor("tokens", outputs[1]).tensor("counts", outputs[2]).tensor("result", outputs[3])
        }
        Op::DraftLookup { n_drafts } => {
            let d = Dispatch::new(&shaders::DRAFT_LOOKUP, fixed(1, 1)).constant("DRAFTS", n_drafts);
            let d = d.tensor("result", inputs[0]).tensor("sampler_state", inputs[1]);
            d.tensor("tokens", outputs[0]).tensor("history", outputs[1])
        }
        Op::DraftDrop => Dispatch::new(&shaders::DRAFT_DROP, fixed(1, 1)),
        Op::DraftBegin => {
            let d = Dispatch::new(&shaders::DRAFT_BEGIN, fixed(1, 1)).tensor("result", inputs[0]);
            d.tensor("main_step", inputs[1]).tensor("tokens", outputs[0])
        }
        Op::DraftPick { n_drafts } => {
            let d = Dispatch::new(&shaders::DRAFT_PICK, fixed(1, 1)).constant("DRAFTS", n_drafts);
            let d = d.tensor("best", inputs[0]).tensor("sampler_state", inputs[1]).tensor("drafts", outputs[0]);
            d.tensor("tokens", outputs[1]).tensor("main_step", outputs[2])
        }
        _ => unreachable!("the caller looked"),
    }
}

fn one(dispatch: Dispatch) -> Selected {
    Selected { dispatches: vec![dispatch], temps: Vec::new() }
}

fn planes(dispatch: Dispatch, weight: u32, part: usize) -> Dispatch {
    let plane = |scales| Bind::Plane { weight, part, scales };
    dispatch.bind("quants", plane(false)).bind("scales", plane(true))
}

fn embed(inputs: &[Tensor], out: Tensor, t_max: u32, (id, shape): (u32, &WeightShape)) -> Selected {
    let k = kernel(&format!("embed_{}", quant_name(shape.dtype)));
    let [_, d] = out.dims2();
    let parts = shape.parts.iter().enumerate().map(|(part, &(row0, n))| {
        let dispatch = Dispatch::new(k, fixed(t_max, 1)).constant("D", d).constant("ROW0", row0).constant("N", n);
        planes(dispatch, id, part).tensor("tokens", inputs[0]).tensor("y", out)
    });
    Selected { dispatches: parts.collect(), temps: Vec::new() }
}
