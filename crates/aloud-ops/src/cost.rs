//! What a recording costs, counted without running it.

use crate::ops::{Attention, ExpertCount, GqaProject, Mla};
use crate::recording::{Command, Op, Recording};
use crate::tensor::{Elem, Tensor};

/// Bytes and FLOPs of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of weights read, each counted once.
    pub weight_bytes: u64,
    /// Bytes of the KV cache read and written.
    pub kv_bytes: u64,
    /// Bytes of activations read and written.
    pub activation_bytes: u64,
    /// Floating-point operations; a multiply-add counts two.
    pub flops: u64,
}

impl Recording {
    /// The cost of running with `n_tokens` rows and `n_kv` cached positions after the step.
    #[must_use]
    pub fn cost(&self, n_tokens: u32, n_kv: u32) -> Cost {
        self.commands.iter().fold(Cost::default(), |sum, command| {
            let cost = command.cost(self.max_tokens, n_tokens, n_kv);
            Cost {
                weight_bytes: sum.weight_bytes + cost.weight_bytes,
                kv_bytes: sum.kv_bytes + cost.kv_bytes,
                activation_bytes: sum.activation_bytes + cost.activation_bytes,
                flops: sum.flops + cost.flops,
            }
        })
    }
}

impl Command {
    fn cost(&self, max_tokens: u32, n_tokens: u32, n_kv: u32) -> Cost {
        let rows = |t: &crate::Tensor| {
            let per_run = t.n_bytes();
            if t.shape()[0] == max_tokens { per_run / u64::from(max_tokens) * u64::from(n_tokens) } else { per_run }
        };
        let mut cost = Cost {
            activation_bytes: self.inputs.iter().chain(&self.outputs).filter(|t| t.is_scratch()).map(rows).sum(),
            ..Cost::default()
        };
        let t = u64::from(n_tokens);
        match self.op {
            Op::Matmul | Op::MatmulAdd | Op::NormMatmul { .. } | Op::GateUp { .. } => {
                let rows = u64::from(self.inputs[0].shape()[0].min(n_tokens.max(1)));
                for weight in self.inputs.iter().filter(|input| input.is_weight()) {
                    cost.weight_bytes += weight.n_bytes();
                    cost.flops += 2 * rows * weight.n_elems();
                }
            }
            Op::Router { .. } => {
                cost.weight_bytes = self.inputs[2].n_bytes();
                cost.flops = t * (2 * self.inputs[2].n_elems() + 4 * u64::from(self.inputs[0].cols()));
            }
            Op::ExpertsGateUp(count) => self.experts(count, &self.inputs[1..3], n_tokens, &mut cost),
            Op::ExpertsDown(count) => self.experts(count, &self.inputs[1..2], n_tokens, &mut cost),
            Op::Embed => {
                let [v, d] = self.inputs[1].dims2();
                cost.weight_bytes = self.inputs[1].n_bytes() / u64::from(v) * t;
                cost.flops = t * u64::from(d);
            }
            Op::GqaProject(params) => grouped(&mut cost, self.outputs[1], t, turned(params, t)),
            Op::Attention(a) => grouped(&mut cost, self.inputs[1], u64::from(n_kv), attended(a, n_tokens, n_kv)),
            Op::ProjectAttention(params, a) => {
                let flops = turned(params, t) + attended(a, n_tokens, n_kv);
                grouped(&mut cost, self.outputs[1], t + u64::from(n_kv), flops);
            }
            Op::MlaProject { .. } => latent_row(&mut cost, self.outputs[0], t, self.inputs[0].cols()),
            Op::MlaQuery(mla) => absorbed(&mut cost, self.inputs[1], t, mla),
            Op::ProjectQuery { mla, .. } => {
                latent_row(&mut cost, self.outputs[1], t, mla.latent_dim());
                absorbed(&mut cost, self.inputs[1], t, mla);
            }
            Op::MlaAttention(mla) => {
                let (h, r) = (u64::from(mla.num_attention_heads), u64::from(mla.kv_lora_rank));
                let (width, values) = (u64::from(mla.latent_dim()), h * u64::from(mla.v_head_dim) * r);
                cost.kv_bytes = self.inputs[1].elem.bytes(width) * u64::from(n_kv);
                cost.weight_bytes = self.inputs[3].elem.bytes(values);
                cost.flops = 2 * h * (width + r) * seen(n_tokens, n_kv) + 2 * t * values;
            }
            Op::MlaExpanded(mla) => {
                cost.kv_bytes = self.inputs[1].elem.bytes(u64::from(mla.latent_dim())) * u64::from(n_kv);
                cost.weight_bytes = self.inputs[4..].iter().map(crate::Tensor::n_bytes).sum();
                let expansion: u64 = self.inputs[4..].iter().map(crate::Tensor::n_elems).sum();
                let pair = u64::from(mla.num_attention_heads * (mla.qk_head_dim() + mla.v_head_dim));
                cost.flops = 2 * (u64::from(n_kv) * expansion + pair * seen(n_tokens, n_kv));
            }
            _ => {
                let widest = self.inputs.iter().filter(|i| i.elem == Elem::F32).map(rows).max().unwrap_or(0);
                cost.flops = widest / 4 * 4;
            }
        }
        cost
    }

    /// Bytes of the matrices that are chosen if all choices differ; FLOPs of every slot.
    fn experts(&self, count: ExpertCount, stacks: &[Tensor], n_tokens: u32, cost: &mut Cost) {
        for stack in stacks {
            let n = u64::from(stack.shape()[0]);
            cost.weight_bytes += stack.n_bytes() / n * u64::from(count.read_by(n_tokens));
            cost.flops += 2 * u64::from(n_tokens * count.slots()) * (stack.n_elems() / n);
        }
    }
}

/// FLOPs, and rows of keys and of values of a cache.
fn grouped(cost: &mut Cost, cache: Tensor, rows: u64, flops: u64) {
    let [_, width] = cache.dims2();
    cost.kv_bytes = 2 * cache.elem.bytes(u64::from(width)) * rows;
    cost.flops = flops;
}

/// A row of the cache of latents, out of a projection of so many values.
fn latent_row(cost: &mut Cost, cache: Tensor, n_tokens: u64, values: u32) {
    let [_, width] = cache.dims2();
    cost.kv_bytes += cache.elem.bytes(u64::from(width)) * n_tokens;
    cost.flops += 4 * n_tokens * u64::from(values);
}

/// Queries times the keys' part of the weights.
fn absorbed(cost: &mut Cost, kv_up: Tensor, n_tokens: u64, mla: Mla) {
    let keys = u64::from(mla.num_attention_heads * mla.qk_nope_head_dim) * u64::from(mla.kv_lora_rank);
    cost.weight_bytes += kv_up.elem.bytes(keys);
    cost.flops += 2 * n_tokens * keys + 3 * n_tokens * u64::from(mla.num_attention_heads * mla.qk_rope_head_dim);
}

fn turned(params: GqaProject, n_tokens: u64) -> u64 {
    3 * n_tokens * u64::from((params.n_heads + params.n_kv_heads) * params.head_dim)
}

fn attended(params: Attention, n_tokens: u32, n_kv: u32) -> u64 {
    4 * u64::from(params.n_heads * params.head_dim) * seen(n_tokens, n_kv)
}

/// Pairs of a row and a position that it sees: row t sees the positions before the step and t + 1 of its own.
fn seen(n_tokens: u32, n_kv: u32) -> u64 {
    let (t, before) = (u64::from(n_tokens), u64::from(n_kv.saturating_sub(n_tokens)));
    t * before + t * (t + 1) / 2
}
