//! `config.json` and the metadata of a GGUF file.

use crate::{Arch, Scaling, Shape};
use aloud_format::MetaValue;
use serde_json::{Value, json};

/// How `config.json` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As published: `rope_theta` and `rope_scaling`.
    RopeScaling,
    /// As transformers 5 writes it: `rope_parameters`.
    RopeParameters,
}

impl Shape {
    /// `config.json`.
    #[must_use]
    pub fn config_json(&self, form: Form) -> Value {
        let mut config = json!({ "architectures": [self.arch.class()], "model_type": self.arch.name(),
            "vocab_size": self.vocab_size, "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size, "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads, "num_key_value_heads": self.num_key_value_heads,
            "hidden_act": "silu", "rms_norm_eps": self.rms_norm_eps,
            "max_position_embeddings": self.max_position_embeddings,
            "tie_word_embeddings": self.tie_word_embeddings });
        if self.arch == Arch::Qwen3 {
            config["head_dim"] = json!(self.head_dim);
        }
        if self.arch.is_deepseek() {
            self.put_deepseek(&mut config);
        }
        let mut scaling = self.scaling_json();
        match form {
            Form::RopeScaling => {
                config["rope_theta"] = json!(self.rope_theta);
                // Published configs of the time called it `type`.
                if scaling["rope_type"] == "yarn" {
                    scaling["type"] = scaling["rope_type"].take();
                }
                config["rope_scaling"] = scaling;
            }
            Form::RopeParameters => {
                if scaling.is_null() {
                    scaling = json!({ "rope_type": "default" });
                }
                scaling["rope_theta"] = json!(self.rope_theta);
                config["rope_parameters"] = scaling;
            }
        }
        config
    }

    fn put_deepseek(&self, config: &mut Value) {
        let v3 = self.arch == Arch::DeepseekV3;
        let (method, scores) = match (self.arch, self.n_group) {
            (Arch::DeepseekV3, _) => ("noaux_tc", "sigmoid"),
            (_, 1) => ("greedy", "softmax"),
            _ => ("group_limited_greedy", "softmax"),
        };
        let q_lora_rank = if self.q_lora_rank == 0 { Value::Null } else { json!(self.q_lora_rank) };
        let fields = json!({ "attention_bias": false, "q_lora_rank": q_lora_rank, "kv_lora_rank": self.kv_lora_rank,
            "qk_nope_head_dim": self.qk_nope_head_dim, "qk_rope_head_dim": self.qk_rope_head_dim,
            "v_head_dim": self.v_head_dim, "moe_intermediate_size": self.moe_intermediate_size,
            "n_routed_experts": self.n_routed_experts, "num_experts_per_tok": self.num_experts_per_tok,
            "n_shared_experts": self.n_shared_experts, "first_k_dense_replace": self.first_k_dense_replace,
            "moe_layer_freq": 1, "n_group": self.n_group, "topk_group": self.topk_group, "topk_method": method,
            "scoring_func": scores, "norm_topk_prob": self.norm_topk_prob,
            "routed_scaling_factor": self.routed_scaling_factor });
        if let (Some(to), Value::Object(fields)) = (config.as_object_mut(), fields) {
            to.extend(fields);
        }
        if v3 {
            config["num_nextn_predict_layers"] = json!(self.num_nextn_predict_layers);
        }
    }

    fn scaling_json(&self) -> Value {
        match self.scaling {
            Scaling::None => Value::Null,
            Scaling::Llama3 { original } => json!({ "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": original }),
            Scaling::Yarn { factor, original, attention_factor: None } => json!({ "rope_type": "yarn",
                "factor": factor, "original_max_position_embeddings": original }),
            Scaling::Yarn { factor, original, attention_factor } => json!({ "rope_type": "yarn", "factor": factor,
                "original_max_position_embeddings": original, "attention_factor": attention_factor }),
            Scaling::MlaYarn { factor, original, beta_fast, mscale } => json!({ "rope_type": "yarn",
                "factor": factor, "original_max_position_embeddings": original, "beta_fast": beta_fast,
                "beta_slow": 1.0, "mscale": mscale, "mscale_all_dim": mscale }),
        }
    }

