//! Which tensors a model has, in Hugging Face's checkpoints and in GGUF files.
//!
//! Names and shapes: the `state_dict` of transformers, `gguf-py/gguf/constants.py` and `conversion/` of llama.cpp.

use crate::{Arch, Shape};

/// How a tensor of a GGUF file follows from tensors of the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// It is the tensor.
    Same,
    /// Row `2i + s` of each head was row `s * C/2 + i`: llama.cpp's order for queries and keys of Llama.
    Permuted {
        /// Heads.
        n_heads: u64,
    },
    /// The matrices of all experts one after the other: `[E, N, K]`.
    Stacked,
    /// Rows of the keys of `kv_b_proj`, each head's matrix transposed: `[H, kv_lora_rank, qk_nope_head_dim]`.
    KeyHalf,
    /// Rows of the values of `kv_b_proj`: `[H, v_head_dim, kv_lora_rank]`.
    ValueHalf,
}

/// One tensor, or those of all experts.
#[derive(Clone, Debug)]
pub struct Part {
    /// Names in the checkpoint: one, or one of each expert.
    pub hf: Vec<String>,
    /// The shape of each in the checkpoint, outermost axis first.
    pub shape: Vec<u64>,
    /// The tensor that this one repeats.
    pub copy_of: Option<&'static str>,
    /// Names in GGUF.
    pub gguf: Vec<(String, Make)>,
}

const EMBED: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

impl Shape {
    /// All tensors; `legacy_kv_b` asks for the single `attn_kv_b` that GGUF files had before 2025.
    #[must_use]
    pub fn parts(&self, legacy_kv_b: bool) -> Vec<Part> {
        let (v, d) = (self.vocab_size, self.hidden_size);
        let global = |hf: &str, gguf: &str, shape: &[u64]| Part {
            hf: vec![hf.to_owned()],
            shape: shape.to_vec(),
            copy_of: None,
            gguf: vec![(gguf.to_owned(), Make::Same)],
        };
        let mut all =
            vec![global(EMBED, "token_embd.weight", &[v, d]), global("model.norm.weight", "output_norm.weight", &[d])];
        if !self.tie_word_embeddings {
            all.push(global(HEAD, "output.weight", &[v, d]));
        }
        for layer in 0..self.n_blocks() {
            let mut to = Layer { layer, parts: Vec::new() };
            self.norms(&mut to);
            if self.arch.is_deepseek() {
                self.mla(&mut to, legacy_kv_b)
            } else {
                self.gqa(&mut to)
            }
            if self.has_experts(layer) {
                self.experts(&mut to)
            } else {
                self.mlp(&mut to)
            }
            if layer >= self.num_hidden_layers {
                self.prediction(&mut to);
            }
            all.append(&mut to.parts);
        }
        all
    }

    /// Whether a layer has experts.
    #[must_use]
    pub fn has_experts(&self, layer: u64) -> bool {
        self.arch.is_deepseek() && layer >= self.first_k_dense_replace
    }

    /// The shape of a tensor in GGUF, outermost axis first.
    #[must_use]
    pub fn gguf_shape(&self, part: &Part, make: Make) -> Vec<u64> {
        let (heads, rank) = (self.num_attention_heads, self.kv_lora_rank);
        match make {
            Make::Same | Make::Permuted { .. } => part.shape.clone(),
            Make::Stacked => [&[part.hf.len() as u64], part.shape.as_slice()].concat(),
            Make::KeyHalf => vec![heads, rank, self.qk_nope_head_dim],
            Make::ValueHalf => vec![heads, self.v_head_dim, rank],
        }
    }

    /// The values of a tensor in GGUF, from those of the part's tensors in the checkpoint, one after the other.
    #[must_use]
    pub fn gguf_values(&self, part: &Part, make: Make, values: Vec<f32>) -> Vec<f32> {
        let (nope, v, rank) = (self.qk_nope_head_dim as usize, self.v_head_dim as usize, self.kv_lora_rank as usize);
        let heads = || values.chunks_exact((nope + v) * rank);
        match make {
            Make::Same | Make::Stacked => values,
            Make::Permuted { n_heads } => {
                permuted(&values, n_heads as usize, part.shape.get(1).map_or(1, |&k| k as usize))
            }
            Make::KeyHalf => heads()
                .flat_map(|head| (0..rank).flat_map(move |r| (0..nope).map(move |n| head[n * rank + r])))
                .collect(),
            Make::ValueHalf => heads().flat_map(|head| head[nope * rank..].to_vec()).collect(),
        }
    }

    fn norms(&self, to: &mut Layer) {
        to.push("input_layernorm.weight", "attn_norm.weight", &[self.hidden_size]);
        to.push("post_attention_layernorm.weight", "ffn_norm.weight", &[self.hidden_size]);
    }

    fn gqa(&self, to: &mut Layer) {
        let d = self.hidden_size;
        for (letter, n_heads) in
            [("q", self.num_attention_heads), ("k", self.num_key_value_heads), ("v", self.num_key_value_heads)]
        {
            let width = n_heads * self.head_dim;
            let permuted = self.arch == Arch::Llama && letter != "v";
            let make = if permuted { Make::Permuted { n_heads } } else { Make::Same };
            let (hf, gguf) = (format!("self_attn.{letter}_proj"), format!("attn_{letter}"));
            to.make(&format!("{hf}.weight"), &[(&format!("{gguf}.weight"), make)], &[width, d]);
            if self.arch == Arch::Qwen2 {
                to.push(&format!("{hf}.bias"), &format!("{gguf}.bias"), &[width]);
            }
            if self.arch == Arch::Qwen3 && letter != "v" {
                let (hf, gguf) = (format!("self_attn.{letter}_norm.weight"), format!("attn_{letter}_norm.weight"));
                to.push(&hf, &gguf, &[self.head_dim]);
            }
        }
        to.push("self_attn.o_proj.weight", "attn_output.weight", &[d, self.num_attention_heads * self.head_dim]);
    }

