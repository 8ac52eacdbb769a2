//! The tiny DeepSeek models: their generator, their goldens, and what their files hold.

use aloud_format::{DType, Gguf, MetaValue, Metadata, TensorSet, dequantize};
use aloud_tests::places::worst_error;
use aloud_tests::tiny::{Family, Form, Fp8Scales, Tiny, Written, check_golden, golden, mtp_golden, values};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Numbers that were computed by another program than the goldens: NumPy in f64.
#[test]
fn the_goldens_agree_with_an_independent_computation() {
    let v2 = [-1.78847, -0.46742, 0.44235, -0.59964, -1.20896, 1.83486, 1.08772, 1.52932];
    let v3 = [1.22907, 0.38452, -1.15631, 0.78468, -0.48709, 0.33030, 1.13521, 0.32883];
    let mtp = [-0.411_311, -0.805_490, 1.449_469, 0.435_322, -0.209_518, -0.846_922, -1.619_513, 0.663_361];
    let known = [
        ("DeepSeek-V2-Lite", golden("deepseek_v2_lite"), [224, 224, 28, 224, 224, 249, 3, 224], 15.64776, v2),
        ("DeepSeek-V3", golden("deepseek_v3"), [37, 28, 28, 172, 175, 84, 70, 157], 16.19010, v3),
        ("its prediction layer", mtp_golden(), [81, 197, 46, 235, 58, 220, 162, 63], 15.778_295, mtp),
    ];
    for (name, golden, ids, norm, first) in known {
        check_golden(name, &golden, &ids, norm, &first);
    }
}

/// A test would not see scaling that is left out if it made no difference.
#[test]
fn scaling_matters_to_models_trained_on_little() {
    for name in ["deepseek_v2_lite", "deepseek_v2", "deepseek_v3"] {
        let difference = worst_error(&golden(&format!("{name}_short")), &golden(name));
        assert!(difference > 0.05, "{name}: {difference}");
    }
}

#[test]
fn routers_and_their_biases_have_their_own_scale() {
    let most = |values: Vec<f32>| values.iter().fold(0f32, |a, v| a.max(v.abs()));
    let gate = most(values("model.layers.1.mlp.gate.weight", &[16, 128]));
    let bias = most(values("model.layers.1.mlp.gate.e_score_correction_bias", &[16]));
    assert!((0.3..0.36).contains(&gate), "v * 4 / sqrt(128): {gate}");
    assert!((0.05..0.1).contains(&bias), "v * 0.1: {bias}");
}

#[test]
fn the_models_have_as_many_parameters_as_transformers_counts() {
    for (family, n_params) in [
        (Family::Llama, 361_088),
        (Family::Qwen2, 361_600),
        (Family::Qwen3, 459_648),
        (Family::DeepseekV2Lite, 1_256_512),
        (Family::DeepseekV3, 1_226_112),
    ] {
        assert_eq!(Tiny::new(family).shape().n_params(), n_params, "{family:?}");
    }
}

