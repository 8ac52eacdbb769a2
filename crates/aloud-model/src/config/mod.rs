//! The numbers of a model, under the names of Hugging Face's `config.json`.

mod gguf;
mod json;
#[cfg(test)]
mod tests;

use crate::arch::Architecture;
use crate::error::ModelError;
use crate::names::Container;
use aloud_ops::{GroupScore, Mla, RopePairing, Route, Scoring};

/// How rotary frequencies are stretched for contexts longer than trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All divided by a factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Llama 3.1's: long waves divided, short ones kept, in between blended.
    Llama3 {
        /// Divides the long waves.
        factor: f64,
        /// Waves longer than the original context divided by this are long.
        low_freq_factor: f64,
        /// Waves shorter than the original context divided by this are short.
        high_freq_factor: f64,
        /// The context trained on.
        original_max_position_embeddings: f64,
    },
    /// YaRN (Peng 2023).
    Yarn {
        /// Divides the long waves.
        factor: f64,
        /// The context trained on.
        original_max_position_embeddings: f64,
        /// Turns from which a wave is kept.
        beta_fast: f64,
        /// Turns up to which a wave is stretched.
        beta_slow: f64,
        /// Multiplies cos and sin.
        attention_factor: f64,
    },
}

/// Multi-head latent attention: keys and values are made of one latent per token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latent {
    /// Width of the latent that queries are made of; `None` if they are made of the residual stream itself.
    pub q_lora_rank: Option<u32>,
    /// R: width of the latent that keys and values are made of.
    pub kv_lora_rank: u32,
    /// N: values of a head's query and key without position.
    pub qk_nope_head_dim: u32,
    /// Values of a head's output.
    pub v_head_dim: u32,
    /// Multiplies the scores: `(N + P)^-0.5`, times YaRN's magnitude squared.
    pub scale: f64,
    /// Added to the mean squares of the latents' norms.
    pub norm_eps: f32,
    /// Whether the weights that make keys and values come apart, the keys' transposed (newer GGUF files).
    pub kv_b_split: bool,
}

/// Mixture of experts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Experts {
    /// E.
    pub n_routed_experts: u32,
    /// Experts that a token is sent to.
    pub num_experts_per_tok: u32,
    /// Experts that every token goes through.
    pub n_shared_experts: u32,
    /// I: width of one expert.
    pub moe_intermediate_size: u32,
    /// Layers before the first that has experts.
    pub first_k_dense_replace: u32,
    /// How logits become scores.
    pub scoring: Scoring,
    /// How groups are compared.
    pub group_score: GroupScore,
    /// Groups of experts.
    pub n_group: u32,
    /// Groups that a token may choose from.
    pub topk_group: u32,
    /// Whether the chosen weights are divided by their sum.
    pub norm_topk_prob: bool,
    /// Multiplies the weights.
    pub routed_scaling_factor: f32,
    /// Whether a bias per expert takes part in the choice (`e_score_correction_bias`).
    pub bias: bool,
}

/// The numbers of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The family.
    pub architecture: Architecture,
    /// Where the weights come from; decides names and rotary pairing.
    pub container: Container,
    /// V: rows of the embedding.
    pub vocab_size: u32,
    /// D.
    pub hidden_size: u32,
    /// Layers.
    pub num_hidden_layers: u32,
    /// H.
    pub num_attention_heads: u32,
    /// K; 1 with latent attention, where all heads share one key.
    pub num_key_value_heads: u32,
    /// C: width of a head; with latent attention P, the values of it that are rotated.
    pub head_dim: u32,
    /// F.
    pub intermediate_size: u32,
    /// Added to mean squares.
    pub rms_norm_eps: f32,
    /// The context that the model was made for.
    pub max_position_embeddings: u32,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Their stretching.
    pub rope_scaling: RopeScaling,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Latent instead of grouped-query attention.
    pub latent: Option<Latent>,
    /// Experts instead of one feed-forward block, from some layer on.
    pub experts: Option<Experts>,
    /// Layers behind the last that predict the token after the next (multi-token prediction).
    pub num_nextn_predict_layers: u32,
}

