//! Tiny models whose weights need no files: every value follows from the tensor's name and its place in it.
//!
//! `goldens/models/make_tiny_goldens.py` has the same generator and gives the models to transformers.

mod write;

pub use aloud_make_model::{Form, Fp8Scales, permuted};
pub use write::{Stored, Written};

use crate::places::best_ids;
use aloud_make_model::{Arch, Scaling, Shape};
use std::path::Path;

/// Ids whose logits are known at every position.
pub const SHORT: [u32; 8] = [1, 17, 42, 99, 200, 3, 77, 255];
/// Positions of [`long`] whose logits are known: around the ends of cache blocks, and the last.
pub const ROWS: [usize; 8] = [30, 31, 32, 33, 63, 64, 65, 95];
/// Rows of the embedding.
pub const VOCAB: usize = 256;

/// More ids, over several cache blocks.
#[must_use]
pub fn long() -> Vec<u32> {
    (0..96).map(|i| (i * 37 + 11) % 256).collect()
}

/// FNV-1a over the bytes of `name`.
#[must_use]
pub fn fnv1a64(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// The values of a tensor by its name in Hugging Face's checkpoint.
#[must_use]
pub fn values(name: &str, shape: &[u64]) -> Vec<f32> {
    let fan_in = *shape.last().expect("not a scalar") as f64;
    let mut numbers = crate::Numbers::new(fnv1a64(name));
    (0..shape.iter().product())
        .map(|_| {
            let v = (numbers.bits() >> 40) as f64 / f64::from(1 << 23) - 1.0;
            let v = match name {
                _ if name.ends_with("e_score_correction_bias") => 0.1 * v,
                _ if name.contains("norm") => 1.0 + 0.25 * v,
                _ if name.ends_with(".bias") => 0.1 * v,
                "model.embed_tokens.weight" => v,
                _ if name.ends_with("mlp.gate.weight") => v * 4.0 / fan_in.sqrt(),
                _ => v * 3f64.sqrt() / fan_in.sqrt(),
            };
            v as f32
        })
        .collect()
}

/// The families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// With llama3 scaling of the rotary frequencies.
    Llama,
    /// With biases on queries, keys and values.
    Qwen2,
    /// With norms on queries and keys, and YaRN.
    Qwen3,
    /// As DeepSeek-V2-Lite: the 6 best experts by softmax, queries projected at once.
    DeepseekV2Lite,
    /// As DeepSeek-V2: the 3 best experts by softmax out of the 2 best of 4 groups, weighted 16 times.
    DeepseekV2,
    /// As DeepSeek-V3 and R1: the 4 best by sigmoid and bias out of the 2 best of 4 groups.
    DeepseekV3,
}

impl Family {
    /// All of them.
    pub const ALL: [Family; 6] =
        [Family::Llama, Family::Qwen2, Family::Qwen3, Family::DeepseekV2Lite, Family::DeepseekV2, Family::DeepseekV3];
    /// Those with latent attention and experts.
    pub const DEEPSEEK: [Family; 3] = [Family::DeepseekV2Lite, Family::DeepseekV2, Family::DeepseekV3];

    /// The architecture.
    #[must_use]
    pub fn arch(self) -> Arch {
        match self {
            Family::Llama => Arch::Llama,
            Family::Qwen2 => Arch::Qwen2,
            Family::Qwen3 => Arch::Qwen3,
            Family::DeepseekV2Lite | Family::DeepseekV2 => Arch::DeepseekV2,
            Family::DeepseekV3 => Arch::DeepseekV3,
        }
    }
}

/// A model.
#[derive(Clone, Copy, Debug)]
pub struct Tiny {
    /// Its family.
    pub family: Family,
    /// D.
    pub hidden: u64,
    /// F.
    pub intermediate: u64,
    /// C; with latent attention the width of values and of the unrotated part, and twice that of the rotated one.
    pub head_dim: u64,
    /// With latent attention: the width of latent keys and values, and F of an expert.
    pub rank: u64,
    /// With latent attention: the width of latent queries, in families that have them.
    pub q_rank: u64,
    /// The context that it was "trained" on, for scaled rotary frequencies.
    pub original_context: u32,
    /// Whether cos and sin are multiplied by 1 and not by YaRN's factor.
    pub plain_yarn: bool,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Whether a layer for multi-token prediction follows the others; DeepSeek-V3 only.
    pub mtp: bool,
    /// Whether GGUF files hold `attn_kv_b` as they did before 2025, and not its halves.
    pub legacy_kv_b: bool,
}

impl Tiny {
    /// As the goldens have it.
    #[must_use]
    pub fn new(family: Family) -> Self {
        let (head_dim, original_context) = match family {
            Family::Llama => (32, 8192),
            Family::Qwen2 => (32, 0),
            Family::Qwen3 => (64, 32768),
            Family::DeepseekV2Lite | Family::DeepseekV2 | Family::DeepseekV3 => (32, 4096),
        };
        Tiny {
            family,
            hidden: 128,
            intermediate: 256,
            head_dim,
            rank: 64,
            q_rank: 96,
            original_context,
            plain_yarn: true,
            tied: false,
            mtp: false,
            legacy_kv_b: false,
        }
    }