/// Names as in `gguf-py/gguf/constants.py` and `model.safetensors.index.json` of DeepSeek's repositories.
#[test]
fn tensors_have_the_names_of_published_files() {
    let v3 = Tiny { mtp: true, ..Tiny::new(Family::DeepseekV3) };
    let folder = v3.write_safetensors(Form::RopeScaling, DType::F32, 1).tensors();
    let mut expected: BTreeSet<String> =
        ["model.embed_tokens", "model.norm", "lm_head"].map(|n| format!("{n}.weight")).into();
    for layer in 0..4 {
        let common = "input_layernorm post_attention_layernorm self_attn.q_a_proj self_attn.q_a_layernorm \
            self_attn.q_b_proj self_attn.kv_a_proj_with_mqa self_attn.kv_a_layernorm self_attn.kv_b_proj \
            self_attn.o_proj";
        let mut names: Vec<String> = common.split_whitespace().map(str::to_owned).collect();
        let projections = |prefix: &str| ["gate", "up", "down"].map(|p| format!("{prefix}.{p}_proj"));
        if layer == 0 {
            names.extend(projections("mlp"));
        } else {
            names.push("mlp.gate".to_owned());
            names.extend(projections("mlp.shared_experts"));
            (0..16).for_each(|e| names.extend(projections(&format!("mlp.experts.{e}"))));
            expected.insert(format!("model.layers.{layer}.mlp.gate.e_score_correction_bias"));
        }
        if layer == 3 {
            let own = "enorm hnorm eh_proj shared_head.norm shared_head.head embed_tokens";
            names.extend(own.split_whitespace().map(str::to_owned));
        }
        expected.extend(names.iter().map(|name| format!("model.layers.{layer}.{name}.weight")));
    }
    assert_eq!(names(&folder), expected);

    let gguf = v3.write_gguf(DType::F32, 1).tensors();
    let mut expected: BTreeSet<String> = ["token_embd", "output_norm", "output"].map(|n| format!("{n}.weight")).into();
    for layer in 0..4 {
        let common = "attn_norm ffn_norm attn_q_a attn_q_a_norm attn_q_b attn_kv_a_mqa attn_kv_a_norm attn_k_b \
            attn_v_b attn_output ";
        let own = match layer {
            0 => "ffn_gate ffn_up ffn_down",
            _ => {
                expected.insert(format!("blk.{layer}.exp_probs_b.bias"));
                "ffn_gate_inp ffn_gate_exps ffn_up_exps ffn_down_exps ffn_gate_shexp ffn_up_shexp ffn_down_shexp"
            }
        };
        let last = if layer == 3 { " nextn.eh_proj nextn.enorm nextn.hnorm nextn.shared_head_norm" } else { "" };
        let all = [common, own, last].concat();
        expected.extend(all.split_whitespace().map(|name| format!("blk.{layer}.{name}.weight")));
    }
    assert_eq!(names(&gguf), expected);
    assert_eq!(gguf.get("blk.1.ffn_gate_exps.weight").expect("is there").shape, [16, 64, 128]);
    assert_eq!(gguf.get("blk.1.ffn_down_exps.weight").expect("is there").shape, [16, 128, 64]);
    assert_eq!(gguf.get("blk.0.attn_k_b.weight").expect("is there").shape, [4, 64, 32]);
    assert_eq!(gguf.get("blk.0.attn_v_b.weight").expect("is there").shape, [4, 32, 64]);
    let lite = Tiny::new(Family::DeepseekV2Lite).write_gguf(DType::F32, 1).tensors();
    assert_eq!(lite.get("blk.0.attn_q.weight").expect("is there").shape, [4 * 48, 128]);
    assert!(names(&lite).iter().all(|name| !name.contains("q_a") && !name.contains("exp_probs_b")));
}

fn names(tensors: &TensorSet) -> BTreeSet<String> {
    tensors.iter().map(|tensor| tensor.name.clone()).collect()
}

/// The values of a tensor, read back.
fn read(written: &Written, name: &str) -> Vec<f32> {
    let tensors = written.tensors();
    let info = tensors.get(name).unwrap_or_else(|| panic!("{name} is there"));
    let mut bytes = vec![0; info.n_bytes as usize];
    let source = match written {
        Written::Gguf(parts) => &parts[info.file],
        Written::HuggingFace { files, .. } => &files[info.file].1,
    };
    pollster::block_on(info.read(source, &mut bytes)).expect("reads");
    let mut values = vec![0.0; info.shape.iter().product::<u64>() as usize];
    dequantize(info.dtype, &bytes, &mut values).expect("is whole blocks");
    values
}

#[test]
fn gguf_holds_the_checkpoint_transformed() {
    let tiny = Tiny::new(Family::DeepseekV2);
    let (new, legacy) = (tiny.write_gguf(DType::F32, 3), Tiny { legacy_kv_b: true, ..tiny }.write_gguf(DType::F32, 1));
    // Each head has 32 rows of keys and 32 of values, 64 wide.
    let kv_b = values("model.layers.2.self_attn.kv_b_proj.weight", &[4 * 64, 64]);
    assert_eq!(read(&legacy, "blk.2.attn_kv_b.weight"), kv_b);
    let (k_b, v_b) = (read(&new, "blk.2.attn_k_b.weight"), read(&new, "blk.2.attn_v_b.weight"));
    for (head, rank, n) in [(0, 0, 0), (1, 5, 31), (3, 63, 7)] {
        assert_eq!(k_b[(head * 64 + rank) * 32 + n], kv_b[(head * 64 + n) * 64 + rank]);
        assert_eq!(v_b[(head * 32 + n) * 64 + rank], kv_b[(head * 64 + 32 + n) * 64 + rank]);
    }
    let expert = values("model.layers.1.mlp.experts.5.down_proj.weight", &[128, 64]);
    assert_eq!(read(&new, "blk.1.ffn_down_exps.weight")[5 * 128 * 64..][..128 * 64], expert);
    let folder = tiny.write_safetensors(Form::RopeParameters, DType::F32, 4);
    assert_eq!(read(&folder, "model.layers.1.mlp.experts.5.down_proj.weight"), expert);
}

