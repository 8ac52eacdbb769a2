//! Numbers of published models, and what is refused.

use super::*;
use crate::rope::frequencies;
use serde_json::{Value, json};

/// The parts of DeepSeek-V3's and R1's `config.json` that matter.
fn v3() -> Value {
    json!({ "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "vocab_size": 129_280,
        "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_hidden_layers": 61,
        "num_attention_heads": 128, "num_key_value_heads": 128, "n_shared_experts": 1, "n_routed_experts": 256,
        "ep_size": 1, "routed_scaling_factor": 2.5, "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64,
        "v_head_dim": 128, "qk_nope_head_dim": 128, "topk_method": "noaux_tc", "n_group": 8, "topk_group": 4,
        "num_experts_per_tok": 8, "moe_layer_freq": 1, "first_k_dense_replace": 3, "norm_topk_prob": true,
        "scoring_func": "sigmoid", "hidden_act": "silu", "max_position_embeddings": 163_840, "rms_norm_eps": 1e-6,
        "rope_theta": 10000, "attention_bias": false, "tie_word_embeddings": false, "num_nextn_predict_layers": 1,
        "rope_scaling": { "beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
            "original_max_position_embeddings": 4096, "type": "yarn" },
        "quantization_config": { "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
            "weight_block_size": [128, 128] } })
}

fn with(mut config: Value, changes: Value) -> Value {
    for (field, value) in changes.as_object().expect("an object") {
        config[field] = value.clone();
    }
    config
}

fn v2_lite() -> Value {
    with(
        v3(),
        json!({ "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "vocab_size": 102_400,
            "hidden_size": 2048, "intermediate_size": 10944, "moe_intermediate_size": 1408, "num_hidden_layers": 27,
            "num_attention_heads": 16, "num_key_value_heads": 16, "n_shared_experts": 2, "n_routed_experts": 64,
            "routed_scaling_factor": 1.0, "q_lora_rank": null, "topk_method": "greedy", "n_group": 1, "topk_group": 1,
            "num_experts_per_tok": 6, "first_k_dense_replace": 1, "norm_topk_prob": false, "scoring_func": "softmax",
            "num_nextn_predict_layers": null, "quantization_config": null,
            "rope_scaling": { "beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707,
                "mscale_all_dim": 0.707, "original_max_position_embeddings": 4096, "type": "yarn" } }),
    )
}

fn moonlight() -> Value {
    with(v3(), json!({ "num_attention_heads": 16, "rope_scaling": null, "rope_theta": 50000.0, "q_lora_rank": null }))
}

fn kimi_k2() -> Value {
    with(
        v3(),
        json!({ "model_type": "kimi_k2", "num_attention_heads": 64, "rope_theta": 50000.0, "n_routed_experts": 384,
            "n_group": 1, "topk_group": 1, "routed_scaling_factor": 2.827, "num_nextn_predict_layers": 0,
            "rope_scaling": { "beta_fast": 1.0, "beta_slow": 1.0, "factor": 32.0, "mscale": 1.0, "mscale_all_dim": 1.0,
                "original_max_position_embeddings": 4096, "type": "yarn" } }),
    )
}

fn parse(json: &Value) -> Result<Config, ModelError> {
    Config::from_json(&serde_json::to_vec(json).expect("is JSON"))
}

fn read(json: &Value) -> Config {
    parse(json).expect("is a config")
}

#[test]
fn the_scale_of_scores_has_yarns_magnitude_in_it() {
    assert!((yarn_mscale(40.0, 1.0) - 1.368_887_945_411_393_6).abs() < 1e-15);
    assert!((yarn_mscale(40.0, 0.707) - 1.260_803_777_405_855_4).abs() < 1e-15);
    assert!((yarn_mscale(32.0, 1.0) - 1.346_573_590_279_972_7).abs() < 1e-15);
    let scales = [
        (v3(), 0.135_233_778_860_880_1),
        (v2_lite(), 0.114_721_386_792_926_11),
        (kimi_k2(), 0.130_860_799_962_950_05),
        (moonlight(), 0.072_168_783_648_703_22),
    ];
    for (json, expected) in scales {
        let config = read(&json);
        let scale = config.latent.expect("is latent").scale;
        assert!((scale / expected - 1.0).abs() < 1e-14, "{scale} is not {expected}");
        if let RopeScaling::Yarn { attention_factor, .. } = config.rope_scaling {
            assert_eq!(attention_factor, 1.0, "cos and sin stay as they are");
        }
    }
}

