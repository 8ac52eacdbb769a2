//! Kernels that multiply rows with weights.

use super::{Bind, Dispatch, Selected, WeightShape, fixed, kernel, planes, quant_name};
use crate::device::DeviceCaps;
use aloud_ops::{Command, Op, Tensor};
use aloud_shaders as shaders;

pub fn matmul(command: &Command, caps: DeviceCaps, weight: (u32, &WeightShape)) -> Selected {
    let (inputs, out, add) = (&command.inputs, command.outputs[0], command.op == Op::MatmulAdd);
    let place = Product { add, ..Product::new(inputs[0], out) };
    let bias = inputs.get(2).copied().filter(|_| !add);
    Selected { dispatches: with_bias(product(&place, caps, weight), out, bias), temps: Vec::new() }
}

/// Rows times weights whose products lie side by side, with a norm before them or without.
pub fn stacked<'a>(command: &Command, caps: DeviceCaps, weight: impl Fn(Tensor) -> (u32, &'a WeightShape)) -> Selected {
    let (inputs, out) = (&command.inputs, command.outputs[0]);
    let (weights, vectors): (Vec<Tensor>, Vec<Tensor>) = inputs[1..].iter().partition(|input| input.is_weight());
    let (norm, bias) = match command.op {
        Op::NormMatmul { eps } => (Some((vectors[0], eps)), vectors.get(1).copied()),
        _ => (None, vectors.first().copied()),
    };
    let mut place = Product { norm, ..Product::new(inputs[0], out) };
    let mut dispatches = Vec::new();
    for &weight_at in &weights {
        dispatches.extend(product(&place, caps, weight(weight_at)));
        place.column0 += weight_at.dims2()[0];
    }
    Selected { dispatches: with_bias(dispatches, out, bias), temps: Vec::new() }
}

/// The bias is added by the kernels that multiply, if they can, or by one of its own.
fn with_bias(mut dispatches: Vec<Dispatch>, out: Tensor, bias: Option<Tensor>) -> Vec<Dispatch> {
    let Some(bias) = bias else { return dispatches };
    let [rows, n] = out.dims2();
    if dispatches.iter().all(|d| d.kernel.overrides.contains(&"BIAS")) {
        return dispatches.into_iter().map(|d| d.constant("BIAS", 1).rebind("bias", Bind::Tensor(bias))).collect();
    }
    let dispatch = Dispatch::new(&shaders::ADD_BIAS, fixed(n.div_ceil(64), rows)).constant("N", n);
    dispatches.push(dispatch.tensor("bias", bias).tensor("y", out));
    dispatches
}

/// `x: [rows, k]` times a weight `[N, k]`, into columns `[column0, column0 + N)` of `y: [rows, n_out]`.
pub struct Product {
    pub x: Bind,
    pub y: Bind,
    pub rows: u32,
    pub k: u32,
    pub n_out: u32,
    pub column0: u32,
    pub add: bool,
    /// Of few rows only.
    pub norm: Option<(Tensor, f32)>,
}

impl Product {
    fn new(x: Tensor, y: Tensor) -> Self {
        let ([rows, n_out], [_, k]) = (y.dims2(), x.dims2());
        let (x, y) = (Bind::Tensor(x), Bind::Tensor(y));
        Product { x, y, rows, k, n_out, column0: 0, add: false, norm: None }
    }
}

/// How many rows are multiplied one by one at most; from more of them, weights are dequantised once into workgroup memory.
pub fn rows_one_by_one(caps: DeviceCaps) -> u32 {
    if caps.row_by_row() { u32::MAX } else { 1 }
}