    /// "Trained" on 64 tokens, so that scaling matters to short tests.
    #[must_use]
    pub fn short(family: Family) -> Self {
        Tiny { original_context: 64, plain_yarn: false, ..Self::new(family) }
    }

    /// Large enough for super-blocks of 256.
    #[must_use]
    pub fn for_quants(family: Family) -> Self {
        Tiny { hidden: 256, intermediate: 512, head_dim: 64, rank: 256, q_rank: 256, ..Self::new(family) }
    }

    /// All its numbers.
    #[must_use]
    pub fn shape(&self) -> Shape {
        let deepseek = self.family.arch().is_deepseek();
        let lite = self.family == Family::DeepseekV2Lite;
        let v3 = self.family == Family::DeepseekV3;
        let (n_group, topk_group) = if lite { (1, 1) } else { (4, 2) };
        let (num_experts_per_tok, n_shared_experts, routed_scaling_factor) = match self.family {
            Family::DeepseekV2Lite => (6, 2, 1.0),
            Family::DeepseekV2 => (3, 2, 16.0),
            _ => (4, 1, 2.5),
        };
        Shape {
            arch: self.family.arch(),
            vocab_size: VOCAB as u64,
            hidden_size: self.hidden,
            intermediate_size: self.intermediate,
            num_hidden_layers: if deepseek { 3 } else { 2 },
            num_attention_heads: 4,
            num_key_value_heads: if deepseek { 4 } else { 2 },
            head_dim: self.head_dim,
            rms_norm_eps: if self.family == Family::Llama { 1e-5 } else { 1e-6 },
            max_position_embeddings: 163_840,
            rope_theta: match self.family {
                Family::Llama => 5e5,
                Family::Qwen3 => 1e6,
                _ => 1e4,
            },
            scaling: self.scaling(),
            tie_word_embeddings: self.tied,
            q_lora_rank: if lite { 0 } else { self.q_rank },
            kv_lora_rank: self.rank,
            qk_nope_head_dim: self.head_dim,
            qk_rope_head_dim: self.head_dim / 2,
            v_head_dim: self.head_dim,
            moe_intermediate_size: self.rank,
            n_routed_experts: 16,
            num_experts_per_tok,
            n_shared_experts,
            first_k_dense_replace: 1,
            n_group,
            topk_group,
            norm_topk_prob: v3,
            routed_scaling_factor,
            num_nextn_predict_layers: u64::from(self.mtp),
        }
    }

    fn scaling(&self) -> Scaling {
        let original = u64::from(self.original_context);
        let mla = |mscale| Scaling::MlaYarn { factor: 40.0, original, beta_fast: 32.0, mscale };
        match self.family {
            Family::Llama => Scaling::Llama3 { original },
            Family::Qwen2 => Scaling::None,
            Family::Qwen3 => Scaling::Yarn { factor: 4.0, original, attention_factor: self.plain_yarn.then_some(1.0) },
            Family::DeepseekV2Lite | Family::DeepseekV2 => mla(0.707),
            Family::DeepseekV3 => mla(1.0),
        }
    }
}

/// The logits that transformers computes: those of [`SHORT`], then those of [`long`] at [`ROWS`].
///
/// # Panics
/// If there is no such golden.
#[must_use]
pub fn golden(name: &str) -> Vec<f32> {
    golden_rows(name, SHORT.len() + ROWS.len())
}

/// The logits that transformers' layer for multi-token prediction gives for a DeepSeek-V3 with [`SHORT`]: row `t` foretells
/// the token at `t + 2` from the hidden state at `t` and the token at `t + 1`, which at the end is [`MTP_NEXT`].
///
/// # Panics
/// If there is no such golden.
#[must_use]
pub fn mtp_golden() -> Vec<f32> {
    golden_rows("deepseek_v3_mtp", SHORT.len())
}

/// The token after [`SHORT`] that the tiny DeepSeek-V3 gives.
pub const MTP_NEXT: u32 = 157;

/// [`golden`] of the DeepSeek-V3, there also where no file can be opened.
#[must_use]
pub fn v3_golden() -> Vec<f32> {
    parse_rows("deepseek_v3", include_bytes!("../../goldens/models/deepseek_v3.f32"), SHORT.len() + ROWS.len())
}

fn golden_rows(name: &str, n_rows: usize) -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/models").join(format!("{name}.f32"));
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    parse_rows(name, &bytes, n_rows)
}

fn parse_rows(name: &str, bytes: &[u8], n_rows: usize) -> Vec<f32> {
    let (words, rest) = bytes.as_chunks();
    assert!(rest.is_empty() && words.len() == n_rows * VOCAB, "{name}: {n_rows} rows of 256");
    words.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Checks the rows of [`SHORT`] in a golden against numbers of another program: the most likely ids, and of the last row the
/// 2-norm and the first logits.
///
/// # Panics
/// If they differ.
pub fn check_golden(name: &str, golden: &[f32], ids: &[u32], norm: f64, first: &[f64]) {
    assert_eq!(best_ids(&golden[..8 * VOCAB], VOCAB), ids, "{name}");
    let row = &golden[7 * VOCAB..8 * VOCAB];
    let got = row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    assert!((got - norm).abs() < 2e-5, "{name}: the norm {got} is not {norm}");
    assert!(row.iter().zip(first).all(|(&a, b)| (f64::from(a) - b).abs() < 2e-5), "{name}");
}
