//! Which kernels run an op: the one place where capabilities and shapes decide.

mod experts;
mod mla;
mod mla_expanded;
mod moe;

use crate::device::DeviceCaps;
use aloud_ops::{Attention, Command, DType, Elem, Op, Recording, RopePairing, SamplerBuffers, Tensor};
use aloud_shaders::{self as shaders, Kernel};

/// Tokens from which a weight is dequantised once into workgroup memory instead of once per token.
const MATMUL_FROM: u32 = 2;
/// Keys that one workgroup of a decode step walks.
const DECODE_SPLIT: u32 = 128;
/// Query rows that one workgroup of attention holds at most.
const ATTENTION_ROWS: u32 = 8;

/// What a binding is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// A tensor of the recording.
    Tensor(Tensor),
    /// A plane of a part of a weight.
    Plane { weight: u32, part: usize, scales: bool },
    /// Memory that lives during this op only: `Selected::temps[i]`.
    Temp(usize),
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
        Op::Matmul | Op::MatmulAdd => matmul(command, caps, weight(inputs[1])),
        Op::MatmulStacked => {
            let mut all = Selected::default();
            let mut column0 = 0;
            for &weight_at in &inputs[1..] {
                let [n, k] = weight_at.dims2();
                let (x, y) = (Bind::Tensor(inputs[0]), Bind::Tensor(out));
                let place = Product { x, y, rows, k, n_out: width, column0, add: false };
                all.dispatches.extend(product(&place, caps, weight(weight_at)));
                column0 += n;
            }
            all
        }
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
        Op::Rope(rope) => {
            let interleaved = u32::from(rope.pairing == RopePairing::Interleaved);
            let d = Dispatch::new(&shaders::ROPE, fixed((width / 2).div_ceil(64), rows));
            let d = d.constant("WIDTH", width).constant("C", rope.head_dim).constant("INTERLEAVED", interleaved);
            one(d.tensor("x", inputs[0]).tensor("table", inputs[1]).tensor("y", out))
        }
        Op::KvWrite { block_tokens } => {
            let k = if out.elem == Elem::F16 { &shaders::KV_WRITE_F16 } else { &shaders::KV_WRITE_F32 };
            let [_, width] = out.dims2();
            let d = Dispatch::new(k, fixed((width / 2).div_ceil(64), t_max));
            let d = d.constant("WIDTH", width).constant("BLOCK", block_tokens).tensor("k", inputs[0]);
            let d = d.tensor("v", inputs[1]).tensor("block_table", inputs[2]);
            one(d.tensor("k_cache", out).tensor("v_cache", outputs[1]))
        }
        Op::Attention(params) => attention(inputs, out, t_max, params),
        Op::MlaProject { eps, mla } => mla::project(command, t_max, eps, &mla),
        Op::MlaQuery(mla) => mla::query(command, caps, &mla, weight(inputs[1])),
        Op::MlaAttention(mla) => mla::attention(command, caps, &mla, weight(inputs[3])),
        Op::MlaExpanded(mla) => mla_expanded::mla_expanded(command, t_max, caps, mla, weight),
        Op::Swiglu => flat(&shaders::SWIGLU, &[("gate", inputs[0]), ("up", inputs[1]), ("y", out)], "F"),
        Op::Router { eps } => moe::router(command, eps, caps, weight(inputs[2])),
        Op::Route(params) => moe::route(command, &params),
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
            let d = Dispatch::new(&shaders::SAMPLE, fixed(1, 1)).constant("V", inputs[0].shape()[0]);
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

fn matmul(command: &Command, caps: DeviceCaps, weight: (u32, &WeightShape)) -> Selected {
    let (inputs, out, add) = (&command.inputs, command.outputs[0], command.op == Op::MatmulAdd);
    let ([rows, n_out], [_, k]) = (out.dims2(), inputs[1].dims2());
    let (x, y) = (Bind::Tensor(inputs[0]), Bind::Tensor(out));
    let mut dispatches = product(&Product { x, y, rows, k, n_out, column0: 0, add }, caps, weight);
    if let Some(&bias) = inputs.get(2).filter(|_| !add) {
        let dispatch = Dispatch::new(&shaders::ADD_BIAS, fixed(n_out.div_ceil(64), rows)).constant("N", n_out);
        dispatches.push(dispatch.tensor("bias", bias).tensor("y", out));
    }
    Selected { dispatches, temps: Vec::new() }
}

