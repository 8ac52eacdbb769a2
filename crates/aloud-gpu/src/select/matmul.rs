//! Kernels that multiply rows with weights.

use super::{Bind, Dispatch, Selected, WeightShape, fixed, kernel, planes, quant_name, suffix};
use crate::device::DeviceCaps;
use aloud_ops::{Command, Op, Tensor};
use aloud_shaders as shaders;

pub fn matmul_add(command: &Command, caps: DeviceCaps, weight: (u32, &WeightShape)) -> Selected {
    let place = Product { add: true, ..Product::new(command.inputs[0], command.outputs[0]) };
    Selected { dispatches: product(&place, caps, weight), temps: Vec::new() }
}

/// Rows times weights whose products lie side by side, with a norm before them or without.
pub fn matmul<'a>(command: &Command, caps: DeviceCaps, weight: impl Fn(Tensor) -> (u32, &'a WeightShape)) -> Selected {
    let (inputs, out) = (&command.inputs, command.outputs[0]);
    let (weights, vectors): (Vec<Tensor>, Vec<Tensor>) = inputs[1..].iter().partition(|input| input.is_weight());
    let (norm, bias) = match command.op {
        Op::NormMatmul { eps } => (Some((vectors[0], eps)), vectors.get(1).copied()),
        _ => (None, vectors.first().copied()),
    };
    let mut place = Product { norm, bias, ..Product::new(inputs[0], out) };
    let mut dispatches = Vec::new();
    for &weight_at in &weights {
        dispatches.extend(product(&place, caps, weight(weight_at)));
        place.column0 += weight_at.dims2()[0];
    }
    if let Some(bias) = bias.filter(|_| !place.is_by_rows(caps)) {
        let [rows, n] = out.dims2();
        let dispatch = Dispatch::new(&shaders::ADD_BIAS, fixed(n.div_ceil(64), rows)).constant("N", n);
        dispatches.push(dispatch.tensor("bias", bias).tensor("y", out));
    }
    Selected { dispatches, temps: Vec::new() }
}

/// `x: [rows, k]` times a weight `[N, k]`, into columns `[column0, column0 + N)` of `y: [rows, n_out]`.
#[derive(Clone, Copy)]
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
    /// `[n_out]`. Where there are many rows, the caller adds it.
    pub bias: Option<Tensor>,
    /// Where the normed rows go: a router's, which are always multiplied one by one.
    pub normed: Option<Tensor>,
}

impl Product {
    pub fn new(x: Tensor, y: Tensor) -> Self {
        let ([rows, n_out], [_, k]) = (y.dims2(), x.dims2());
        Self::of(Bind::Tensor(x), Bind::Tensor(y), [rows, k, n_out])
    }

    /// Of `[rows, k]`, into `[rows, n_out]`.
    pub fn of(x: Bind, y: Bind, [rows, k, n_out]: [u32; 3]) -> Self {
        Product { x, y, rows, k, n_out, column0: 0, add: false, norm: None, bias: None, normed: None }
    }

    fn is_by_rows(&self, caps: DeviceCaps) -> bool {
        self.normed.is_some() || self.rows <= rows_one_by_one(caps)
    }
}

/// How many rows are multiplied one by one at most; from more of them, weights are dequantised once into workgroup memory.
pub fn rows_one_by_one(caps: DeviceCaps) -> u32 {
    if caps.row_by_row() { u32::MAX } else { 1 }
}

/// One dispatch for each part of the weight.
pub fn product(place: &Product, caps: DeviceCaps, (id, shape): (u32, &WeightShape)) -> Vec<Dispatch> {
    let &Product { x, y, rows, k, n_out, column0, add, norm, .. } = place;
    let quant = quant_name(shape.dtype);
    let parts = shape.parts.iter().enumerate().map(|(part, &(row0, n))| {
        let by_rows = place.is_by_rows(caps);
        assert!(norm.is_none() || by_rows, "only few rows are normalised where they are multiplied");
        let dispatch = match caps.subgroup_size {
            _ if by_rows => matvec(&quant, n, place, caps),
            Some(8..) => Dispatch::new(kernel(&format!("matmul_{quant}_sg")), fixed(n.div_ceil(128), rows.div_ceil(8))),
            _ => Dispatch::new(kernel(&format!("matmul_{quant}")), fixed(n.div_ceil(64), rows.div_ceil(32))),
        };
        let dispatch =
            dispatch.constant("K", k).constant("N", n).constant("ROW0", column0 + row0).constant("N_OUT", n_out);
        let dispatch = dispatch.constant("ADD", u32::from(add));
        planes(dispatch, id, part).bind("x", x).bind("y", y)
    });
    parts.collect()
}

/// The kernel of few rows, told about norm and bias; what it has no use for is bound to x.
fn matvec(quant: &str, n: u32, place: &Product, caps: DeviceCaps) -> Dispatch {
    let &Product { x, rows, k, norm, bias, normed, .. } = place;
    let name = if normed.is_some() { "router" } else { "matvec" };
    let kernel = kernel(&format!("{name}_{quant}{}", suffix(caps)));
    let dispatch = Dispatch::new(kernel, fixed(n.div_ceil(8), rows));
    let dispatch = with_norm(dispatch, x, norm).constant("WG", matvec_threads(caps.subgroup_size, k));
    let dispatch = match bias {
        Some(bias) => dispatch.constant("BIAS", 1).tensor("bias", bias),
        None => dispatch.bind("bias", x),
    };
    normed.into_iter().fold(dispatch, |dispatch, h| dispatch.tensor("h", h))
}

/// Binds the norm before a product, or x where there is none.
fn with_norm(dispatch: Dispatch, x: Bind, norm: Option<(Tensor, f32)>) -> Dispatch {
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
    let kernel = kernel(&format!("gate_up_{}{}", quant_name(shape.dtype), suffix(caps)));
    let norm = eps.map(|eps| (command.inputs[3], eps));
    let parts = shape.parts.iter().enumerate().map(|(part, &(row0, n))| {
        let dispatch = Dispatch::new(kernel, fixed(n.div_ceil(4), rows)).constant("K", k).constant("N", n);
        let dispatch = dispatch.constant("ROW0", row0).constant("N_OUT", n_out);
        let dispatch = dispatch.constant("WG", matvec_threads(caps.subgroup_size, k));
        let second = |scales| Bind::Plane { weight: up.0, part, scales };
        let dispatch = planes(dispatch, id, part).bind("second_quants", second(false));
        with_norm(dispatch, Bind::Tensor(x), norm).bind("second_scales", second(true)).tensor("h", x).tensor("act", act)
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
