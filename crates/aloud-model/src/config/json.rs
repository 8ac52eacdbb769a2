//! A config out of Hugging Face's `config.json`.

use super::{Config, Experts, Latent, RopeScaling, bad, find, yarn_mscale};
use crate::arch::Architecture;
use crate::error::ModelError;
use crate::names::Container;
use aloud_ops::{GroupScore, Scoring};
use serde_json::Value;

impl Config {
    /// From Hugging Face's `config.json`, as published or as transformers 5 writes it (`rope_parameters`).
    ///
    /// # Errors
    /// If it is no JSON, the family is unknown, a field is missing or a value out of bounds.
    pub fn from_json(json: &[u8]) -> Result<Config, ModelError> {
        let json: Value = serde_json::from_slice(json).map_err(|e| ModelError::Config {
            field: "config.json".into(),
            expected: "a JSON object".into(),
            found: e.to_string(),
        })?;
        let name = json["architectures"][0].as_str().unwrap_or("");
        let architecture = find(Container::HuggingFace, name)?;
        check_variant(&json)?;
        let heads = u32_of(&json, "num_attention_heads")?;
        let hidden_size = u32_of(&json, "hidden_size")?;
        let optional = |field: &str, or: u32| if json[field].is_null() { Ok(or) } else { u32_of(&json, field) };
        let rope = if json["rope_parameters"].is_object() { &json["rope_parameters"] } else { &json["rope_scaling"] };
        let theta = [&json["rope_theta"], &rope["rope_theta"]].into_iter().find_map(Value::as_f64);
        let mut config = Config {
            architecture,
            container: Container::HuggingFace,
            vocab_size: u32_of(&json, "vocab_size")?,
            hidden_size,
            num_hidden_layers: u32_of(&json, "num_hidden_layers")?,
            num_attention_heads: heads,
            num_key_value_heads: optional("num_key_value_heads", heads)?,
            head_dim: optional("head_dim", hidden_size.checked_div(heads).unwrap_or(0))?,
            intermediate_size: u32_of(&json, "intermediate_size")?,
            rms_norm_eps: f64_of(&json, "rms_norm_eps", None)? as f32,
            max_position_embeddings: u32_of(&json, "max_position_embeddings")?,
            rope_theta: theta.unwrap_or(10_000.0),
            rope_scaling: json_scaling(rope)?,
            tie_word_embeddings: json["tie_word_embeddings"].as_bool().unwrap_or(false),
            latent: None,
            experts: None,
            num_nextn_predict_layers: optional("num_nextn_predict_layers", 0)?,
        };
        if architecture.latent {
            config.head_dim = u32_of(&json, "qk_rope_head_dim")?;
            config.num_key_value_heads = 1;
            config.latent = Some(latent(&json, rope, &config)?);
            config.experts = experts(&json)?;
        }
        config.checked()
    }
}

/// Refuses what the architecture's name does not tell.
fn check_variant(json: &Value) -> Result<(), ModelError> {
    Architecture::check_variant(json["model_type"].as_str().unwrap_or(""))?;
    let unsupported = |field: &str, found: &Value, supported| {
        Err(ModelError::Unsupported { field: field.into(), found: found.to_string(), supported })
    };
    if !json["index_topk"].is_null() {
        return Architecture::check_variant("deepseek_v32");
    }
    let freq = &json["moe_layer_freq"];
    if freq.as_u64().is_some_and(|n| n != 1) || freq.as_array().is_some_and(|a| a.contains(&Value::from(0))) {
        return unsupported("moe_layer_freq", freq, "1");
    }
    let act = &json["hidden_act"];
    if !act.is_null() && act != "silu" {
        return unsupported("hidden_act", act, "silu");
    }
    let quant = &json["quantization_config"];
    if quant.is_null() {
        return Ok(());
    }
    if quant["quant_method"] != "fp8" {
        return unsupported("quantization_config.quant_method", &quant["quant_method"], "fp8, and GGUF's formats");
    }
    let block = &quant["weight_block_size"];
    if *block != serde_json::json!([128, 128]) {
        return unsupported("quantization_config.weight_block_size", block, "[128, 128]");
    }
    if !quant["fmt"].is_null() && quant["fmt"] != "e4m3" {
        return unsupported("quantization_config.fmt", &quant["fmt"], "e4m3");
    }
    Ok(())
}

fn latent(json: &Value, rope: &Value, config: &Config) -> Result<Latent, ModelError> {
    if json["attention_bias"].as_bool() == Some(true) {
        let (field, found) = ("attention_bias".into(), "true".into());
        return Err(ModelError::Unsupported { field, found, supported: "false with latent attention" });
    }
    let qk_nope_head_dim = u32_of(json, "qk_nope_head_dim")?;
    let magnitude = match config.rope_scaling {
        RopeScaling::Yarn { factor, .. } => yarn_mscale(factor, f64_of(rope, "mscale_all_dim", Some(0.0))?),
        _ => 1.0,
    };
    let qk_head_dim = f64::from(qk_nope_head_dim) + f64::from(config.head_dim);
    Ok(Latent {
        q_lora_rank: if json["q_lora_rank"].is_null() { None } else { Some(u32_of(json, "q_lora_rank")?) },
        kv_lora_rank: u32_of(json, "kv_lora_rank")?,
        qk_nope_head_dim,
        v_head_dim: u32_of(json, "v_head_dim")?,
        scale: magnitude * magnitude / qk_head_dim.sqrt(),
        // transformers makes these norms without the config's number.
        norm_eps: 1e-6,
        kv_b_split: false,
    })
}