    fn mla(&self, to: &mut Layer, legacy_kv_b: bool) {
        let (d, heads, rank) = (self.hidden_size, self.num_attention_heads, self.kv_lora_rank);
        let (nope, rope, v) = (self.qk_nope_head_dim, self.qk_rope_head_dim, self.v_head_dim);
        let q = heads * (nope + rope);
        match self.q_lora_rank {
            0 => to.push("self_attn.q_proj.weight", "attn_q.weight", &[q, d]),
            q_rank => {
                to.push("self_attn.q_a_proj.weight", "attn_q_a.weight", &[q_rank, d]);
                to.push("self_attn.q_a_layernorm.weight", "attn_q_a_norm.weight", &[q_rank]);
                to.push("self_attn.q_b_proj.weight", "attn_q_b.weight", &[q, q_rank]);
            }
        }
        to.push("self_attn.kv_a_proj_with_mqa.weight", "attn_kv_a_mqa.weight", &[rank + rope, d]);
        to.push("self_attn.kv_a_layernorm.weight", "attn_kv_a_norm.weight", &[rank]);
        let halves: &[_] = if legacy_kv_b {
            &[("attn_kv_b.weight", Make::Same)]
        } else {
            &[("attn_k_b.weight", Make::KeyHalf), ("attn_v_b.weight", Make::ValueHalf)]
        };
        to.make("self_attn.kv_b_proj.weight", halves, &[heads * (nope + v), rank]);
        to.push("self_attn.o_proj.weight", "attn_output.weight", &[d, heads * v]);
    }

    fn mlp(&self, to: &mut Layer) {
        let (d, f) = (self.hidden_size, self.intermediate_size);
        to.push("mlp.gate_proj.weight", "ffn_gate.weight", &[f, d]);
        to.push("mlp.up_proj.weight", "ffn_up.weight", &[f, d]);
        to.push("mlp.down_proj.weight", "ffn_down.weight", &[d, f]);
    }

    fn experts(&self, to: &mut Layer) {
        let (d, f, e) = (self.hidden_size, self.moe_intermediate_size, self.n_routed_experts);
        to.push("mlp.gate.weight", "ffn_gate_inp.weight", &[e, d]);
        if self.arch == Arch::DeepseekV3 {
            to.push("mlp.gate.e_score_correction_bias", "exp_probs_b.bias", &[e]);
        }
        let shared = self.n_shared_experts * f;
        for (name, down) in [("gate", false), ("up", false), ("down", true)] {
            let shape = |f| if down { [d, f] } else { [f, d] };
            to.push(
                &format!("mlp.shared_experts.{name}_proj.weight"),
                &format!("ffn_{name}_shexp.weight"),
                &shape(shared),
            );
            to.parts.push(Part {
                hf: (0..e).map(|i| to.hf(&format!("mlp.experts.{i}.{name}_proj.weight"))).collect(),
                shape: shape(f).to_vec(),
                copy_of: None,
                gguf: vec![(to.gguf(&format!("ffn_{name}_exps.weight")), Make::Stacked)],
            });
        }
    }

    /// What a layer for multi-token prediction has besides a layer. The checkpoint repeats embedding and head in it.
    fn prediction(&self, to: &mut Layer) {
        let (v, d) = (self.vocab_size, self.hidden_size);
        to.push("enorm.weight", "nextn.enorm.weight", &[d]);
        to.push("hnorm.weight", "nextn.hnorm.weight", &[d]);
        to.push("eh_proj.weight", "nextn.eh_proj.weight", &[d, 2 * d]);
        to.push("shared_head.norm.weight", "nextn.shared_head_norm.weight", &[d]);
        for (hf, original) in [("embed_tokens.weight", EMBED), ("shared_head.head.weight", HEAD)] {
            let (hf, shape) = (vec![to.hf(hf)], vec![v, d]);
            to.parts.push(Part { hf, shape, copy_of: Some(original), gguf: Vec::new() });
        }
    }
}

/// The tensors of one layer.
struct Layer {
    layer: u64,
    parts: Vec<Part>,
}

impl Layer {
    fn hf(&self, name: &str) -> String {
        format!("model.layers.{}.{name}", self.layer)
    }

    fn gguf(&self, name: &str) -> String {
        format!("blk.{}.{name}", self.layer)
    }

    fn push(&mut self, hf: &str, gguf: &str, shape: &[u64]) {
        self.make(hf, &[(gguf, Make::Same)], shape);
    }

    fn make(&mut self, hf: &str, gguf: &[(&str, Make)], shape: &[u64]) {
        let gguf = gguf.iter().map(|(name, make)| (self.gguf(name), *make)).collect();
        self.parts.push(Part { hf: vec![self.hf(hf)], shape: shape.to_vec(), copy_of: None, gguf });
    }
}

/// llama.cpp's order of the rows of queries and keys: row `2i + s` of a head was row `s * C/2 + i`.
#[must_use]
pub fn permuted(rows: &[f32], n_heads: usize, width: usize) -> Vec<f32> {
    let head_dim = rows.len() / width / n_heads;
    let from = |row: usize| {
        let (head, r) = (row / head_dim, row % head_dim);
        head * head_dim + r % 2 * (head_dim / 2) + r / 2
    };
    (0..rows.len() / width).flat_map(|row| rows[from(row) * width..][..width].to_vec()).collect()
}