    /// The metadata of a GGUF file but for its tokenizer, as llama.cpp's converter writes it.
    #[must_use]
    pub fn metadata(&self, legacy_kv_b: bool) -> Vec<(String, MetaValue)> {
        let name = self.arch.gguf_name();
        let key = |k: &str| format!("{name}.{k}");
        let count = |k: &str, n: u64| (key(k), MetaValue::U32(u32::try_from(n).unwrap_or(u32::MAX)));
        let float = |k: &str, v: f64| (key(k), MetaValue::F32(v as f32));
        let mut all = vec![
            ("general.architecture".to_owned(), MetaValue::String(name.to_owned())),
            count("block_count", self.n_blocks()),
            count("context_length", self.max_position_embeddings),
            count("embedding_length", self.hidden_size),
            count("feed_forward_length", self.intermediate_size),
            count("attention.head_count", self.num_attention_heads),
            float("attention.layer_norm_rms_epsilon", self.rms_norm_eps),
            float("rope.freq_base", self.rope_theta),
        ];
        if self.arch.is_deepseek() {
            let (rank, rope) = (self.kv_lora_rank, self.qk_rope_head_dim);
            let (key_mla, value_mla) = (self.qk_nope_head_dim + rope, self.v_head_dim);
            all.extend([count("vocab_size", self.vocab_size), count("attention.kv_lora_rank", rank)]);
            if legacy_kv_b {
                all.push(count("attention.head_count_kv", self.num_attention_heads));
                all.extend([count("attention.key_length", key_mla), count("attention.value_length", value_mla)]);
            } else {
                all.push(count("attention.head_count_kv", 1));
                all.extend([count("attention.key_length", rank + rope), count("attention.value_length", rank)]);
                all.push(count("attention.key_length_mla", key_mla));
                all.push(count("attention.value_length_mla", value_mla));
            }
            all.extend(self.expert_metadata(&count, &float));
        } else {
            all.push(count("attention.head_count_kv", self.num_key_value_heads));
            all.extend([count("attention.key_length", self.head_dim), count("attention.value_length", self.head_dim)]);
        }
        all.extend(self.scaling_metadata(&count, &float));
        all
    }

    fn expert_metadata(
        &self,
        count: &impl Fn(&str, u64) -> (String, MetaValue),
        float: &impl Fn(&str, f64) -> (String, MetaValue),
    ) -> Vec<(String, MetaValue)> {
        let mut all = vec![
            count("rope.dimension_count", self.qk_rope_head_dim),
            count("leading_dense_block_count", self.first_k_dense_replace),
            count("expert_count", self.n_routed_experts),
            count("expert_used_count", self.num_experts_per_tok),
            count("expert_shared_count", self.n_shared_experts),
            count("expert_feed_forward_length", self.moe_intermediate_size),
            float("expert_weights_scale", self.routed_scaling_factor),
            count("expert_gating_func", if self.arch == Arch::DeepseekV3 { 2 } else { 1 }),
        ];
        if self.q_lora_rank > 0 {
            all.push(count("attention.q_lora_rank", self.q_lora_rank));
        }
        if self.norm_topk_prob {
            all.push((format!("{}.expert_weights_norm", self.arch.gguf_name()), MetaValue::Bool(true)));
        }
        if self.n_group > 1 {
            all.extend([count("expert_group_count", self.n_group), count("expert_group_used_count", self.topk_group)]);
        }
        if self.num_nextn_predict_layers > 0 {
            all.push(count("nextn_predict_layers", self.num_nextn_predict_layers));
        }
        all
    }

    fn scaling_metadata(
        &self,
        count: &impl Fn(&str, u64) -> (String, MetaValue),
        float: &impl Fn(&str, f64) -> (String, MetaValue),
    ) -> Vec<(String, MetaValue)> {
        let (factor, original) = match self.scaling {
            // Llama's file holds the divisors of the frequencies instead.
            Scaling::None | Scaling::Llama3 { .. } => return Vec::new(),
            Scaling::Yarn { factor, original, .. } | Scaling::MlaYarn { factor, original, .. } => (factor, original),
        };
        let kind = format!("{}.rope.scaling.type", self.arch.gguf_name());
        let mut all = vec![
            (kind, MetaValue::String("yarn".to_owned())),
            float("rope.scaling.factor", factor),
            count("rope.scaling.original_context_length", original),
        ];
        match self.scaling {
            Scaling::Yarn { attention_factor: Some(whole), .. } => {
                all.push(float("rope.scaling.attn_factor", whole / (0.1 * factor.ln() + 1.0)));
            }
            Scaling::MlaYarn { beta_fast, mscale, .. } => {
                all.push(float("rope.scaling.yarn_log_multiplier", 0.1 * mscale));
                if beta_fast != 32.0 {
                    all.push(float("rope.scaling.yarn_beta_fast", beta_fast));
                }
            }
            _ => {}
        }
        all
    }

    /// The tensor `rope_freqs.weight` that Llama's files have, `[C / 2]`: what llama3 scaling divides each frequency by.
    #[must_use]
    pub fn rope_divisors(&self) -> Option<Vec<f32>> {
        let Scaling::Llama3 { original } = self.scaling else { return None };
        let (original, turn) = (original as f64, 2.0 * std::f64::consts::PI);
        let divisor = |i: u64| {
            let wavelength = turn * self.rope_theta.powf(2.0 * i as f64 / self.head_dim as f64);
            if wavelength < original / 4.0 {
                1.0
            } else if wavelength > original {
                8.0
            } else {
                let smooth = (original / wavelength - 1.0) / 3.0;
                (1.0 / ((1.0 - smooth) / 8.0 + smooth)) as f32
            }
        };
        Some((0..self.head_dim / 2).map(divisor).collect())
    }
}
