//! Kernels of a mixture of experts.

use super::matmul::{Product, product};
use super::{Dispatch, Selected, WeightShape, fixed, one};
use crate::device::DeviceCaps;
use aloud_ops::{Command, GroupScore, Route, Scoring, SlotOrder};
use aloud_shaders as shaders;

pub fn router(command: &Command, eps: f32, caps: DeviceCaps, weight: (u32, &WeightShape)) -> Selected {
    let (&[x, norm, _], &[h, logits]) = (&command.inputs[..], &command.outputs[..]) else {
        unreachable!("the builder gave three and two")
    };
    let place = Product { norm: Some((norm, eps)), normed: Some(h), ..Product::new(x, logits) };
    Selected { dispatches: product(&place, caps, weight), temps: Vec::new() }
}

pub fn route(command: &Command, params: &Route, caps: DeviceCaps) -> Selected {
    let (inputs, outputs) = (&command.inputs, &command.outputs);
    let [rows, n_experts] = inputs[0].dims2();
    let (slots, bias) = (params.slots(), inputs.get(1));
    let kernel = if bias.is_some() { &shaders::ROUTE_BIAS } else { &shaders::ROUTE };
    let flag = u32::from;
    let dispatch = Dispatch::new(kernel, fixed(rows, 1)).constant("E", n_experts).constant("S", slots);
    let dispatch = dispatch.constant("K", params.num_experts_per_tok).constant("N_GROUP", params.n_group);
    let dispatch = dispatch.constant("TOPK_GROUP", params.topk_group).constant("NORM", flag(params.normalises()));
    let dispatch = dispatch.constant("SIGMOID", flag(params.scoring == Scoring::Sigmoid));
    let dispatch = dispatch.constant("TOP_TWO", flag(params.group_score == GroupScore::TopTwoSum));
    let dispatch = dispatch.constant("SCALE", params.routed_scaling_factor);
    let dispatch = dispatch.constant("WG", n_experts.next_power_of_two().clamp(32, 256));
    let dispatch = dispatch.tensor("logits", inputs[0]).tensor("ids", outputs[0]).tensor("weights", outputs[1]);
    let mut selected = one(bias.iter().fold(dispatch, |d, &&bias| d.tensor("bias", bias)));
    let n_experts = n_experts + params.n_shared;
    // Where experts are multiplied row by row, only who keeps the order wants it.
    let wanted = !caps.row_by_row() || !outputs[2].is_scratch();
    if let Some(order) = SlotOrder::new(rows, slots, n_experts).filter(|_| wanted) {
        let sort = Dispatch::new(&shaders::ROUTE_SORT, fixed(1, 1)).constant("E", n_experts).constant("S", slots);
        let sort = sort.constant("M", order.max_tiles).tensor("ids", outputs[0]).tensor("order", outputs[2]);
        selected.dispatches.push(sort);
    }
    selected
}