impl Config {
    /// Which values of a head turn together.
    #[must_use]
    pub fn rope_pairing(&self) -> RopePairing {
        self.architecture.rope_pairing(self.container)
    }

    /// Experts of layer `layer_idx`, if it has some.
    #[must_use]
    pub fn experts_of(&self, layer_idx: u32) -> Option<&Experts> {
        self.experts.as_ref().filter(|e| layer_idx >= e.first_k_dense_replace)
    }

    /// Dispatches of a decode step where every weight fits a binding, what lies side by side has one format, and a kernel can bind
    /// 10 buffers: for telling the time of a step before there is one.
    #[must_use]
    pub fn decode_dispatches(&self) -> u32 {
        let attention = self.latent.map_or(4, |latent| 5 + u32::from(latent.q_lora_rank.is_some()));
        let n_layers = self.num_hidden_layers;
        let n_dense = self.experts.map_or(n_layers, |experts| experts.first_k_dense_replace.min(n_layers));
        n_layers * attention + n_dense * 2 + (n_layers - n_dense) * 4 + 4
    }

    /// Values that a token leaves in the cache of one layer: keys and values, or the latent and the rotated key.
    #[must_use]
    pub fn cache_width(&self) -> u32 {
        match &self.latent {
            Some(latent) => latent.kv_lora_rank + self.head_dim,
            None => 2 * self.num_key_value_heads * self.head_dim,
        }
    }

    /// The numbers of latent attention as its ops take them.
    #[must_use]
    pub fn mla(&self, block_tokens: u32) -> Option<Mla> {
        self.latent.map(|latent| Mla {
            num_attention_heads: self.num_attention_heads,
            kv_lora_rank: latent.kv_lora_rank,
            qk_nope_head_dim: latent.qk_nope_head_dim,
            qk_rope_head_dim: self.head_dim,
            v_head_dim: latent.v_head_dim,
            scale: latent.scale as f32,
            block_tokens,
        })
    }