/// Rows of 32 and 64 are no super-blocks; the router, norms and biases stay F32.
#[test]
fn formats_are_those_that_llama_cpp_would_take() {
    let tensors = Tiny::for_quants(Family::DeepseekV3).write_gguf(DType::Q4_K, 1).tensors();
    for (name, dtype) in [
        ("blk.1.ffn_down_exps.weight", DType::Q4_K),
        ("blk.1.attn_v_b.weight", DType::Q4_K),
        ("blk.1.attn_k_b.weight", DType::Q5_0),
        ("blk.1.ffn_gate_inp.weight", DType::F32),
        ("blk.1.exp_probs_b.bias", DType::F32),
        ("blk.1.attn_kv_a_norm.weight", DType::F32),
    ] {
        assert_eq!(tensors.get(name).expect("is there").dtype, dtype, "{name}");
    }
    let folder = Tiny::for_quants(Family::DeepseekV3).write_safetensors(Form::RopeScaling, DType::BF16, 2).tensors();
    for (name, dtype) in
        [("model.norm.weight", DType::BF16), ("model.layers.1.mlp.gate.e_score_correction_bias", DType::F32)]
    {
        assert_eq!(folder.get(name).expect("is there").dtype, dtype, "{name}");
    }
}

fn metadata(tiny: Tiny) -> Metadata {
    let Written::Gguf(parts) = tiny.write_gguf(DType::F32, 1) else { panic!("is a GGUF file") };
    pollster::block_on(Gguf::open(&parts[0])).expect("opens").metadata
}

#[test]
fn metadata_says_what_llama_cpp_reads() {
    let v3 = metadata(Tiny { mtp: true, ..Tiny::new(Family::DeepseekV3) });
    assert_eq!(v3.str("general.architecture").expect("is there"), "deepseek2");
    for (key, value) in [
        ("block_count", 4),
        ("nextn_predict_layers", 1),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 1),
        ("attention.q_lora_rank", 96),
        ("attention.kv_lora_rank", 64),
        ("attention.key_length", 80),
        ("attention.value_length", 64),
        ("attention.key_length_mla", 48),
        ("attention.value_length_mla", 32),
        ("rope.dimension_count", 16),
        ("leading_dense_block_count", 1),
        ("expert_count", 16),
        ("expert_used_count", 4),
        ("expert_shared_count", 1),
        ("expert_feed_forward_length", 64),
        ("expert_gating_func", 2),
        ("expert_group_count", 4),
        ("expert_group_used_count", 2),
        ("rope.scaling.original_context_length", 4096),
    ] {
        assert_eq!(v3.u32(&format!("deepseek2.{key}")).expect(key), value, "{key}");
    }
    for (key, value) in
        [("expert_weights_scale", 2.5), ("rope.scaling.factor", 40.0), ("rope.scaling.yarn_log_multiplier", 0.1)]
    {
        assert_eq!(v3.f32(&format!("deepseek2.{key}")).expect(key), value, "{key}");
    }
    assert_eq!(v3.get("deepseek2.expert_weights_norm"), Some(&MetaValue::Bool(true)));

    let lite = metadata(Tiny { legacy_kv_b: true, ..Tiny::new(Family::DeepseekV2Lite) });
    for (key, value) in [
        ("block_count", 3),
        ("attention.head_count_kv", 4),
        ("attention.key_length", 48),
        ("attention.value_length", 32),
        ("expert_gating_func", 1),
    ] {
        assert_eq!(lite.u32(&format!("deepseek2.{key}")).expect(key), value, "{key}");
    }
    assert_eq!(lite.f32("deepseek2.rope.scaling.yarn_log_multiplier").expect("is there"), 0.0707);
    for key in ["attention.key_length_mla", "attention.q_lora_rank", "expert_weights_norm", "nextn_predict_layers"] {
        assert!(lite.get(&format!("deepseek2.{key}")).is_none(), "{key}");
    }
}

