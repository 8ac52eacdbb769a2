//! Kernels that multiply rows with weights. Those whose names have `_i8` do so by dot products of bytes.

use super::{Bind, Dims, Dispatch, Selected, WeightShape, fixed, kernel, planes, quant_name, suffix};
use crate::device::DeviceCaps;
use crate::tile::Tile;
use crate::tuning::Width;
use aloud_ops::{Command, DType, Op, Tensor};
use aloud_shaders::{self as shaders, Kernel};

pub fn matmul_add(command: &Command, caps: DeviceCaps, weight: (u32, &WeightShape)) -> Selected {
    let place = Product { add: true, int8: caps.int8, ..Product::new(command.inputs[0], command.outputs[0]) };
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
    let [_, k] = weights[0].dims2();
    let mut place = Product { norm, bias, k, int8: caps.int8, ..Product::new(inputs[0], out) };
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

/// `x: [rows, x_width]` times a weight `[N, k]`, into columns `[column0, column0 + N)` of `y: [rows, n_out]`.
#[derive(Clone, Copy)]
pub struct Product {
    pub x: Bind,
    pub y: Bind,
    pub rows: u32,
    /// Values of a row of x, of which the first `k` count.
    pub x_width: u32,
    pub k: u32,
    pub n_out: u32,
    pub column0: u32,
    pub add: bool,
    /// Whether x may be rounded to 8 bits.
    pub int8: bool,
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
        Product {
            x,
            y,
            rows,
            x_width: k,
            k,
            n_out,
            column0: 0,
            add: false,
            int8: false,
            norm: None,
            bias: None,
            normed: None,
        }
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
    let quant = weight_name(shape.dtype, place.int8);
    let parts = shape.parts.iter().enumerate().map(|(part, &(row0, n))| {
        let by_rows = place.is_by_rows(caps);
        assert!(by_rows || place.x_width == k, "tiles read whole rows");
        assert!(norm.is_none() || by_rows, "only few rows are normalised where they are multiplied");
        let dims = Dims { k, n, row0: column0 + row0, n_out, add: u32::from(add) };
        let dispatch = if by_rows {
            matvec(&quant, shape.dtype, &dims, place, caps)
        } else {
            tile(&quant, shape.dtype, &dims, rows, caps)
        };
        planes(dispatch, id, part).bind("x", x).bind("y", y)
    });
    parts.collect()
}

/// The kernel of several rows, few or many.
fn tile(quant: &str, dtype: DType, dims: &Dims, rows: u32, caps: DeviceCaps) -> Dispatch {
    let tile = caps.tile(dtype, rows, dims.k);
    if tile == Tile::Few {
        let kernel = kernel(&format!("matvec4_{quant}{}", suffix(caps)));
        // Neighbours read the same rows of the weight.
        let dispatch = Dispatch::new(kernel, fixed(rows.div_ceil(4), dims.n.div_ceil(8)));
        return dispatch.constant("WG", matvec_threads(caps, dtype, dims.k)).bind("dims", Bind::Dims(*dims));
    }
    // Rows of the weight, and rows of x, that a workgroup multiplies.
    let (suffix, by, at_once) = match tile {
        _ if quant.ends_with("_i8") => (String::new(), 128, 64),
        Tile::Plain => (String::new(), 64, 32),
        Tile::Few => unreachable!("few rows have a kernel of their own"),
        Tile::Subgroups => ("_sg".to_owned(), 128, 8),
        Tile::Half => ("_half".to_owned(), 128, 64),
        Tile::Matrix => {
            let size = caps.tiles.matrix.unwrap_or(16);
            (format!("_coop{size}"), 8 * size, 4 * size)
        }
    };
    let grid = fixed(dims.n.div_ceil(by), rows.div_ceil(at_once));
    Dispatch::new(kernel(&format!("matmul_{quant}{suffix}")), grid).bind("dims", Bind::Dims(*dims))
}

/// What the names of a format's kernels hold: with `int8`, of those that multiply bytes if the format has them.
pub fn weight_name(dtype: DType, int8: bool) -> String {
    let quant = quant_name(dtype);
    let bytes = format!("{quant}_i8");
    if int8 && Kernel::by_name(&format!("matmul_{bytes}")).is_some() { bytes } else { quant }
}

/// The kernel of single rows, told about norm and bias; what it has no use for is bound to x.
fn matvec(quant: &str, dtype: DType, dims: &Dims, place: &Product, caps: DeviceCaps) -> Dispatch {
    let &Product { x, rows, x_width, norm, bias, normed, .. } = place;
    let &Dims { k, n, row0, n_out, add } = dims;
    let name = if normed.is_some() { "router" } else { "matvec" };
    let kernel = kernel(&format!("{name}_{quant}{}", suffix(caps)));
    let dispatch = Dispatch::new(kernel, fixed(n.div_ceil(8), rows)).constant("X", x_width);
    let dispatch = with_norm(dispatch, x, norm).constant("WG", matvec_threads(caps, dtype, k));
    let dispatch = dispatch.constant("K", k).constant("N", n).constant("ROW0", row0).constant("N_OUT", n_out);
    let dispatch = dispatch.constant("ADD", add);
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
    let kernel = kernel(&format!("gate_up_{}{}", weight_name(shape.dtype, caps.int8), suffix(caps)));
    let norm = eps.map(|eps| (command.inputs[3], eps));
    let parts = shape.parts.iter().enumerate().map(|(part, &(row0, n))| {
        let dispatch = Dispatch::new(kernel, fixed(n.div_ceil(4), rows)).constant("K", k).constant("N", n);
        let dispatch = dispatch.constant("ROW0", row0).constant("N_OUT", n_out);
        let dispatch = dispatch.constant("WG", matvec_threads(caps, shape.dtype, k));
        let second = |scales| Bind::Plane { weight: up.0, part, scales };
        let dispatch = planes(dispatch, id, part).bind("second_quants", second(false));
        with_norm(dispatch, Bind::Tensor(x), norm).bind("second_scales", second(true)).tensor("h", x).tensor("act", act)
    });
    Selected { dispatches: parts.collect(), temps: Vec::new() }
}

/// Threads that share a row of K weights: as many as were measured to be fastest. Else no more than groups of 32 along K, but a
/// whole subgroup, of which vendors have their own size; without subgroups, few to add up.
pub fn matvec_threads(caps: DeviceCaps, dtype: DType, k: u32) -> u32 {
    let measured = caps.tuning.threads(dtype, Width::of(k));
    let (least, most) = caps.subgroup_size.map_or((8, 64), |size| (size, size.max(64)));
    let of_width = || (k / 32).next_power_of_two().clamp(least, most);
    measured.or_else(|| small_subgroup(caps.subgroup_size)).unwrap_or_else(of_width)
}

/// All that [`matvec_threads`] may be. Kernels with subgroups need one to be whole.
pub fn matvec_candidates(caps: DeviceCaps) -> impl Iterator<Item = u32> {
    let least = caps.subgroup_size.unwrap_or(8);
    [4, 8, 16, 32, 64, 128].into_iter().filter(move |&threads| threads >= least)
}

/// The size of subgroups of a software adapter: one is a vector of the CPU, and more than one per workgroup only cost barriers.
pub fn small_subgroup(subgroup_size: Option<u32>) -> Option<u32> {
    subgroup_size.filter(|&size| size < 16)
}
