//! The model families: what each has beside the common decoder block.

mod deepseek;
mod llama;
mod qwen2;
mod qwen3;

use crate::error::ModelError;
use crate::names::Container;
use aloud_ops::RopePairing;

/// What distinguishes a family of decoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Name in GGUF: `general.architecture`.
    pub gguf: &'static str,
    /// Name in Hugging Face's `config.json`: `architectures[0]`.
    pub hugging_face: &'static str,
    /// Biases on the query, key and value projections.
    pub qkv_bias: bool,
    /// RMS norms on each head of queries and keys, before the rotary embedding.
    pub qk_norm: bool,
    /// Whether GGUF's converter reorders the rows of queries and keys so that neighbours pair up.
    pub gguf_permutes: bool,
    /// Multi-head latent attention, and perhaps experts.
    pub latent: bool,
}

/// All families.
const ALL: [Architecture; 5] = [llama::LLAMA, qwen2::QWEN2, qwen3::QWEN3, deepseek::V2, deepseek::V3];

/// Relatives that are refused: names in GGUF, as a class and as `model_type`; and what they need.
const VARIANTS: [([&str; 3], &str); 2] = [
    (
        ["deepseek32", "DeepseekV32ForCausalLM", "deepseek_v32"],
        "DeepSeek-V3.2's sparse attention (an indexer that picks which cached tokens are looked at)",
    ),
    (
        ["deepseek4", "DeepseekV4ForCausalLM", "deepseek_v4"],
        "DeepSeek-V4's compressed attention, hyper-connections and hashed routing",
    ),
];

impl Architecture {
    /// By its name in a container.
    #[must_use]
    pub fn find(container: Container, name: &str) -> Option<Architecture> {
        ALL.into_iter().find(|a| match container {
            Container::Gguf => a.gguf == name,
            Container::HuggingFace => a.hugging_face == name,
        })
    }

    /// Names in a container, for messages.
    #[must_use]
    pub fn names(container: Container) -> String {
        let name = |a: Architecture| if container == Container::Gguf { a.gguf } else { a.hugging_face };
        let mut names = ALL.map(name).to_vec();
        names.dedup();
        names.join(", ")
    }

    /// Refuses a relative by its name, with what it needs.
    ///
    /// # Errors
    /// [`ModelError::Variant`].
    pub fn check_variant(name: &str) -> Result<(), ModelError> {
        match VARIANTS.iter().find(|(names, _)| names.contains(&name)) {
            Some((_, missing)) => Err(ModelError::Variant { found: name.into(), missing }),
            None => Ok(()),
        }
    }

    /// Which values of a head turn together in weights from this container.
    #[must_use]
    pub fn rope_pairing(&self, container: Container) -> RopePairing {
        let permuted = container == Container::Gguf && self.gguf_permutes;
        if self.latent || permuted { RopePairing::Interleaved } else { RopePairing::Halves }
    }
}
