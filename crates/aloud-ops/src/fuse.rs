//! Fusions: neighbouring ops of few rows as one, so that a step has fewer dispatches and activations stay where they are.

use crate::recording::{Command, Op, Recording};
use crate::tensor::Tensor;

/// Storage buffers that [`Op::ProjectQuery`] binds; a device need not have more than 8.
pub const PROJECT_QUERY_BINDINGS: u32 = 10;

/// The recording with ops on at most `max_rows` rows joined where one kernel does the work of several: gate, up and SwiGLU;
/// a norm and what multiplies its rows; what is between the projections of grouped-query attention and the attention of one
/// token; what latent attention caches and the queries that it absorbs, if a kernel can bind `max_bindings` storage buffers of
/// [`PROJECT_QUERY_BINDINGS`]. Scratch tensors that only these shared are gone; all others hold the same values.
#[must_use]
pub fn fuse(recording: &Recording, max_rows: u32, max_bindings: u32) -> Recording {
    let mut fused = recording.clone();
    gate_and_up(&mut fused.commands, max_rows);
    norms(&mut fused.commands, max_rows);
    if max_bindings >= PROJECT_QUERY_BINDINGS {
        latents(&mut fused.commands, max_rows);
    }
    if recording.max_tokens == 1 {
        heads(&mut fused.commands);
    }
    fused
}

/// The commands that read a tensor.
fn readers(commands: &[Command], tensor: Tensor) -> Vec<usize> {
    let reads = |command: &Command| command.inputs.iter().any(|input| input.storage == tensor.storage);
    (0..commands.len()).filter(|&i| reads(&commands[i])).collect()
}

/// The one command that writes a scratch tensor, if it is read by `reader` alone.
fn only_for(commands: &[Command], tensor: Tensor, reader: usize) -> Option<usize> {
    let writes = |command: &Command| command.outputs.iter().any(|output| output.storage == tensor.storage);
    let writers: Vec<usize> = (0..commands.len()).filter(|&i| writes(&commands[i])).collect();
    match writers[..] {
        [writer] if tensor.is_scratch() && readers(commands, tensor) == [reader] => Some(writer),
        _ => None,
    }
}

/// Whether a tensor still holds at `later` what it held at `earlier`.
fn is_kept(commands: &[Command], tensor: Tensor, earlier: usize, later: usize) -> bool {
    let between = &commands[earlier + 1..later.max(earlier + 1)];
    !between.iter().any(|command| command.outputs.iter().any(|output| output.storage == tensor.storage))
}

fn gate_and_up(commands: &mut Vec<Command>, max_rows: u32) {
    let mut gone = Vec::new();
    for at in 0..commands.len() {
        if commands[at].op != Op::Swiglu || commands[at].outputs[0].shape()[0] > max_rows {
            continue;
        }
        let [gate, up] = [0, 1].map(|i| only_for(commands, commands[at].inputs[i], at));
        let (Some(gate), Some(up)) = (gate, up) else { continue };
        let (&[x, gate_weight], &[other_x, up_weight]) = (&commands[gate].inputs[..], &commands[up].inputs[..]) else {
            continue; // a bias
        };
        let plain = commands[gate].op == Op::Matmul && commands[up].op == Op::Matmul;
        let alike = (gate_weight.elem, gate_weight.shape()) == (up_weight.elem, up_weight.shape());
        if plain && alike && x == other_x && is_kept(commands, x, gate.min(up), at) {
            let command = &mut commands[at];
            command.op = Op::GateUp { eps: None };
            command.inputs = vec![x, gate_weight, up_weight];
            command.label = command.label.replace("swiglu", "gate_up");
            gone.extend([gate, up]);
        }
    }
    remove(commands, &gone);
}