fn experts(json: &Value) -> Result<Option<Experts>, ModelError> {
    if json["n_routed_experts"].is_null() {
        return Ok(None);
    }
    let optional = |field: &str, or: u32| if json[field].is_null() { Ok(or) } else { u32_of(json, field) };
    let is_v2 = json["architectures"][0] == "DeepseekV2ForCausalLM";
    let (scoring, method) = if is_v2 { ("softmax", "greedy") } else { ("sigmoid", "noaux_tc") };
    let scoring = match json["scoring_func"].as_str().unwrap_or(scoring) {
        "softmax" => Scoring::Softmax,
        "sigmoid" => Scoring::Sigmoid,
        other => {
            let (field, found) = ("scoring_func".into(), other.into());
            return Err(ModelError::Unsupported { field, found, supported: "softmax and sigmoid" });
        }
    };
    let method = json["topk_method"].as_str().unwrap_or(method);
    let groups = |or| Ok::<_, ModelError>((optional("n_group", or)?.max(1), optional("topk_group", or)?.max(1)));
    let (group_score, bias, (n_group, topk_group)) = match method {
        "greedy" => (GroupScore::Max, false, (1, 1)),
        "group_limited_greedy" => (GroupScore::Max, false, groups(1)?),
        "noaux_tc" => (GroupScore::TopTwoSum, true, groups(1)?),
        other => {
            let (field, found) = ("topk_method".into(), other.into());
            let supported = "greedy, group_limited_greedy and noaux_tc";
            return Err(ModelError::Unsupported { field, found, supported });
        }
    };
    Ok(Some(Experts {
        n_routed_experts: u32_of(json, "n_routed_experts")?,
        num_experts_per_tok: u32_of(json, "num_experts_per_tok")?,
        n_shared_experts: optional("n_shared_experts", 0)?,
        moe_intermediate_size: u32_of(json, "moe_intermediate_size")?,
        first_k_dense_replace: optional("first_k_dense_replace", 0)?,
        scoring,
        group_score,
        n_group,
        topk_group,
        norm_topk_prob: json["norm_topk_prob"].as_bool().unwrap_or(!is_v2),
        routed_scaling_factor: f64_of(json, "routed_scaling_factor", Some(1.0))? as f32,
        bias,
    }))
}

fn u32_of(json: &Value, field: &str) -> Result<u32, ModelError> {
    let wrong = || {
        let found = if json[field].is_null() { "nothing".into() } else { json[field].to_string() };
        bad(field, "a whole number below 2^32".into(), found)
    };
    json[field].as_u64().and_then(|v| u32::try_from(v).ok()).ok_or_else(wrong)
}

fn f64_of(json: &Value, field: &str, default: Option<f64>) -> Result<f64, ModelError> {
    match (&json[field], default) {
        (Value::Null, Some(value)) => Ok(value),
        (value, _) => value.as_f64().filter(|v| v.is_finite()).ok_or_else(|| ModelError::Config {
            field: field.into(),
            expected: "a number".into(),
            found: if value.is_null() { "nothing".into() } else { value.to_string() },
        }),
    }
}

const SCALINGS: &str = "default, linear, llama3 and yarn";

fn json_scaling(rope: &Value) -> Result<RopeScaling, ModelError> {
    let kind = [&rope["rope_type"], &rope["type"]].into_iter().find_map(Value::as_str).unwrap_or("default");
    let number = |field| f64_of(rope, field, None);
    Ok(match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: number("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: number("factor")?,
            low_freq_factor: number("low_freq_factor")?,
            high_freq_factor: number("high_freq_factor")?,
            original_max_position_embeddings: number("original_max_position_embeddings")?,
        },
        "yarn" => {
            let factor = number("factor")?;
            // `attn_factor` is R1-0528-Qwen3-8B's name; it multiplies the usual factor, `attention_factor` replaces it.
            let attention_factor = match rope["attention_factor"].as_f64() {
                Some(whole) => whole,
                // DeepSeek moves the magnitude from cos and sin to the scale of the scores.
                None if rope["mscale"].is_number() && rope["mscale_all_dim"].is_number() => {
                    let [m, all] = ["mscale", "mscale_all_dim"].map(|field| rope[field].as_f64().unwrap_or(1.0));
                    yarn_mscale(factor, m) / yarn_mscale(factor, all)
                }
                None => yarn_mscale(factor, 1.0) * f64_of(rope, "attn_factor", Some(1.0))?,
            };
            RopeScaling::Yarn {
                factor,
                original_max_position_embeddings: number("original_max_position_embeddings")?,
                beta_fast: f64_of(rope, "beta_fast", Some(32.0))?,
                beta_slow: f64_of(rope, "beta_slow", Some(1.0))?,
                attention_factor,
            }
        }
        other => {
            let (field, found) = ("rope_type".into(), other.into());
            return Err(ModelError::Unsupported { field, found, supported: SCALINGS });
        }
    })
}
