//! Attention to latents in long chunks: keys and values are made of one run of cached tokens after the other.

use super::matmul::{Product, product};
use super::{Bind, Dispatch, Selected, WeightShape, fixed, kernel, planes, quant_name};
use crate::device::DeviceCaps;
use aloud_ops::{Command, Elem, Mla, Tensor};
use aloud_shaders as shaders;

/// Cached tokens whose keys and values are held at once, if a binding holds them: a multiple of the attention's tile.
const CHUNK: u32 = 512;
/// Query rows of one workgroup of attention.
const ROWS: u32 = 16;
// Memory that lives during the op.
const AT: Bind = Bind::Temp(0);
const LATENT: Bind = Bind::Temp(1);
const K_ROPE: Bind = Bind::Temp(2);
const KV: Bind = Bind::Temp(3);
const ML: Bind = Bind::Temp(4);

/// Begin with the first chunk; then for every chunk: gather its latents, expand them, attend, move on.
pub fn mla_expanded<'a>(
    command: &Command,
    t_max: u32,
    caps: DeviceCaps,
    mla: Mla,
    weight: impl Fn(Tensor) -> (u32, &'a WeightShape),
) -> Selected {
    let Mla { num_attention_heads: h, kv_lora_rank: r, qk_rope_head_dim: p, .. } = mla;
    let width = h * (mla.qk_nope_head_dim + mla.v_head_dim);
    let chunk = chunk_tokens(u64::from(width) * 4, caps.max_binding_bytes);
    let move_on = |first: u32| {
        let d = Dispatch::new(&shaders::MLA_CHUNK, fixed(1, 1)).constant("CHUNK", chunk).constant("FIRST", first);
        d.bind("chunk", AT)
    };
    let mut dispatches = vec![gather(command, mla, chunk)];
    dispatches.extend(expand(command, mla, chunk, caps, weight));
    dispatches.push(attend(command, mla, t_max, caps));
    dispatches.push(move_on(0));
    let repeated = dispatches.into_iter().map(|dispatch| dispatch.per_keys(chunk));
    let bytes = |rows: u32, width: u32| u64::from(rows) * u64::from(width) * 4;
    Selected {
        dispatches: [move_on(1)].into_iter().chain(repeated).collect(),
        temps: vec![16, bytes(chunk, r), bytes(chunk, p), bytes(chunk, width), bytes(t_max, 2 * h)],
    }
}

/// The largest half, quarter and so on of [`CHUNK`] whose rows one binding holds.
fn chunk_tokens(row_bytes: u64, max_binding_bytes: u64) -> u32 {
    let mut chunk = CHUNK;
    while chunk > 32 && u64::from(chunk) * row_bytes > max_binding_bytes {
        chunk /= 2;
    }
    chunk
}

fn gather(command: &Command, mla: Mla, chunk: u32) -> Dispatch {
    let cache = command.inputs[1];
    let k = if cache.elem == Elem::F16 { &shaders::MLA_GATHER_F16 } else { &shaders::MLA_GATHER_F32 };
    let d = Dispatch::new(k, fixed(chunk, 1)).constant("R", mla.kv_lora_rank).constant("P", mla.qk_rope_head_dim);
    let d = d.constant("BLOCK", mla.block_tokens).tensor("cache", cache).tensor("block_table", command.inputs[2]);
    d.bind("latent", LATENT).bind("k_rope", K_ROPE).bind("step", AT)
}

/// Keys and values of a chunk: of each head `[N | Vh]` if one weight makes both, else all keys, then all values.
fn expand<'a>(
    command: &Command,
    mla: Mla,
    chunk: u32,
    caps: DeviceCaps,
    weight: impl Fn(Tensor) -> (u32, &'a WeightShape),
) -> Vec<Dispatch> {
    let Mla { num_attention_heads: h, qk_nope_head_dim: n, v_head_dim: v, kv_lora_rank: k, .. } = mla;
    let rows = |column0| Product { column0, ..Product::of(LATENT, KV, [chunk, k, h * (n + v)]) };
    let dispatches = match command.inputs[4..] {
        [keys, values] => {
            let mut all = transposed(mla, chunk, caps, weight(keys));
            all.extend(product(&rows(h * n), caps, weight(values)));
            all
        }
        _ => product(&rows(0), caps, weight(command.inputs[4])),
    };
    dispatches.into_iter().map(|dispatch| dispatch.bind("step", AT)).collect()
}

/// The product with the transposed keys, `[H, R, N]`: parts hold whole heads.
fn transposed(mla: Mla, chunk: u32, caps: DeviceCaps, (id, shape): (u32, &WeightShape)) -> Vec<Dispatch> {
    let Mla { num_attention_heads: h, qk_nope_head_dim: n, v_head_dim: v, kv_lora_rank: r, .. } = mla;
    let quant = quant_name(shape.dtype);
    let parts = shape.parts.iter().enumerate().map(|(part, &(row0, rows))| {
        let (head0, groups) = (row0 / r, rows / r * (n / 32));
        let d = if caps.subgroup_size.is_some_and(|size| size >= 8) {
            Dispatch::new(kernel(&format!("matmul_t_{quant}_sg")), fixed(groups, chunk.div_ceil(128)))
        } else {
            let grid = fixed(groups.div_ceil(2), chunk.div_ceil(32));
            Dispatch::new(kernel(&format!("matmul_t_{quant}")), grid).constant("GROUPS", groups)
        };
        let d = d.constant("K", r).constant("N", n).constant("COLUMN0", head0 * n).constant("N_OUT", h * (n + v));
        planes(d, id, part).bind("x", LATENT).bind("y", KV)
    });
    parts.collect()
}

fn attend(command: &Command, mla: Mla, t_max: u32, caps: DeviceCaps) -> Dispatch {
    let Mla { num_attention_heads: h, qk_nope_head_dim: n, qk_rope_head_dim: p, v_head_dim: v, .. } = mla;
    let (q, table, joint) = (command.inputs[0], command.inputs[3], command.inputs.len() == 5);
    let (k_head, v_head, v0) = if joint { (n + v, n + v, n) } else { (n, v, h * n) };
    let k = if caps.subgroup_size.is_some_and(|size| size >= 8) {
        &shaders::MLA_EXPANDED_ATTENTION_SG
    } else {
        &shaders::MLA_EXPANDED_ATTENTION
    };
    let d = Dispatch::new(k, fixed(t_max.div_ceil(ROWS), h)).constant("H", h).constant("N", n).constant("P", p);
    let d = d.constant("VH", v).constant("Q_WIDTH", q.cols()).constant("SCALE", mla.scale);
    let d = d.constant("K_HEAD", k_head).constant("V_HEAD", v_head).constant("V0", v0);
    let d = d.tensor("q", q).tensor("table", table).tensor("o", command.outputs[0]);
    d.bind("kv", KV).bind("k_rope", K_ROPE).bind("ml", ML).bind("chunk", AT)
}

#[cfg(test)]
mod tests {
    use super::chunk_tokens;

    #[test]
    fn chunks_fit_a_binding() {
        // DeepSeek-R1: 128 heads of 128 + 128 values.
        assert_eq!(chunk_tokens(128 * 256 * 4, 128 << 20), 512);
        assert_eq!(chunk_tokens(128 * 256 * 4, 32 << 20), 256);
        assert_eq!(chunk_tokens(1024, 1024), 32);
    }
}