/// One dispatch for each part of the weight.
pub fn product(place: &Product, caps: DeviceCaps, (id, shape): (u32, &WeightShape)) -> Vec<Dispatch> {
    let &Product { x, y, rows, k, n_out, column0, add, norm } = place;
    let quant = quant_name(shape.dtype);
    let parts = shape.parts.iter().enumerate().map(|(part, &(row0, n))| {
        let dispatch = match caps.subgroup_size {
            _ if rows <= rows_one_by_one(caps) => matvec(&quant, n, place, caps),
            Some(8..) => Dispatch::new(kernel(&format!("matmul_{quant}_sg")), fixed(n.div_ceil(128), rows.div_ceil(8))),
            _ => Dispatch::new(kernel(&format!("matmul_{quant}")), fixed(n.div_ceil(64), rows.div_ceil(32))),
        };
        let takes_norm = dispatch.kernel.overrides.contains(&"NORM");
        assert!(norm.is_none() || takes_norm, "only few rows are normalised where they are multiplied");
        let dispatch =
            dispatch.constant("K", k).constant("N", n).constant("ROW0", column0 + row0).constant("N_OUT", n_out);
        let dispatch = dispatch.constant("ADD", u32::from(add));
        planes(dispatch, id, part).bind("x", x).bind("y", y)
    });
    parts.collect()
}

/// The kernel of few rows, told about the norm before it; what it has no use for is bound to x.
fn matvec(quant: &str, n: u32, &Product { x, rows, k, norm, .. }: &Product, caps: DeviceCaps) -> Dispatch {
    let suffix = if caps.subgroup_size.is_some() { "_sg" } else { "" };
    let dispatch = Dispatch::new(kernel(&format!("matvec_{quant}{suffix}")), fixed(n.div_ceil(8), rows));
    let dispatch = dispatch.constant("WG", matvec_threads(caps.subgroup_size, k));
    normed(dispatch, x, norm).bind("bias", x)
}

/// Binds the norm before a product, or x where there is none.
pub fn normed(dispatch: Dispatch, x: Bind, norm: Option<(Tensor, f32)>) -> Dispatch {
    match norm {
        Some((norm, eps)) => dispatch.constant("NORM", 1).constant("EPS", eps).tensor("norm", norm),
        None => dispatch.bind("norm", x),
    }
}

pub fn gate_up(
    command: &Command,
    caps: DeviceCaps,
    eps: Option<f32>,
    (id, shape): (u32, &WeightShape),
    up: (u32, &WeightShape),
) -> Selected {
    let (x, act) = (command.inputs[0], command.outputs[0]);
    let ([rows, n_out], k) = (act.dims2(), x.cols());
    assert_eq!(shape.parts, up.1.parts, "weights of one shape are cut alike");
    let suffix = if caps.subgroup_size.is_some() { "_sg" } else { "" };
    let kernel = kernel(&format!("gate_up_{}{suffix}", quant_name(shape.dtype)));
    let norm = eps.map(|eps| (command.inputs[3], eps));
    let parts = shape.parts.iter().enumerate().map(|(part, &(row0, n))| {
        let dispatch = Dispatch::new(kernel, fixed(n.div_ceil(4), rows)).constant("K", k).constant("N", n);
        let dispatch = dispatch.constant("ROW0", row0).constant("N_OUT", n_out);
        let dispatch = dispatch.constant("WG", matvec_threads(caps.subgroup_size, k));
        let second = |scales| Bind::Plane { weight: up.0, part, scales };
        let dispatch = planes(dispatch, id, part).bind("second_quants", second(false));
        normed(dispatch, Bind::Tensor(x), norm).bind("second_scales", second(true)).tensor("h", x).tensor("act", act)
    });
    Selected { dispatches: parts.collect(), temps: Vec::new() }
}

/// Threads that share a row of K weights: no more than groups of 32 along K, but a whole subgroup; without subgroups, few
/// to add up.
pub fn matvec_threads(subgroup_size: Option<u32>, k: u32) -> u32 {
    let (least, most) = subgroup_size.map_or((8, 64), |size| (size, size.max(64)));
    small_subgroup(subgroup_size).unwrap_or_else(|| (k / 32).next_power_of_two().clamp(least, most))
}

/// The size of subgroups of a software adapter: one is a vector of the CPU, and more than one per workgroup only cost barriers.
pub fn small_subgroup(subgroup_size: Option<u32>) -> Option<u32> {
    subgroup_size.filter(|&size| size < 16)
}