    /// Every number within what a decoder can be, so that nothing that follows overflows.
    fn checked(self) -> Result<Config, ModelError> {
        let heads = ("num_attention_heads", self.num_attention_heads, 1024);
        self.within(&[
            ("num_hidden_layers", self.num_hidden_layers, 1024),
            ("hidden_size", self.hidden_size, 1 << 16),
            heads,
            ("num_key_value_heads", self.num_key_value_heads, self.num_attention_heads),
            ("intermediate_size", self.intermediate_size, 1 << 20),
            ("vocab_size", self.vocab_size, 1 << 24),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 26),
        ])?;
        let dim = if self.latent.is_some() { "qk_rope_head_dim" } else { "head_dim" };
        self.within(&[(dim, self.head_dim, 128)])?;
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let expected = format!("a divisor of the {} query heads", self.num_attention_heads);
            return Err(bad("num_key_value_heads", expected, self.num_key_value_heads.to_string()));
        }
        if !self.head_dim.is_multiple_of(8) {
            return Err(bad(dim, "a multiple of 8".into(), self.head_dim.to_string()));
        }
        for (field, value) in [("rms_norm_eps", f64::from(self.rms_norm_eps)), ("rope_theta", self.rope_theta)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(bad(field, "a positive number".into(), value.to_string()));
            }
        }
        self.check_latent()?;
        self.check_experts()?;
        self.within(&[("num_nextn_predict_layers + 1", self.num_nextn_predict_layers.saturating_add(1), 65)])?;
        Ok(self)
    }

    fn within(&self, bounds: &[(&str, u32, u32)]) -> Result<(), ModelError> {
        match bounds.iter().find(|&&(_, value, most)| value == 0 || value > most) {
            Some((field, value, most)) => Err(bad(field, format!("1 to {most}"), value.to_string())),
            None => Ok(()),
        }
    }

    /// What the kernels of latent attention can do.
    fn check_latent(&self) -> Result<(), ModelError> {
        let Some(latent) = &self.latent else { return Ok(()) };
        let widths = [
            ("q_lora_rank", latent.q_lora_rank.unwrap_or(32), 1 << 16),
            ("kv_lora_rank", latent.kv_lora_rank, 512),
            ("qk_nope_head_dim", latent.qk_nope_head_dim, 128),
            ("v_head_dim", latent.v_head_dim, 128),
        ];
        self.within(&widths)?;
        self.within(&[
            ("qk_rope_head_dim", self.head_dim, 64),
            ("num_attention_heads", self.num_attention_heads, 128),
        ])?;
        if let Some((field, value, _)) = widths.iter().find(|(_, value, _)| !value.is_multiple_of(32)) {
            return Err(bad(field, "a multiple of 32".into(), value.to_string()));
        }
        if !(latent.scale.is_finite() && latent.scale > 0.0) {
            return Err(bad(
                "mscale_all_dim",
                "a number that leaves a positive scale".into(),
                latent.scale.to_string(),
            ));
        }
        Ok(())
    }

    fn check_experts(&self) -> Result<(), ModelError> {
        let Some(e) = &self.experts else { return Ok(()) };
        self.within(&[
            ("n_routed_experts", e.n_routed_experts, 512),
            ("num_experts_per_tok", e.num_experts_per_tok, e.n_routed_experts.min(32)),
            ("moe_intermediate_size", e.moe_intermediate_size, 1 << 20),
            ("n_shared_experts + 1", e.n_shared_experts.saturating_add(1), 65),
            ("first_k_dense_replace + 1", e.first_k_dense_replace.saturating_add(1), self.num_hidden_layers + 1),
            ("n_group", e.n_group, e.n_routed_experts),
            ("topk_group", e.topk_group, e.n_group),
        ])?;
        if !e.n_routed_experts.is_multiple_of(e.n_group) {
            let expected = format!("a divisor of the {} experts", e.n_routed_experts);
            return Err(bad("n_group", expected, e.n_group.to_string()));
        }
        if e.num_experts_per_tok > e.n_routed_experts / e.n_group * e.topk_group {
            let expected = format!("at most what {} groups hold", e.topk_group);
            return Err(bad("num_experts_per_tok", expected, e.num_experts_per_tok.to_string()));
        }
        if !e.moe_intermediate_size.is_multiple_of(32) {
            let found = e.moe_intermediate_size.to_string();
            return Err(bad("moe_intermediate_size", "a multiple of 32".into(), found));
        }
        if !(e.routed_scaling_factor.is_finite() && e.routed_scaling_factor > 0.0) {
            let found = e.routed_scaling_factor.to_string();
            return Err(bad("routed_scaling_factor", "a positive number".into(), found));
        }
        Ok(())
    }
}

impl Experts {
    /// The choice of experts as its op takes it; with `with_shared`, the shared experts are the last of the stacks.
    #[must_use]
    pub fn route(&self, with_shared: bool) -> Route {
        Route {
            scoring: self.scoring,
            num_experts_per_tok: self.num_experts_per_tok,
            n_group: self.n_group,
            topk_group: self.topk_group,
            group_score: self.group_score,
            norm_topk_prob: self.norm_topk_prob,
            routed_scaling_factor: self.routed_scaling_factor,
            n_shared: if with_shared { self.n_shared_experts } else { 0 },
        }
    }
}

fn bad(field: &str, expected: String, found: String) -> ModelError {
    ModelError::Config { field: field.into(), expected, found }
}

fn find(container: Container, name: &str) -> Result<Architecture, ModelError> {
    Architecture::check_variant(name)?;
    Architecture::find(container, name)
        .ok_or_else(|| ModelError::Architecture { found: name.into(), expected: Architecture::names(container) })
}

fn missing(field: &str, expected: &str) -> ModelError {
    bad(field, expected.into(), "nothing".into())
}

/// `0.1 m ln(s) + 1`: what YaRN multiplies cos and sin by, and DeepSeek, squared, the scores.
fn yarn_mscale(factor: f64, m: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 }
}
