//! Kernels of grouped-query attention.

use super::{Bind, Dim, Dispatch, Selected, fixed, one};
use crate::device::DeviceCaps;
use aloud_ops::{Attention, Command, Elem, GqaProject, RopePairing, Tensor};
use aloud_shaders::{self as shaders, Kernel};

/// Keys that one workgroup of a decode step walks.
const DECODE_SPLIT: u32 = 128;
/// Query rows that one workgroup of attention holds at most.
const ATTENTION_ROWS: u32 = 8;

pub fn gqa_project(command: &Command, t_max: u32, params: &GqaProject) -> Selected {
    let (inputs, outputs) = (&command.inputs, &command.outputs);
    let k = match (outputs[1].elem == Elem::F16, inputs.len() > 3) {
        (true, true) => &shaders::GQA_PROJECT_NORM_F16,
        (true, false) => &shaders::GQA_PROJECT_F16,
        (false, true) => &shaders::GQA_PROJECT_NORM_F32,
        (false, false) => &shaders::GQA_PROJECT_F32,
    };
    let &GqaProject { n_heads, n_kv_heads, block_tokens, .. } = params;
    let d = Dispatch::new(k, fixed(n_heads + 2 * n_kv_heads, t_max)).constant("H", n_heads).constant("KV", n_kv_heads);
    one(heads(d.constant("BLOCK", block_tokens), command, params).tensor("y", outputs[0]))
}

/// What kernels that turn heads have in common.
fn heads(dispatch: Dispatch, command: &Command, params: &GqaProject) -> Dispatch {
    let (inputs, outputs) = (&command.inputs, &command.outputs);
    let interleaved = u32::from(params.pairing == RopePairing::Interleaved);
    let d = dispatch.constant("C", params.head_dim).constant("INTERLEAVED", interleaved);
    let d = d.tensor("qkv", inputs[0]).tensor("table", inputs[1]).tensor("block_table", inputs[2]);
    let d = d.tensor("k_cache", outputs[1]).tensor("v_cache", outputs[2]);
    match inputs.get(3) {
        Some(&norms) => d.constant("EPS", params.eps).tensor("norms", norms),
        None => d,
    }
}

/// The walk over the keys, and what merges its splits into `out`, over memory of so many bytes between them.
fn walk(
    kernel: &'static Kernel,
    slots: u32,
    out: Tensor,
    (t_max, spread): (u32, bool),
    a: &Attention,
) -> ([Dispatch; 2], u64) {
    // A decode step spreads the keys over workgroups; a chunk has rows enough to fill the device.
    let split = if spread { DECODE_SPLIT } else { slots.next_multiple_of(DECODE_SPLIT) };
    let partials = u64::from(slots.div_ceil(split)) * u64::from(t_max * a.n_heads);
    let rows = t_max * (a.n_heads / a.n_kv_heads);
    let rows_held = rows.min(ATTENTION_ROWS);
    let grid =
        [Dim::Fixed(rows.div_ceil(rows_held)), Dim::Fixed(a.n_kv_heads), Dim::PerKeys { keys: split, most: u32::MAX }];
    let shared = |d: Dispatch| d.constant("H", a.n_heads).constant("SPLIT", split).bind("partial", Bind::Temp(0));
    let walk = shared(Dispatch::new(kernel, grid)).constant("KV", a.n_kv_heads).constant("SCALE", a.scale);
    let walk = walk.constant("R", rows_held).constant("BLOCK", a.block_tokens);
    let merge = shared(Dispatch::new(&shaders::ATTENTION_MERGE, fixed(a.n_heads, t_max)));
    ([walk, merge.constant("C", a.head_dim).tensor("o", out)], partials * u64::from(a.head_dim + 4) * 4)
}

pub fn attention(inputs: &[Tensor], out: Tensor, t_max: u32, caps: DeviceCaps, a: Attention) -> Selected {
    let k = if inputs[1].elem == Elem::F16 { &shaders::ATTENTION_F16 } else { &shaders::ATTENTION_F32 };
    let ([walk, merge], bytes) =
        walk(k, inputs[1].shape()[0], out, (t_max, t_max == 1 || caps.tiles.are_few(t_max)), &a);
    let walk = walk.constant("C", a.head_dim).tensor("q", inputs[0]).tensor("k_cache", inputs[1]);
    let walk = walk.tensor("v_cache", inputs[2]).tensor("block_table", inputs[3]);
    Selected { dispatches: vec![walk, merge], temps: vec![bytes] }
}

pub fn project_attention(command: &Command, project: &GqaProject, a: Attention) -> Selected {
    let cache = command.outputs[1];
    let group = a.n_heads / a.n_kv_heads;
    assert!(group <= ATTENTION_ROWS, "who writes a key reads it alone: {group} query heads share one");
    let k = match (cache.elem == Elem::F16, command.inputs.len() > 3) {
        (true, true) => &shaders::PROJECT_ATTENTION_NORM_F16,
        (true, false) => &shaders::PROJECT_ATTENTION_F16,
        (false, true) => &shaders::PROJECT_ATTENTION_NORM_F32,
        (false, false) => &shaders::PROJECT_ATTENTION_F32,
    };
    let ([walk, merge], bytes) = walk(k, cache.shape()[0], command.outputs[0], (1, true), &a);
    Selected { dispatches: vec![heads(walk, command, project), merge], temps: vec![bytes] }
}