fn norms(commands: &mut Vec<Command>, max_rows: u32) {
    let mut gone = Vec::new();
    for at in 0..commands.len() {
        let Op::RmsNorm { eps } = commands[at].op else { continue };
        let (&[x, weight], h) = (&commands[at].inputs[..], commands[at].outputs[0]) else { continue };
        let readers = readers(commands, h);
        let takes = |&reader: &usize| {
            let command = &commands[reader];
            let multiplies = matches!(command.op, Op::Matmul | Op::GateUp { eps: None });
            let reads_rows = command.inputs[1..].iter().all(|input| input.storage != h.storage);
            multiplies && reads_rows && h.shape()[0] <= max_rows && is_kept(commands, x, at, reader)
        };
        // A norm of heads is none of whole rows.
        let whole = weight.n_elems() == u64::from(x.cols());
        if !h.is_scratch() || !whole || readers.is_empty() || !readers.iter().all(takes) {
            continue;
        }
        for reader in readers {
            let command = &mut commands[reader];
            command.inputs[0] = x;
            if let Op::GateUp { .. } = command.op {
                command.op = Op::GateUp { eps: Some(eps) };
                command.inputs.push(weight);
            } else {
                command.op = Op::NormMatmul { eps };
                command.inputs.insert(1, weight);
            }
        }
        gone.push(at);
    }
    remove(commands, &gone);
}

fn latents(commands: &mut Vec<Command>, max_rows: u32) {
    let mut gone = Vec::new();
    for at in 0..commands.len() {
        let Op::MlaQuery(mla) = commands[at].op else { continue };
        let project = |command: &Command| if let Op::MlaProject { eps, .. } = command.op { Some(eps) } else { None };
        let Some((before, eps)) = (0..at).rev().find_map(|i| Some((i, project(&commands[i])?))) else { continue };
        let (inputs, cache) = (commands[before].inputs.clone(), commands[before].outputs[0]);
        let a = inputs[0];
        let unread = !readers(commands, cache).iter().any(|reader| (before..at).contains(reader));
        if a.shape()[0] > max_rows || !unread || !is_kept(commands, a, before, at) {
            continue;
        }
        // The query's latent is normed where it is multiplied.
        if let (Some(&norm), Some(&latent)) = (inputs.get(4), commands[before].outputs.get(1)) {
            let Some(product) = only_for(commands, commands[at].inputs[0], at) else { continue };
            let multiplied = commands[product].op == Op::Matmul && commands[product].inputs[0] == latent;
            if !multiplied || only_for(commands, latent, product) != Some(before) {
                continue;
            }
            let command = &mut commands[product];
            command.op = Op::NormMatmul { eps };
            command.inputs[0] = a;
            command.inputs.insert(1, norm);
        }
        let command = &mut commands[at];
        command.op = Op::ProjectQuery { eps, mla };
        command.inputs.extend([a, inputs[1], inputs[3]]);
        command.outputs.push(cache);
        gone.push(before);
    }
    remove(commands, &gone);
}

/// Query heads that share a key, at most: so many are looked after by who writes it.
const MAX_GROUP: u32 = 8;

fn heads(commands: &mut Vec<Command>) {
    let mut gone = Vec::new();
    for at in 1..commands.len() {
        let (Op::GqaProject(project), Op::Attention(attention)) = (commands[at - 1].op, commands[at].op) else {
            continue;
        };
        let (before, outputs) = (&commands[at - 1], &commands[at].outputs);
        let sees = only_for(commands, commands[at].inputs[0], at) == Some(at - 1);
        let same = commands[at].inputs[1..3] == before.outputs[1..] && commands[at].inputs[3] == before.inputs[2];
        if sees && same && attention.n_heads / attention.n_kv_heads <= MAX_GROUP {
            let outputs = [&outputs[..], &before.outputs[1..]].concat();
            let inputs = before.inputs.clone();
            let command = &mut commands[at];
            command.op = Op::ProjectAttention(project, attention);
            (command.inputs, command.outputs) = (inputs, outputs);
            gone.push(at - 1);
        }
    }
    remove(commands, &gone);
}

fn remove(commands: &mut Vec<Command>, gone: &[usize]) {
    let mut at = 0;
    commands.retain(|_| {
        at += 1;
        !gone.contains(&(at - 1))
    });
}
