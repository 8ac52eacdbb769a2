use crate::Tensor;

/// The numbers of multi-head latent attention (MLA).
///
/// Source: DeepSeek-V2 (2024), section 2.1; names as in Hugging Face's `config.json`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mla {
    /// H: query heads.
    pub num_attention_heads: u32,
    /// R: width of the latent that keys and values are made of.
    pub kv_lora_rank: u32,
    /// N: values of a head's query and key without position.
    pub qk_nope_head_dim: u32,
    /// P: values of a head's query, and of the one key that all heads share, that are rotated.
    pub qk_rope_head_dim: u32,
    /// Vh: values of a head's output.
    pub v_head_dim: u32,
    /// Multiplies the scores: `(N + P)^-0.5`, times YaRN's correction squared.
    pub scale: f32,
    /// Tokens per cache block, a multiple of 32.
    pub block_tokens: u32,
}

impl Mla {
    /// Width of a head's query: `N + P`.
    #[must_use]
    pub fn qk_head_dim(&self) -> u32 {
        self.qk_nope_head_dim + self.qk_rope_head_dim
    }

    /// Values cached per token: `R + P`.
    #[must_use]
    pub fn latent_dim(&self) -> u32 {
        self.kv_lora_rank + self.qk_rope_head_dim
    }
}

/// The paged latent cache of one layer: per token the normed latent, then the rotated key that all heads share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatentCache {
    /// `[slots, R + P]`, f16 or f32.
    pub rows: Tensor,
    /// `[blocks] u32`: which block of slots holds tokens `[i*B, (i+1)*B)`.
    pub block_table: Tensor,
    /// B: tokens per block.
    pub block_tokens: u32,
}

impl LatentCache {
    /// Checks the shape.
    ///
    /// # Panics
    /// If it is not that of `mla`.
    #[track_caller]
    pub fn check(&self, mla: &Mla) {
        let [_, width] = self.rows.dims2();
        assert_eq!(width, mla.latent_dim(), "the latent cache must be [slots, R + P]");
        assert_eq!(self.block_tokens, mla.block_tokens, "blocks of the latent cache");
        assert_eq!(mla.block_tokens % 32, 0, "blocks hold a multiple of 32 tokens");
    }
}

/// The weights that make keys and values of the latent (`kv_b_proj`), as a file has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvUp {
    /// `[H, N + Vh, R]`: of each head N rows of keys, then Vh rows of values. Safetensors, and GGUF's `attn_kv_b`.
    Joint(Tensor),
    /// GGUF's `attn_k_b` and `attn_v_b`.
    Split {
        /// `[H, R, N]`: the keys' part transposed, ready to be absorbed into the query.
        k: Tensor,
        /// `[H, Vh, R]`.
        v: Tensor,
    },
}

impl KvUp {
    /// The tensors, keys first.
    #[must_use]
    pub fn tensors(&self) -> Vec<Tensor> {
        match *self {
            KvUp::Joint(joint) => vec![joint],
            KvUp::Split { k, v } => vec![k, v],
        }
    }

    /// Checks the shapes.
    ///
    /// # Panics
    /// If they are not those of `mla`, or no weights.
    #[track_caller]
    pub fn check(&self, mla: &Mla) {
        let Mla { num_attention_heads: h, kv_lora_rank: r, qk_nope_head_dim: n, v_head_dim: v, .. } = *mla;
        let fits = match self {
            KvUp::Joint(joint) => joint.shape() == [h, n + v, r],
            KvUp::Split { k, v: up } => k.shape() == [h, r, n] && up.shape() == [h, v, r],
        };
        assert!(fits, "kv_b: {:?} does not fit {mla:?}", self.tensors());
        assert!(self.tensors().iter().all(Tensor::is_weight), "kv_b must be a weight");
    }
}
