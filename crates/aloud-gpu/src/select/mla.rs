//! Kernels of multi-head latent attention in its absorbed form.

use super::{Bind, Dim, Dispatch, Selected, WeightShape, fixed, kernel, one, planes, quant_name, small_subgroup};
use crate::device::DeviceCaps;
use aloud_ops::{Command, Elem, Mla, Op, Tensor};
use aloud_shaders as shaders;

/// Tokens of a workgroup of `mla_query` at most: so often is a weight used that it has loaded.
const QUERY_TOKENS: u32 = 4;
/// Query rows of a workgroup of `mla_attention`.
const ATTENTION_ROWS: u32 = 8;
/// Workgroups of `mla_attention` that fill any device.
const ENOUGH_WORKGROUPS: u32 = 512;
/// Splits that `mla_merge` adds up at most.
const MAX_SPLITS: u32 = 64;
/// What every device can bind.
const PORTABLE_BINDING_BYTES: u64 = 128 << 20;

pub fn project(command: &Command, t_max: u32, eps: f32, mla: &Mla) -> Selected {
    let (inputs, cache) = (&command.inputs, command.outputs[0]);
    let a = inputs[0].cols() - mla.latent_dim();
    let q_norm = inputs.get(4);
    let k = kernel(&format!("mla_project{}_{}", if q_norm.is_some() { "_q" } else { "" }, cache_name(cache)));
    let widest = mla.kv_lora_rank.max(if q_norm.is_some() { a } else { 0 });
    let d = Dispatch::new(k, fixed(1 + u32::from(q_norm.is_some()), t_max)).constant("A", a);
    let d = d.constant("R", mla.kv_lora_rank).constant("P", mla.qk_rope_head_dim).constant("EPS", eps);
    let d = d.constant("BLOCK", mla.block_tokens).constant("WG", if widest <= 256 { 32u32 } else { 128 });
    let d = d.tensor("a", inputs[0]).tensor("kv_norm", inputs[1]).tensor("table", inputs[2]);
    let mut d = d.tensor("block_table", inputs[3]).tensor("cache", cache);
    if let Some(&q_norm) = q_norm {
        d = d.tensor("q_norm", q_norm).tensor("y", command.outputs[1]);
    }
    one(d)
}

/// First head and number of heads of each part of a weight `[H, rows, columns]`.
fn heads_of_parts(weight: Tensor, shape: &WeightShape) -> impl Iterator<Item = (usize, u32, u32)> {
    let rows = weight.shape()[1];
    shape.parts.iter().enumerate().map(move |(part, &(row0, n))| (part, row0 / rows, n / rows))
}

pub fn query(command: &Command, caps: DeviceCaps, mla: &Mla, (id, shape): (u32, &WeightShape)) -> Selected {
    let (inputs, out) = (&command.inputs, command.outputs[0]);
    let (w, t_max) = (inputs[1], out.shape()[0]);
    let Mla { kv_lora_rank: r, qk_nope_head_dim: n, qk_rope_head_dim: p, .. } = *mla;
    // [H, R, N] is ready to be multiplied with; of [H, N + Vh, R] the first rows are transposed.
    let ready = w.shape()[1..] == [r, n];
    let quant = quant_name(shape.dtype);
    let turned = if ready { "" } else { "_t" };
    // A workgroup behind the last head fills the cache.
    let project = if let Op::ProjectQuery { eps, .. } = command.op { Some((eps, command.outputs[1])) } else { None };
    let k = kernel(&match project {
        Some((_, cache)) => format!("mla_project_query{turned}_{quant}_{}", cache_name(cache)),
        None => format!("mla_query{turned}_{quant}"),
    });
    let columns = if ready { r } else { r.next_multiple_of(128) };
    // A thread less is a sum less to add up.
    let wg = small_subgroup(caps.subgroup_size).filter(|_| !ready).unwrap_or(64);
    // Where all is done row by row, a step and a chunk share their pipeline.
    let tokens = if caps.row_by_row() { 1 } else { t_max.min(QUERY_TOKENS) };
    let dispatches = heads_of_parts(w, shape).map(|(part, head0, heads)| {
        let behind = u32::from(project.is_some() && head0 + heads == mla.num_attention_heads);
        let grid = fixed(columns.div_ceil(128), heads + behind);
        let mut d = Dispatch::new(k, grid).constant("H", mla.num_attention_heads);
        d.grid[2] = Dim::Fixed(t_max.div_ceil(tokens));
        let d = d.constant("R", r).constant("N", n).constant("P", p).constant("W", inputs[0].cols());
        let d = d.constant("HEAD0", head0).constant("TOKENS", tokens).constant("WG", wg);
        let d = if ready { d } else { d.constant("HEAD_ROWS", w.shape()[1]) };
        let d = planes(d, id, part).tensor("q", inputs[0]).tensor("table", inputs[2]).tensor("y", out);
        let Some((eps, cache)) = project else { return d };
        let d = d.constant("A", inputs[3].cols() - mla.latent_dim()).constant("EPS", eps);
        let d = d.constant("BLOCK", mla.block_tokens).tensor("a", inputs[3]).tensor("kv_norm", inputs[4]);
        d.tensor("block_table", inputs[5]).tensor("cache", cache)
    });
    Selected { dispatches: dispatches.collect(), temps: Vec::new() }
}

