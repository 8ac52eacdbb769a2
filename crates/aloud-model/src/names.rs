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
pub type Name = (&'static str, &'static str);

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

pub const Q_A: Name = ("attn_q_a", "self_attn.q_a_proj");
pub const Q_A_NORM: Name = ("attn_q_a_norm", "self_attn.q_a_layernorm");
pub const Q_B: Name = ("attn_q_b", "self_attn.q_b_proj");
pub const KV_A: Name = ("attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa");
pub const KV_A_NORM: Name = ("attn_kv_a_norm", "self_attn.kv_a_layernorm");
pub const KV_B: Name = ("attn_kv_b", "self_attn.kv_b_proj");
/// Newer GGUF files have these two instead of [`KV_B`].
pub const K_B: Name = ("attn_k_b", "");
pub const V_B: Name = ("attn_v_b", "");

pub const ROUTER: Name = ("ffn_gate_inp", "mlp.gate");
pub const ROUTER_BIAS: Name = ("exp_probs_b", "mlp.gate.e_score_correction_bias");
/// The experts of a layer: one stack in GGUF, one tensor each in safetensors (see [`Container::expert`]).
pub const GATE_EXPS: Name = ("ffn_gate_exps", "gate_proj");
pub const UP_EXPS: Name = ("ffn_up_exps", "up_proj");
pub const DOWN_EXPS: Name = ("ffn_down_exps", "down_proj");
pub const GATE_SHARED: Name = ("ffn_gate_shexp", "mlp.shared_experts.gate_proj");
pub const UP_SHARED: Name = ("ffn_up_shexp", "mlp.shared_experts.up_proj");
pub const DOWN_SHARED: Name = ("ffn_down_shexp", "mlp.shared_experts.down_proj");

/// Multi-token prediction: what a layer behind the last has beside a decoder layer's tensors.
pub const MTP_EMBED_NORM: Name = ("nextn.enorm", "enorm");
pub const MTP_HIDDEN_NORM: Name = ("nextn.hnorm", "hnorm");
pub const MTP_PROJ: Name = ("nextn.eh_proj", "eh_proj");
pub const MTP_NORM: Name = ("nextn.shared_head_norm", "shared_head.norm");

impl Container {
    /// A tensor outside the layers.
    pub fn global(self, (gguf, hugging_face): Name) -> String {
        match self {
            Container::Gguf => format!("{gguf}.weight"),
            Container::HuggingFace => format!("{hugging_face}.weight"),
        }
    }

    /// The score correction bias of a layer's router, which has no suffix in safetensors.
    pub fn router_bias(self, layer_idx: u32) -> String {
        match self {
            Container::Gguf => self.layer(layer_idx, ROUTER_BIAS, "bias"),
            Container::HuggingFace => format!("model.layers.{layer_idx}.{}", ROUTER_BIAS.1),
        }
    }

    /// Expert `expert` of layer `layer_idx` in safetensors.
    pub fn expert(self, layer_idx: u32, expert: u32, (_, part): Name) -> String {
        format!("model.layers.{layer_idx}.mlp.experts.{expert}.{part}.weight")
    }

    /// A tensor of layer `layer_idx`; `suffix` is `weight` or `bias`.
    pub fn layer(self, layer_idx: u32, (gguf, hugging_face): Name, suffix: &str) -> String {
        match self {
            Container::Gguf => format!("blk.{layer_idx}.{gguf}.{suffix}"),
            Container::HuggingFace => format!("model.layers.{layer_idx}.{hugging_face}.{suffix}"),
        }
    }
}
