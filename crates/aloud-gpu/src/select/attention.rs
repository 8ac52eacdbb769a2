//! Kernels of grouped-query attention.

use super::{Bind, Dim, Dispatch, Selected, fixed, one};
use aloud_ops::{Attention, Command, Elem, GqaProject, RopePairing, Tensor};
use aloud_shaders as shaders;

/// Keys that one workgroup of a decode step walks.
const DECODE_SPLIT: u32 = 128;
/// Query rows that one workgroup of attention holds at most.
const ATTENTION_ROWS: u32 = 8;

pub fn gqa_project(command: &Command, t_max: u32, params: &GqaProject) -> Selected {
    let (inputs, outputs) = (&command.inputs, &command.outputs);
    let &GqaProject { n_heads, n_kv_heads, head_dim, eps, block_tokens, .. } = params;
    let norms = inputs.get(3).copied();
    let k = match (outputs[1].elem == Elem::F16, norms.is_some()) {
        (true, true) => &shaders::GQA_PROJECT_NORM_F16,
        (true, false) => &shaders::GQA_PROJECT_F16,
        (false, true) => &shaders::GQA_PROJECT_NORM_F32,
        (false, false) => &shaders::GQA_PROJECT_F32,
    };
    let interleaved = u32::from(params.pairing == RopePairing::Interleaved);
    let d = Dispatch::new(k, fixed(n_heads + 2 * n_kv_heads, t_max)).constant("H", n_heads).constant("KV", n_kv_heads);
    let d = d.constant("C", head_dim).constant("INTERLEAVED", interleaved).constant("BLOCK", block_tokens);
    let d = d.tensor("qkv", inputs[0]).tensor("table", inputs[1]).tensor("block_table", inputs[2]);
    let d = d.tensor("y", outputs[0]).tensor("k_cache", outputs[1]).tensor("v_cache", outputs[2]);
    one(match norms {
        Some(norms) => d.constant("EPS", eps).tensor("norms", norms),
        None => d,
    })
}

pub fn attention(inputs: &[Tensor], out: Tensor, t_max: u32, a: Attention) -> Selected {
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