#[test]
fn config_json_has_the_fields_of_published_ones() {
    let config = |tiny: Tiny, form| -> Value {
        let Written::HuggingFace { config, .. } = tiny.write_safetensors(form, DType::F32, 1) else {
            panic!("is a folder")
        };
        serde_json::from_slice(&config).expect("is JSON")
    };
    let v3 = config(Tiny { mtp: true, ..Tiny::new(Family::DeepseekV3) }, Form::RopeScaling);
    assert_eq!(v3["architectures"][0], "DeepseekV3ForCausalLM");
    assert_eq!(v3["num_hidden_layers"], 3);
    assert_eq!(v3["num_nextn_predict_layers"], 1);
    assert_eq!((&v3["topk_method"], &v3["scoring_func"]), (&json!("noaux_tc"), &json!("sigmoid")));
    assert_eq!((&v3["rope_scaling"]["type"], &v3["rope_scaling"]["mscale_all_dim"]), (&json!("yarn"), &json!(1.0)));
    let lite = config(Tiny::new(Family::DeepseekV2Lite), Form::RopeParameters);
    assert_eq!((&lite["q_lora_rank"], &lite["topk_method"]), (&Value::Null, &json!("greedy")));
    assert_eq!(lite["rope_parameters"]["rope_theta"], 1e4);
    let v2 = config(Tiny::new(Family::DeepseekV2), Form::RopeParameters);
    assert_eq!((&v2["topk_method"], &v2["routed_scaling_factor"]), (&json!("group_limited_greedy"), &json!(16.0)));
}

/// What is FP8 in DeepSeek's own files: `inference/fp8_cast_bf16.py` and `README_WEIGHTS.md` of DeepSeek-V3.
#[test]
fn fp8_checkpoints_hold_what_published_ones_hold() {
    let tiny = Tiny { mtp: true, ..Tiny::for_quants(Family::DeepseekV3) };
    for (scales, dtype) in
        [(Fp8Scales::F32, DType::F32), (Fp8Scales::PowersOfTwo, DType::F32), (Fp8Scales::E8M0, DType::F8_E8M0)]
    {
        let written = tiny.write_fp8(Form::RopeScaling, scales, 2);
        let tensors = written.tensors();
        let of = |name: &str| tensors.get(name).unwrap_or_else(|| panic!("{name} is there"));
        let name = "model.layers.1.self_attn.kv_a_proj_with_mqa.weight";
        assert_eq!((of(name).dtype, of(name).shape.as_slice()), (DType::F8_E4M3, [288, 256].as_slice()));
        let grid = of(&format!("{name}_scale_inv"));
        assert_eq!((grid.dtype, grid.shape.as_slice()), (dtype, [3, 2].as_slice()));
        for (name, dtype) in [
            ("model.embed_tokens.weight", DType::BF16),
            ("lm_head.weight", DType::BF16),
            ("model.layers.1.mlp.gate.weight", DType::BF16),
            ("model.layers.3.eh_proj.weight", DType::BF16),
            ("model.layers.1.self_attn.q_a_layernorm.weight", DType::BF16),
            ("model.layers.1.mlp.gate.e_score_correction_bias", DType::F32),
            ("model.layers.0.mlp.down_proj.weight", DType::F8_E4M3),
            ("model.layers.1.mlp.experts.7.up_proj.weight", DType::F8_E4M3),
        ] {
            assert_eq!(of(name).dtype, dtype, "{name}");
        }
        // The values come back: 4 significant bits, so 2^-4 of each, and less of the sum.
        let (codes, grid) = (read(&written, name), read(&written, &format!("{name}_scale_inv")));
        let back: Vec<f32> =
            codes.iter().enumerate().map(|(i, v)| v * grid[i / 256 / 128 * 2 + i % 256 / 128]).collect();
        let error = aloud_tests::relative_error(&back, &values(name, &[288, 256]));
        assert!(error < 0.04, "{scales:?}: {error}");
        if scales != Fp8Scales::F32 {
            assert!(grid.iter().all(|v| v.log2().fract() == 0.0), "powers of two");
        }
        let Written::HuggingFace { config, .. } = &written else { panic!("is a folder") };
        let config: Value = serde_json::from_slice(config).expect("is JSON");
        let quantization = &config["quantization_config"];
        assert_eq!(quantization["weight_block_size"], json!([128, 128]));
        assert_eq!(quantization["scale_fmt"] == "ue8m0", scales != Fp8Scales::F32);
    }
}