#[test]
fn rotary_frequencies_are_the_published_ones() {
    let at = [0, 1, 9, 10, 11, 15, 16, 20, 22, 23, 24, 31];
    let v3_expected = [
        1.0,
        0.749_894_209,
        0.074_989_420_9,
        0.056_234_132_5,
        0.039_006_926_6,
        0.008_334_508_95,
        0.0055,
        0.000_790_569_415,
        0.000_177_827_941,
        3.333_803_58e-5,
        2.5e-5,
        3.333_803_58e-6,
    ];
    let k2_expected = [
        1.0,
        0.713_111_085,
        0.047_688_612_4,
        0.034_007_278_2,
        0.024_250_967,
        0.006_271_303_38,
        0.004_472_135_95,
        3.614_046_77e-5,
        1.837_841_88e-5,
        1.310_585_42e-5,
        9.345_929_88e-6,
        8.764_412_91e-7,
    ];
    for (json, expected) in [(v3(), v3_expected), (kimi_k2(), k2_expected)] {
        let got = frequencies(&read(&json), None);
        for (i, expected) in at.into_iter().zip(expected) {
            assert!((got[i] / expected - 1.0).abs() < 1e-8, "pair {i}: {} is not {expected}", got[i]);
        }
    }
}

#[test]
fn experts_are_chosen_as_the_family_does() {
    let experts = |json: &Value| read(json).experts.expect("has experts");
    let v3 = experts(&v3());
    assert_eq!(
        (v3.scoring, v3.group_score, v3.n_group, v3.topk_group),
        (Scoring::Sigmoid, GroupScore::TopTwoSum, 8, 4)
    );
    assert!(v3.bias && v3.norm_topk_prob);
    let lite = experts(&v2_lite());
    assert_eq!((lite.scoring, lite.n_group, lite.norm_topk_prob, lite.bias), (Scoring::Softmax, 1, false, false));
    let limited = with(v2_lite(), json!({ "topk_method": "group_limited_greedy", "n_group": 8, "topk_group": 3 }));
    let v2 = experts(&limited);
    assert_eq!((v2.group_score, v2.n_group, v2.topk_group), (GroupScore::Max, 8, 3));
    assert_eq!(read(&v2_lite()).cache_width(), 576);
    assert_eq!(read(&kimi_k2()).num_nextn_predict_layers, 0);
}

#[test]
fn what_cannot_be_run_is_refused_by_name() {
    let refused = [
        (json!({ "architectures": ["DeepseekV32ForCausalLM"] }), "sparse attention"),
        (json!({ "model_type": "deepseek_v32" }), "sparse attention"),
        (json!({ "index_topk": 2048 }), "sparse attention"),
        (json!({ "architectures": ["DeepseekV4ForCausalLM"] }), "hyper-connections"),
        (json!({ "quantization_config": { "quant_method": "compressed-tensors" } }), "compressed-tensors"),
        (json!({ "quantization_config": { "quant_method": "fp8", "weight_block_size": [64, 64] } }), "[64,64]"),
        (json!({ "moe_layer_freq": 2 }), "moe_layer_freq"),
        (json!({ "hidden_act": "gelu" }), "gelu"),
        (json!({ "topk_method": "other" }), "topk_method"),
        (json!({ "scoring_func": "other" }), "scoring_func"),
        (json!({ "attention_bias": true }), "attention_bias"),
        (json!({ "kv_lora_rank": 500 }), "kv_lora_rank"),
        (json!({ "n_group": 7 }), "n_group"),
        (json!({ "num_experts_per_tok": 200 }), "num_experts_per_tok"),
        (json!({ "kv_lora_rank": null }), "kv_lora_rank"),
        (json!({ "num_nextn_predict_layers": 4_000_000_000u32 }), "num_nextn_predict_layers"),
        (json!({ "n_shared_experts": 4_294_967_295u32 }), "n_shared_experts"),
    ];
    for (changes, word) in refused {
        let error = parse(&with(v3(), changes)).expect_err(word).to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
}
