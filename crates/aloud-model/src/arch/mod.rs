//! The model families: what each has beside the common decoder block.

mod llama;
mod qwen2;
mod qwen3;

use crate::names::Container;
use aloud_ops::RopePairing;

/// What distinguishes a family of grouped-query decoders.
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
}

/// All families.
const ALL: [Architecture; 3] = [llama::LLAMA, qwen2::QWEN2, qwen3::QWEN3];

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
        ALL.map(name).join(", ")
    }

    /// Which values of a head turn together in weights from this container.
    #[must_use]
    pub fn rope_pairing(&self, container: Container) -> RopePairing {
        if container == Container::Gguf && self.gguf_permutes { RopePairing::Interleaved } else { RopePairing::Halves }
    }
}