fn cache_name(cache: Tensor) -> &'static str {
    if cache.elem == Elem::F16 { "f16" } else { "f32" }
}

pub fn attention(command: &Command, caps: DeviceCaps, mla: &Mla, (id, shape): (u32, &WeightShape)) -> Selected {
    let (inputs, out) = (&command.inputs, command.outputs[0]);
    let (cache, w, t_max) = (inputs[1], inputs[3], out.shape()[0]);
    let Mla { num_attention_heads: h, kv_lora_rank: r, .. } = *mla;
    let rows = t_max * h;
    let row_bytes = u64::from(rows * r) * 4;
    let tiles = rows.div_ceil(ATTENTION_ROWS);
    let that_fit = PORTABLE_BINDING_BYTES.min(caps.max_binding_bytes) / row_bytes;
    let enough = (ENOUGH_WORKGROUPS / tiles).clamp(1, MAX_SPLITS);
    // A few keep a CPU busy, and as many for a row as for several: then they share their pipelines.
    let splits = small_subgroup(caps.subgroup_size).map_or(enough, |_| 16).min(that_fit.max(1) as u32);
    let temps = vec![u64::from(splits) * row_bytes, u64::from(splits * rows) * 8];
    let sized = |d: Dispatch| {
        let d = d.constant("H", h).constant("R", r).constant("SPLITS", splits);
        d.bind("partial", Bind::Temp(0)).bind("ml", Bind::Temp(1))
    };
    // A GPU would rather load neighbouring values by neighbouring lanes than each of them once.
    let (k, tile) = match (cache.elem == Elem::F16, matches!(caps.subgroup_size, Some(8..16))) {
        (true, true) => (&shaders::MLA_ATTENTION_F16_SG, 128u32),
        (false, true) => (&shaders::MLA_ATTENTION_F32_SG, 128),
        (true, false) => (&shaders::MLA_ATTENTION_F16, 64),
        (false, false) => (&shaders::MLA_ATTENTION_F32, 64),
    };
    let grid = [Dim::Fixed(tiles), Dim::PerKeys { keys: tile, most: splits }, Dim::Fixed(1)];
    let mut walk = sized(Dispatch::new(k, grid)).constant("P", mla.qk_rope_head_dim);
    if caps.row_by_row() && r <= 128 {
        walk = walk.constant("THREADS", 16); // shares less memory, which takes such an adapter long to compile
    }
    let walk = walk.constant("SCALE", mla.scale).constant("BLOCK", mla.block_tokens).tensor("q", inputs[0]);
    let mut dispatches = vec![walk.tensor("cache", cache).tensor("block_table", inputs[2])];
    let k = kernel(&format!("mla_merge_{}", quant_name(shape.dtype)));
    // More threads than one subgroup only wait for each other where the CPU plays the device.
    let wg = small_subgroup(caps.subgroup_size).map_or(256, |size| size.max((r / 32).next_power_of_two()));
    dispatches.extend(heads_of_parts(w, shape).map(|(part, head0, heads)| {
        let d = sized(Dispatch::new(k, fixed(heads, t_max))).constant("VH", mla.v_head_dim).constant("TILE", tile);
        let d = d.constant("HEAD0", head0).constant("HEAD_ROWS", w.shape()[1]).constant("WG", wg);
        planes(d, id, part).tensor("o", out)
    }));
    Selected { dispatches, temps }
}
