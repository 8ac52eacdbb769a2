//! Published models by name, and settings by name.

use crate::{Arch, Scaling, Shape};

/// A starting point: its name, what it is, and its numbers.
pub type Preset = (&'static str, &'static str, fn() -> Shape);

/// All starting points: a small model of each architecture, then published ones.
pub const PRESETS: &[Preset] = &[
    ("llama", "a small Llama", || small(Arch::Llama)),
    ("qwen2", "a small Qwen2", || small(Arch::Qwen2)),
    ("qwen3", "a small Qwen3", || small(Arch::Qwen3)),
    ("deepseek_v2", "a small DeepSeek-V2", || small(Arch::DeepseekV2)),
    ("deepseek_v3", "a small DeepSeek-V3", || small(Arch::DeepseekV3)),
    ("qwen-1.5b", "DeepSeek-R1-Distill-Qwen-1.5B", || dense(Arch::Qwen2, 1536, 28, 12, 2, 8960, 151_936, 1e4, 1e-6)),
    ("qwen-7b", "DeepSeek-R1-Distill-Qwen-7B", || dense(Arch::Qwen2, 3584, 28, 28, 4, 18_944, 152_064, 1e4, 1e-6)),
    ("qwen-14b", "DeepSeek-R1-Distill-Qwen-14B", || dense(Arch::Qwen2, 5120, 48, 40, 8, 13_824, 152_064, 1e6, 1e-5)),
    ("qwen-32b", "DeepSeek-R1-Distill-Qwen-32B", || dense(Arch::Qwen2, 5120, 64, 40, 8, 27_648, 152_064, 1e6, 1e-5)),
    ("llama-8b", "DeepSeek-R1-Distill-Llama-8B", || dense(Arch::Llama, 4096, 32, 32, 8, 14_336, 128_256, 5e5, 1e-5)),
    ("llama-70b", "DeepSeek-R1-Distill-Llama-70B", || dense(Arch::Llama, 8192, 80, 64, 8, 28_672, 128_256, 5e5, 1e-5)),
    ("qwen3-8b", "DeepSeek-R1-0528-Qwen3-8B", || dense(Arch::Qwen3, 4096, 36, 32, 8, 12_288, 151_936, 1e6, 1e-6)),
    ("v2-lite", "DeepSeek-V2-Lite", v2_lite),
    ("v2", "DeepSeek-V2, 236 billion parameters", v2),
    ("v3", "DeepSeek-V3, 671 billion parameters", v3),
    ("r1", "DeepSeek-R1: DeepSeek-V3's numbers", v3),
    ("moonlight", "Moonlight-16B-A3B", moonlight),
    ("kimi-k2", "Kimi-K2-Instruct, a trillion parameters", kimi_k2),
];

impl Shape {
    /// A starting point by its name.
    ///
    /// # Errors
    /// A sentence with all names.
    pub fn preset(name: &str) -> Result<Shape, String> {
        let found = PRESETS.iter().find(|(known, ..)| *known == name);
        found.map(|(_, _, shape)| shape()).ok_or_else(|| {
            let names: Vec<&str> = PRESETS.iter().map(|(name, ..)| *name).collect();
            format!("there is no preset `{name}`; there are {}", names.join(", "))
        })
    }

