//! What tensors are called in each container.

/// The file format that a model comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Container {
    /// llama.cpp's.
    Gguf,
    /// Hugging Face's safetensors with `config.json`.
    HuggingFace,
}

/// A tensor of the model by its part, `(gguf, hugging_face)` without layer prefix and suffix.
type Name = (&'static str, &'static str);

pub const EMBED: Name = ("token_embd", "model.embed_tokens");
pub const NORM: Name = ("output_norm", "model.norm");
pub const HEAD: Name = ("output", "lm_head");
/// Divisors of the rotary frequencies; only Llama's GGUF files have it.
pub const ROPE_FREQS: Name = ("rope_freqs", "");

pub const ATTN_NORM: Name = ("attn_norm", "input_layernorm");
pub const FFN_NORM: Name = ("ffn_norm", "post_attention_layernorm");
pub const Q: Name = ("attn_q", "self_attn.q_proj");
pub const K: Name = ("attn_k", "self_attn.k_proj");
pub const V: Name = ("attn_v", "self_attn.v_proj");
pub const O: Name = ("attn_output", "self_attn.o_proj");
pub const Q_NORM: Name = ("attn_q_norm", "self_attn.q_norm");
pub const K_NORM: Name = ("attn_k_norm", "self_attn.k_norm");
pub const GATE: Name = ("ffn_gate", "mlp.gate_proj");
pub const UP: Name = ("ffn_up", "mlp.up_proj");
pub const DOWN: Name = ("ffn_down", "mlp.down_proj");

impl Container {
    /// A tensor outside the layers.
    pub fn global(self, (gguf, hugging_face): Name) -> String {
        match self {
            Container::Gguf => format!("{gguf}.weight"),
            Container::HuggingFace => format!("{hugging_face}.weight"),
        }
    }

    /// A tensor of layer `layer_idx`; `suffix` is `weight` or `bias`.
    pub fn layer(self, layer_idx: u32, (gguf, hugging_face): Name, suffix: &str) -> String {
        match self {
            Container::Gguf => format!("blk.{layer_idx}.{gguf}.{suffix}"),
            Container::HuggingFace => format!("model.layers.{layer_idx}.{hugging_face}.{suffix}"),
        }
    }
}
