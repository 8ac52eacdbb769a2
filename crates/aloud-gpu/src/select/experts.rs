//! Kernels of the experts: a few rows look each slot's expert up, many go through tiles of slots of one expert.

use super::{Bind, Dim, Dispatch, Selected, WeightShape, fixed, kernel, matvec_threads, planes, suffix, weight_name};
use crate::device::DeviceCaps;
use crate::tile::Tile;
use aloud_ops::{Command, ExpertCount, SlotOrder, Tensor};
use aloud_shaders as shaders;

/// A stack of matrices as it lies on the device.
struct Stack<'a> {
    id: u32,
    shape: &'a WeightShape,
    rows: u32,
    cols: u32,
    /// What the names of its kernels hold.
    name: String,
}

impl<'a> Stack<'a> {
    fn new(tensor: Tensor, (id, shape): (u32, &'a WeightShape), caps: DeviceCaps) -> Self {
        let [_, rows, cols] = tensor.shape() else { unreachable!("the builder checked that experts are a stack") };
        Stack { id, shape, rows: *rows, cols: *cols, name: weight_name(shape.dtype, caps.int8) }
    }

    /// A kernel for each part, told which experts the part holds.
    fn dispatches(&self, kernel_of: impl Fn(&str) -> Dispatch) -> Vec<Dispatch> {
        let parts = self.shape.parts.iter().enumerate().map(|(part, &(row0, n))| {
            assert!(row0.is_multiple_of(self.rows) && n.is_multiple_of(self.rows), "a matrix of a stack was cut");
            let dispatch = kernel_of(&self.name).constant("K", self.cols).constant("N", self.rows);
            let dispatch = dispatch.constant("E0", row0 / self.rows).constant("N_E", n / self.rows);
            planes(dispatch, self.id, part)
        });
        parts.collect()
    }
}

/// How slots are grouped by expert, where that is done.
fn order(rows: u32, slots: u32, count: ExpertCount, caps: DeviceCaps) -> Option<SlotOrder> {
    SlotOrder::new(rows, slots, count.n_experts + count.n_shared).filter(|_| !caps.row_by_row())
}

pub fn gate_up(
    command: &Command,
    caps: DeviceCaps,
    count: ExpertCount,
    gate: (u32, &WeightShape),
    up: (u32, &WeightShape),
) -> Selected {
    let (inputs, act) = (&command.inputs, command.outputs[0]);
    let ([rows, slots], up_id) = (inputs[3].dims2(), up.0);
    let (gate, up) = (Stack::new(inputs[1], gate, caps), Stack::new(inputs[2], up, caps));
    assert_eq!(gate.shape.parts, up.shape.parts, "stacks of one shape are cut alike");
    if let Some(order) = order(rows, slots, count, caps) {
        let places = Places { order, at: inputs[4], x: Bind::Tensor(inputs[0]), slots_per_x: slots };
        let mut dispatches = grouped(&gate, &places, 0, caps);
        dispatches.extend(grouped(&up, &places, 1, caps));
        let width = act.cols();
        let swiglu = Dispatch::new(&shaders::SWIGLU, fixed(width.div_ceil(64), rows)).constant("F", width);
        let swiglu = swiglu.bind("gate", Bind::Temp(0)).bind("up", Bind::Temp(1)).tensor("y", act);
        dispatches.push(swiglu);
        return Selected { dispatches, temps: vec![act.n_bytes(); 2] };
    }
    let grid = [gate.rows.div_ceil(4), slots, rows].map(Dim::Fixed);
    let mut dispatches = gate.dispatches(|quant| {
        let dispatch = Dispatch::new(kernel(&format!("experts_gate_up_{quant}{}", suffix(caps))), grid);
        let dispatch = dispatch.constant("S", slots).constant("WG", matvec_threads(caps, gate.shape.dtype, gate.cols));
        dispatch.tensor("h", inputs[0]).tensor("ids", inputs[3]).tensor("act", act)
    });
    for (part, dispatch) in dispatches.iter_mut().enumerate() {
        let plane = |scales| Bind::Plane { weight: up_id, part, scales };
        dispatch.binds.extend([("second_quants", plane(false)), ("second_scales", plane(true))]);
    }
    Selected { dispatches, temps: Vec::new() }
}

pub fn down(command: &Command, caps: DeviceCaps, count: ExpertCount, down: (u32, &WeightShape)) -> Selected {
    let &[act, stack, ids, weights, order_at, into] = &command.inputs[..] else { unreachable!("the builder gave six") };
    let [rows, slots] = ids.dims2();
    let stack = Stack::new(stack, down, caps);
    if let Some(order) = order(rows, slots, count, caps) {
        let places = Places { order, at: order_at, x: Bind::Tensor(act), slots_per_x: 1 };
        let mut dispatches = grouped(&stack, &places, 0, caps);
        let combine = Dispatch::new(&shaders::EXPERTS_COMBINE, fixed(stack.rows.div_ceil(64), rows));
        let combine = combine.constant("D", stack.rows).constant("S", slots).bind("y", Bind::Temp(0));
        dispatches.push(combine.tensor("weights", weights).tensor("into", into));
        return Selected { dispatches, temps: vec![u64::from(order.n_slots) * u64::from(stack.rows) * 4] };
    }
    let dispatches = stack.dispatches(|quant| {
        let kernel = kernel(&format!("experts_down_{quant}{}", suffix(caps)));
        let dispatch = Dispatch::new(kernel, fixed(stack.rows.div_ceil(8), rows)).constant("S", slots);
        let dispatch = dispatch.constant("WG", matvec_threads(caps, stack.shape.dtype, slots * stack.cols));
        dispatch.tensor("act", act).tensor("ids", ids).tensor("weights", weights).tensor("into", into)
    });
    Selected { dispatches, temps: Vec::new() }
}

/// Sorted slots, and where their rows of x are.
struct Places {
    order: SlotOrder,
    at: Tensor,
    x: Bind,
    slots_per_x: u32,
}

/// Every slot's row of x times its expert's matrix, to the temp `to`.
fn grouped(stack: &Stack<'_>, places: &Places, to: usize, caps: DeviceCaps) -> Vec<Dispatch> {
    let tiles = places.order.max_tiles;
    stack.dispatches(|quant| {
        let (suffix, by, parts) = match caps.tiles.exact(stack.shape.dtype) {
            _ if quant.ends_with("_i8") => ("", 128, 1),
            // Four workgroups a tile, of 8 slots each.
            Tile::Subgroups => ("_sg", 128, 4),
            _ => ("", 64, 1),
        };
        let grid = fixed(stack.rows.div_ceil(by), parts * tiles);
        let dispatch = Dispatch::new(kernel(&format!("grouped_matmul_{quant}{suffix}")), grid);
        let dispatch = dispatch.constant("PER_X", places.slots_per_x).constant("M", tiles);
        dispatch.bind("x", places.x).bind("y", Bind::Temp(to)).tensor("order", places.at)
    })
}