    /// Changes a number by its name in `config.json`; YaRN is changed by `factor` and `original_max_position_embeddings`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        if let Some(field) = self.counts().into_iter().find(|(name, _)| *name == key) {
            *field.1 = value.parse().map_err(|_| format!("`{key}={value}`: expected a whole number"))?;
            return Ok(());
        }
        let number = || {
            let parsed: Option<f64> = value.parse().ok().filter(|v: &f64| v.is_finite() && *v > 0.0);
            parsed.ok_or_else(|| format!("`{key}={value}`: expected a positive number"))
        };
        let truth = || value.parse::<bool>().map_err(|_| format!("`{key}={value}`: expected true or false"));
        match (key, &mut self.scaling) {
            ("rms_norm_eps", _) => self.rms_norm_eps = number()?,
            ("rope_theta", _) => self.rope_theta = number()?,
            ("routed_scaling_factor", _) => self.routed_scaling_factor = number()?,
            ("tie_word_embeddings", _) => self.tie_word_embeddings = truth()?,
            ("norm_topk_prob", _) => self.norm_topk_prob = truth()?,
            ("factor", Scaling::Yarn { factor, .. } | Scaling::MlaYarn { factor, .. }) => *factor = number()?,
            (
                "original_max_position_embeddings",
                Scaling::Llama3 { original } | Scaling::Yarn { original, .. } | Scaling::MlaYarn { original, .. },
            ) => *original = number()? as u64,
            _ => {
                let names: Vec<&str> = self.counts().iter().map(|(name, _)| *name).collect();
                return Err(format!(
                    "{} has no setting `{key}`; there are {}, rms_norm_eps, rope_theta, tie_word_embeddings, \
                     norm_topk_prob, routed_scaling_factor, factor, original_max_position_embeddings",
                    self.arch.name(),
                    names.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// The whole numbers of this architecture by name.
    fn counts(&mut self) -> Vec<(&'static str, &mut u64)> {
        let mut all = vec![
            ("vocab_size", &mut self.vocab_size),
            ("hidden_size", &mut self.hidden_size),
            ("intermediate_size", &mut self.intermediate_size),
            ("num_hidden_layers", &mut self.num_hidden_layers),
            ("num_attention_heads", &mut self.num_attention_heads),
            ("max_position_embeddings", &mut self.max_position_embeddings),
        ];
        if self.arch.is_deepseek() {
            all.extend([
                ("q_lora_rank", &mut self.q_lora_rank),
                ("kv_lora_rank", &mut self.kv_lora_rank),
                ("qk_nope_head_dim", &mut self.qk_nope_head_dim),
                ("qk_rope_head_dim", &mut self.qk_rope_head_dim),
                ("v_head_dim", &mut self.v_head_dim),
                ("moe_intermediate_size", &mut self.moe_intermediate_size),
                ("n_routed_experts", &mut self.n_routed_experts),
                ("num_experts_per_tok", &mut self.num_experts_per_tok),
                ("n_shared_experts", &mut self.n_shared_experts),
                ("first_k_dense_replace", &mut self.first_k_dense_replace),
                ("n_group", &mut self.n_group),
                ("topk_group", &mut self.topk_group),
                ("num_nextn_predict_layers", &mut self.num_nextn_predict_layers),
            ]);
        } else {
            all.extend([("num_key_value_heads", &mut self.num_key_value_heads), ("head_dim", &mut self.head_dim)]);
        }
        all
    }
}

/// A model that fits anywhere, whose rows are whole super-blocks of 256.
fn small(arch: Arch) -> Shape {
    if !arch.is_deepseek() {
        let shape = dense(arch, 512, 4, 8, 4, 1536, 4096, 1e4, 1e-6);
        return Shape { scaling: Scaling::None, ..shape };
    }
    let is_v3 = arch == Arch::DeepseekV3;
    Shape {
        arch,
        vocab_size: 4096,
        hidden_size: 512,
        intermediate_size: 1536,
        num_hidden_layers: 4,
        num_attention_heads: 8,
        num_key_value_heads: 8,
        q_lora_rank: if is_v3 { 256 } else { 0 },
        kv_lora_rank: 256,
        qk_nope_head_dim: 64,
        qk_rope_head_dim: 32,
        v_head_dim: 64,
        moe_intermediate_size: 256,
        n_routed_experts: 32,
        num_experts_per_tok: 4,
        first_k_dense_replace: 1,
        ..if is_v3 { v3() } else { v2_lite() }
    }
}

#[expect(clippy::too_many_arguments, reason = "one row of a table of models")]
fn dense(
    arch: Arch,
    hidden: u64,
    layers: u64,
    heads: u64,
    kv_heads: u64,
    f: u64,
    v: u64,
    theta: f64,
    eps: f64,
) -> Shape {
    let scaling = match arch {
        Arch::Llama => Scaling::Llama3 { original: 8192 },
        Arch::Qwen3 => Scaling::Yarn { factor: 4.0, original: 32_768, attention_factor: Some(1.0) },
        _ => Scaling::None,
    };
    Shape {
        arch,
        vocab_size: v,
        hidden_size: hidden,
        intermediate_size: f,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: kv_heads,
        head_dim: if hidden < 1536 { hidden / heads } else { 128 },
        rms_norm_eps: eps,
        max_position_embeddings: 131_072,
        rope_theta: theta,
        scaling,
        tie_word_embeddings: false,
        q_lora_rank: 0,
        kv_lora_rank: 0,
        qk_nope_head_dim: 0,
        qk_rope_head_dim: 0,
        v_head_dim: 0,
        moe_intermediate_size: 0,
        n_routed_experts: 0,
        num_experts_per_tok: 0,
        n_shared_experts: 0,
        first_k_dense_replace: 0,
        n_group: 0,
        topk_group: 0,
        norm_topk_prob: false,
        routed_scaling_factor: 0.0,
        num_nextn_predict_layers: 0,
    }
}

fn v2_lite() -> Shape {
    Shape {
        head_dim: 0,
        max_position_embeddings: 163_840,
        scaling: Scaling::MlaYarn { factor: 40.0, original: 4096, beta_fast: 32.0, mscale: 0.707 },
        kv_lora_rank: 512,
        qk_nope_head_dim: 128,
        qk_rope_head_dim: 64,
        v_head_dim: 128,
        moe_intermediate_size: 1408,
        n_routed_experts: 64,
        num_experts_per_tok: 6,
        n_shared_experts: 2,
        first_k_dense_replace: 1,
        n_group: 1,
        topk_group: 1,
        routed_scaling_factor: 1.0,
        ..dense(Arch::DeepseekV2, 2048, 27, 16, 16, 10_944, 102_400, 1e4, 1e-6)
    }
}

fn v2() -> Shape {
    Shape {
        hidden_size: 5120,
        intermediate_size: 12_288,
        num_hidden_layers: 60,
        num_attention_heads: 128,
        num_key_value_heads: 128,
        q_lora_rank: 1536,
        moe_intermediate_size: 1536,
        n_routed_experts: 160,
        n_group: 8,
        topk_group: 3,
        routed_scaling_factor: 16.0,
        ..v2_lite()
    }
}

fn v3() -> Shape {
    Shape {
        arch: Arch::DeepseekV3,
        vocab_size: 129_280,
        hidden_size: 7168,
        intermediate_size: 18_432,
        num_hidden_layers: 61,
        num_attention_heads: 128,
        num_key_value_heads: 128,
        scaling: Scaling::MlaYarn { factor: 40.0, original: 4096, beta_fast: 32.0, mscale: 1.0 },
        q_lora_rank: 1536,
        moe_intermediate_size: 2048,
        n_routed_experts: 256,
        num_experts_per_tok: 8,
        n_shared_experts: 1,
        first_k_dense_replace: 3,
        n_group: 8,
        topk_group: 4,
        norm_topk_prob: true,
        routed_scaling_factor: 2.5,
        ..v2_lite()
    }
}

fn moonlight() -> Shape {
    Shape {
        hidden_size: 2048,
        intermediate_size: 11_264,
        num_hidden_layers: 27,
        num_attention_heads: 16,
        num_key_value_heads: 16,
        vocab_size: 163_840,
        rope_theta: 5e4,
        scaling: Scaling::None,
        max_position_embeddings: 8192,
        rms_norm_eps: 1e-5,
        q_lora_rank: 0,
        moe_intermediate_size: 1408,
        n_routed_experts: 64,
        num_experts_per_tok: 6,
        n_shared_experts: 2,
        first_k_dense_replace: 1,
        n_group: 1,
        topk_group: 1,
        routed_scaling_factor: 2.446,
        ..v3()
    }
}

fn kimi_k2() -> Shape {
    Shape {
        num_attention_heads: 64,
        num_key_value_heads: 64,
        vocab_size: 163_840,
        rope_theta: 5e4,
        scaling: Scaling::MlaYarn { factor: 32.0, original: 4096, beta_fast: 1.0, mscale: 1.0 },
        max_position_embeddings: 131_072,
        n_routed_experts: 384,
        first_k_dense_replace: 1,
        n_group: 1,
        topk_group: 1,
        routed_scaling_factor: 2.827,
        ..v3()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts that the models were published with, embedding and head included.
    #[test]
    fn published_models_have_their_parameters() {
        for (name, n_params) in [
            ("qwen-1.5b", 1_777_088_000),
            ("qwen-7b", 7_615_616_512),
            ("llama-8b", 8_030_261_248),
            ("qwen3-8b", 8_190_735_360),
            ("qwen-14b", 14_770_033_664),
            ("qwen-32b", 32_763_876_352),
            ("llama-70b", 70_553_706_496),
            ("v2-lite", 15_706_484_224),
            ("v2", 235_741_434_880),
            ("v3", 671_026_419_200),
            ("moonlight", 15_960_110_208),
            ("kimi-k2", 1_026_408_232_448),
        ] {
            let shape = Shape::preset(name).expect("is known");
            assert_eq!(shape.n_params(), n_params, "{name}");
        }
    }

    #[test]
    fn presets_are_possible_models() {
        for (name, _, shape) in PRESETS {
            assert_eq!(shape().check(), Ok(()), "{name}");
        }
    }

    #[test]
    fn impossible_settings_are_named() {
        let mut shape = small(Arch::DeepseekV3);
        shape.set("n_routed_experts", "30").expect("is a number");
        let error = shape.check().expect_err("8 groups of 30");
        assert!(error.contains("`n_group` is 8") && error.contains("n_routed_experts"), "{error}");
        assert!(shape.set("n_routed_experts", "many").expect_err("no number").contains("many"));
        assert!(shape.set("head_dim", "64").expect_err("not of this one").contains("qk_nope_head_dim"));
        let mut llama = small(Arch::Llama);
        llama.set("num_key_value_heads", "0").expect("is a number");
        assert!(llama.check().expect_err("no heads").contains("num_key_value_heads"));
    }
}
