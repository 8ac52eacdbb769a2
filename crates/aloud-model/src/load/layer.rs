//! The tensors of one decoder layer.

use super::pieces::Piece;
use super::{Allocator, AttentionWeights, Dense, FeedForward, Layer};
use crate::config::{Experts, Latent};
use crate::error::ModelError;
use crate::names::{self, Container};
use aloud_format::DType;
use aloud_ops::{Executor, KvUp, Tensor};

type Name = (&'static str, &'static str);

impl<E: Executor> Allocator<'_, E> {
    /// Routers are computed in f32 by a kernel that knows plain formats.
    pub fn check_routers(&self) -> Result<(), ModelError> {
        let routed = (0..self.config.num_hidden_layers).filter(|&i| self.config.experts_of(i).is_some());
        for name in routed.map(|i| self.config.container.layer(i, names::ROUTER, "weight")) {
            let dtype = self.info(&name).dtype;
            if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
                let found = dtype.to_string();
                return Err(ModelError::Unsupported { field: name, found, supported: "F32, F16 and BF16 for routers" });
            }
        }
        Ok(())
    }

    pub fn layer(&mut self, i: u32) -> Result<Layer, ModelError> {
        let at = self.config.container;
        let attn_norm = self.vector(&at.layer(i, names::ATTN_NORM, "weight"))?;
        let attention = match self.config.latent {
            Some(latent) => self.latent_attention(i, &latent)?,
            None => self.grouped_attention(i)?,
        };
        let ffn_norm = self.vector(&at.layer(i, names::FFN_NORM, "weight"))?;
        let feed_forward = match self.config.experts_of(i).copied() {
            Some(experts) => self.experts(i, &experts)?,
            None => FeedForward::Dense(self.dense(i, [names::GATE, names::UP, names::DOWN])?),
        };
        Ok(Layer { attn_norm, attention, ffn_norm, feed_forward })
    }

    fn grouped_attention(&mut self, i: u32) -> Result<AttentionWeights, ModelError> {
        let at = self.config.container;
        let weight = |name| at.layer(i, name, "weight");
        let bias = |name| at.layer(i, name, "bias");
        let qkv = self.rows_of(&[names::Q, names::K, names::V].map(weight))?;
        let qkv_bias = match self.config.architecture.qkv_bias {
            true => Some(self.vectors(&[names::Q, names::K, names::V].map(bias))?),
            false => None,
        };
        let qk_norm = match self.config.architecture.qk_norm {
            true => {
                let norms = self.vectors(&[names::Q_NORM, names::K_NORM].map(weight))?;
                Some(norms.reshaped(&[2, self.config.head_dim]))
            }
            false => None,
        };
        Ok(AttentionWeights::Grouped { qkv, qkv_bias, qk_norm, o: self.matrix(&weight(names::O))? })
    }

    fn latent_attention(&mut self, i: u32, latent: &Latent) -> Result<AttentionWeights, ModelError> {
        let weight = |name| self.config.container.layer(i, name, "weight");
        let [q_a, q_a_norm, q_b] = [names::Q_A, names::Q_A_NORM, names::Q_B].map(weight);
        let [q, kv_a, kv_a_norm, o] = [names::Q, names::KV_A, names::KV_A_NORM, names::O].map(weight);
        let [kv_b, k_b, v_b] = [names::KV_B, names::K_B, names::V_B].map(weight);
        let h = self.config.num_attention_heads;
        let up = latent.qk_nope_head_dim + latent.v_head_dim;
        let first = if latent.q_lora_rank.is_some() { &q_a } else { &q };
        let a = self.rows_of(&[first.clone(), kv_a])?;
        let q = match latent.q_lora_rank {
            Some(_) => Some([self.vector(&q_a_norm)?, self.matrix(&q_b)?]),
            None => None,
        };
        let kv_b = if latent.kv_b_split {
            KvUp::Split { k: self.matrix(&k_b)?, v: self.matrix(&v_b)? }
        } else {
            KvUp::Joint(self.weight(&kv_b, &[h, up, latent.kv_lora_rank], &[self.whole(&kv_b)])?)
        };
        let kv_a_norm = self.vector(&kv_a_norm)?;
        Ok(AttentionWeights::Latent { a, q, kv_a_norm, kv_b, o: self.matrix(&o)? })
    }

    fn dense(&mut self, i: u32, parts: [Name; 3]) -> Result<Dense, ModelError> {
        let [gate, up, down] = parts.map(|name| self.config.container.layer(i, name, "weight"));
        Ok(Dense { gate: self.matrix(&gate)?, up: self.matrix(&up)?, down: self.matrix(&down)? })
    }

    /// The routed experts of a layer, one tensor or one each.
    fn routed(&self, i: u32, experts: &Experts, part: Name) -> Vec<Piece> {
        let at = self.config.container;
        match at {
            Container::Gguf => vec![self.whole(&at.layer(i, part, "weight"))],
            Container::HuggingFace => {
                (0..experts.n_routed_experts).map(|e| self.whole(&at.expert(i, e, part))).collect()
            }
        }
    }

    fn experts(&mut self, i: u32, experts: &Experts) -> Result<FeedForward, ModelError> {
        let at = self.config.container;
        let shared = [names::GATE_SHARED, names::UP_SHARED, names::DOWN_SHARED];
        let mut stacks = [names::GATE_EXPS, names::UP_EXPS, names::DOWN_EXPS].map(|part| self.routed(i, experts, part));
        let mut joined = stacks.clone();
        if experts.n_shared_experts > 0 {
            let [gate, up, down] = shared.map(|part| self.whole(&at.layer(i, part, "weight")));
            let f = u64::from(experts.moe_intermediate_size);
            let slices = (0..u64::from(experts.n_shared_experts)).map(|j| j * f..(j + 1) * f);
            joined[0].push(gate);
            joined[1].push(up);
            joined[2].extend(slices.map(|cols| Piece { cols, ..down.clone() }));
        }
        let join = joined.iter().all(|pieces| self.stackable(pieces));
        let n = experts.n_routed_experts + if join { experts.n_shared_experts } else { 0 };
        if join {
            stacks = joined;
        }
        let (d, f) = (self.config.hidden_size, experts.moe_intermediate_size);
        let mut loaded: Vec<Tensor> = Vec::new();
        for (pieces, shape) in stacks.iter().zip([[n, f, d], [n, f, d], [n, d, f]]) {
            loaded.push(self.weight(&pieces[0].name, &shape, pieces)?);
        }
        Ok(FeedForward::Experts {
            router: self.matrix(&at.layer(i, names::ROUTER, "weight"))?,
            bias: if experts.bias { Some(self.vector(&at.router_bias(i))?) } else { None },
            gate: loaded[0],
            up: loaded[1],
            down: loaded[2],
            shared: if join || experts.n_shared_experts == 0 { None } else { Some(self.dense(i, shared)?) },
        })
    }
}