/// Rows times a weight, into columns `[column0, column0 + N)` of `y: [rows, n_out]`.
struct Product {
    x: Bind,
    y: Bind,
    rows: u32,
    k: u32,
    n_out: u32,
    column0: u32,
    add: bool,
}

/// One dispatch for each part of the weight.
fn product(product: &Product, caps: DeviceCaps, (id, shape): (u32, &WeightShape)) -> Vec<Dispatch> {
    let &Product { x, y, rows, k, n_out, column0, add } = product;
    let quant = quant_name(shape.dtype);
    let parts = shape.parts.iter().enumerate().map(|(part, &(row0, n))| {
        let dispatch = match caps.subgroup_size {
            Some(8..) if rows >= MATMUL_FROM => {
                Dispatch::new(kernel(&format!("matmul_{quant}_sg")), fixed(n.div_ceil(128), rows.div_ceil(8)))
            }
            _ if rows >= MATMUL_FROM && !caps.row_by_row() => {
                Dispatch::new(kernel(&format!("matmul_{quant}")), fixed(n.div_ceil(64), rows.div_ceil(32)))
            }
            subgroup_size => {
                let suffix = if subgroup_size.is_some() { "_sg" } else { "" };
                let kernel = kernel(&format!("matvec_{quant}{suffix}"));
                Dispatch::new(kernel, fixed(n.div_ceil(8), rows)).constant("WG", matvec_threads(subgroup_size, k))
            }
        };
        let dispatch =
            dispatch.constant("K", k).constant("N", n).constant("ROW0", column0 + row0).constant("N_OUT", n_out);
        let dispatch = dispatch.constant("ADD", u32::from(add));
        planes(dispatch, id, part).bind("x", x).bind("y", y)
    });
    parts.collect()
}

/// Threads that share a row of K weights: no more than groups of 32 along K, but a whole subgroup; without subgroups, few
/// to add up.
fn matvec_threads(subgroup_size: Option<u32>, k: u32) -> u32 {
    let (least, most) = subgroup_size.map_or((8, 64), |size| (size, size.max(64)));
    small_subgroup(subgroup_size).unwrap_or_else(|| (k / 32).next_power_of_two().clamp(least, most))
}

/// The size of subgroups of a software adapter: one is a vector of the CPU, and more than one per workgroup only cost barriers.
fn small_subgroup(subgroup_size: Option<u32>) -> Option<u32> {
    subgroup_size.filter(|&size| size < 16)
}

fn attention(inputs: &[Tensor], out: Tensor, t_max: u32, a: Attention) -> Selected {
    let slots = inputs[1].shape()[0];
    // A decode step spreads the keys over workgroups; a chunk has rows enough to fill the device.
    let split = if t_max == 1 { DECODE_SPLIT } else { slots.next_multiple_of(DECODE_SPLIT) };
    let max_splits = u64::from(slots.div_ceil(split));
    let partials = max_splits * u64::from(t_max * a.n_heads);
    let temps = vec![partials * u64::from(a.head_dim) * 4, partials * 8];
    let rows = t_max * (a.n_heads / a.n_kv_heads);
    let rows_held = rows.min(ATTENTION_ROWS);
    let grid =
        [Dim::Fixed(rows.div_ceil(rows_held)), Dim::Fixed(a.n_kv_heads), Dim::PerKeys { keys: split, most: u32::MAX }];
    let k = if inputs[1].elem == Elem::F16 { &shaders::ATTENTION_F16 } else { &shaders::ATTENTION_F32 };
    let sized = |d: Dispatch| d.constant("H", a.n_heads).constant("C", a.head_dim).constant("SPLIT", split);
    let walk =
        sized(Dispatch::new(k, grid)).constant("KV", a.n_kv_heads).constant("SCALE", a.scale).constant("R", rows_held);
    let walk = walk.constant("BLOCK", a.block_tokens).tensor("q", inputs[0]).tensor("k_cache", inputs[1]);
    let walk = walk.tensor("v_cache", inputs[2]).tensor("block_table", inputs[3]);
    let merge = sized(Dispatch::new(&shaders::ATTENTION_MERGE, fixed(a.n_heads, t_max))).tensor("o", out);
    let with_temps = |d: Dispatch| d.bind("partial", Bind::Temp(0)).bind("ml", Bind::Temp(1));
    Selected { dispatches: vec![with_temps(walk), with_temps(merge)], temps }
}
