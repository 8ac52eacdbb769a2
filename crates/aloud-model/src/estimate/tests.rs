//! The published and counted sizes of every model of the family.

use super::*;
use serde_json::{Value, json};

const GIB: f64 = (1u64 << 30) as f64;
const GB: u64 = 1_000_000_000;

fn config(json: Value) -> Config {
    Config::from_json(json.to_string().as_bytes()).expect("is a config")
}

/// `[hidden, layers, heads, kv heads, head_dim, intermediate, vocab]`.
fn dense(class: &str, [d, l, h, k, c, f, v]: [u32; 7]) -> Config {
    config(json!({
        "architectures": [class], "hidden_size": d, "num_hidden_layers": l, "num_attention_heads": h,
        "num_key_value_heads": k, "head_dim": c, "intermediate_size": f, "vocab_size": v,
        "rms_norm_eps": 1e-6, "max_position_embeddings": 131_072, "tie_word_embeddings": false,
    }))
}

/// `[hidden, layers, heads, q_lora_rank or 0, intermediate, first_k_dense, moe_intermediate, routed, top-k, shared, vocab]`.
fn latent(class: &str, [d, l, h, q, f, k, i, e, t, s, v]: [u32; 11]) -> Config {
    let v3 = class.contains("V3");
    config(json!({
        "architectures": [class], "hidden_size": d, "num_hidden_layers": l, "num_attention_heads": h,
        "q_lora_rank": if q == 0 { Value::Null } else { json!(q) }, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64, "v_head_dim": 128, "intermediate_size": f, "first_k_dense_replace": k,
        "moe_intermediate_size": i, "n_routed_experts": e, "num_experts_per_tok": t, "n_shared_experts": s,
        "vocab_size": v, "rms_norm_eps": 1e-6, "max_position_embeddings": 163_840, "n_group": 1, "topk_group": 1,
        "scoring_func": if v3 { "sigmoid" } else { "softmax" }, "topk_method": if v3 { "noaux_tc" } else { "greedy" },
        "norm_topk_prob": v3, "routed_scaling_factor": 1.0, "num_nextn_predict_layers": u32::from(v3),
    }))
}

fn r1() -> Config {
    latent("DeepseekV3ForCausalLM", [7168, 61, 128, 1536, 18432, 3, 2048, 256, 8, 1, 129_280])
}

fn v2_lite() -> Config {
    latent("DeepseekV2ForCausalLM", [2048, 27, 16, 0, 10944, 1, 1408, 64, 6, 2, 102_400])
}

struct Row {
    name: &'static str,
    config: Config,
    parameters: u64,
    /// GiB in F16, Q8_0, Q4_K_M and Q4_0.
    gib: [f64; 4],
    kv_bytes: u64,
    gflop: f64,
    kv_mflop: f64,
}

fn row(
    name: &'static str,
    config: Config,
    parameters: u64,
    gib: [f64; 4],
    kv_bytes: u64,
    gflop: f64,
    kv_mflop: f64,
) -> Row {
    Row { name, config, parameters, gib, kv_bytes, gflop, kv_mflop }
}

fn rows() -> Vec<Row> {
    let (qwen2, qwen3, llama) = ("Qwen2ForCausalLM", "Qwen3ForCausalLM", "LlamaForCausalLM");
    let (v2, v3) = ("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM");
    let q15 = dense(qwen2, [1536, 28, 12, 2, 128, 8960, 151_936]);
    let q7 = dense(qwen2, [3584, 28, 28, 4, 128, 18944, 152_064]);
    let l8 = dense(llama, [4096, 32, 32, 8, 128, 14336, 128_256]);
    let q8 = dense(qwen3, [4096, 36, 32, 8, 128, 12288, 151_936]);
    let q14 = dense(qwen2, [5120, 48, 40, 8, 128, 13824, 152_064]);
    let q32 = dense(qwen2, [5120, 64, 40, 8, 128, 27648, 152_064]);
    let l70 = dense(llama, [8192, 80, 64, 8, 128, 28672, 128_256]);
    let moonlight = latent(v3, [2048, 27, 16, 0, 11264, 1, 1408, 64, 6, 2, 163_840]);
    let v2_236b = latent(v2, [5120, 60, 128, 1536, 12288, 1, 1536, 160, 6, 2, 102_400]);
    let k2 = latent(v3, [7168, 61, 64, 1536, 18432, 1, 2048, 384, 8, 1, 163_840]);
    vec![
        row("Qwen 1.5B", q15, 1_777_088_000, [3.31, 1.76, 1.04, 0.99], 28_672, 3.09, 0.172),
        row("Qwen 7B", q7, 7_615_616_512, [14.19, 7.54, 4.36, 4.12], 57_344, 14.1, 0.401),
        row("Llama 8B", l8, 8_030_261_248, [14.96, 7.95, 4.58, 4.33], 131_072, 15.0, 0.524),
        row("Qwen3 8B", q8, 8_190_735_360, [15.26, 8.11, 4.68, 4.44], 147_456, 15.1, 0.590),
        row("Qwen 14B", q14, 14_770_033_664, [27.51, 14.62, 8.37, 7.93], 196_608, 28.0, 0.983),
        row("Qwen 32B", q32, 32_763_876_352, [61.03, 32.42, 18.48, 17.35], 262_144, 64.0, 1.31),
        row("Llama 70B", l70, 70_553_706_496, [131.42, 69.82, 39.59, 37.22], 327_680, 139.0, 2.62),
        row("V2-Lite", v2_lite(), 15_706_484_224, [29.26, 15.55, 9.65, 8.29], 31_104, 4.9, 0.94),
        row("Moonlight", moonlight, 15_960_110_208, [29.73, 15.80, 9.81, 8.45], 31_104, 5.2, 0.94),
        row("V2", v2_236b, 235_741_434_880, [439.0, 233.0, 132.7, 123.8], 69_120, 41.7, 16.71),
        row("V3, R1", r1(), 671_026_419_200, [1250.0, 664.3, 376.7, 352.1], 70_272, 73.3, 16.99),
        row("Kimi-K2", k2, 1_026_408_232_448, [1912.0, 1016.0, 578.0, 538.5], 70_272, 63.4, 8.5),
    ]
}

#[test]
fn sizes_and_costs_are_those_that_are_known() {
    for row in rows() {
        let mixes = ["F16", "Q8_0", "Q4_K_M", "Q4_0"].map(|name| Mix::find(name).expect("is known"));
        for (mix, gib) in mixes.into_iter().zip(row.gib) {
            let e = Estimate::of(&row.config, mix, Elem::F16);
            let found = e.weight_bytes as f64 / GIB;
            // The figures are given with two to four digits.
            let digits = if gib >= 200.0 {
                0.5
            } else if gib >= 100.0 {
                0.09
            } else {
                0.006
            };
            assert!((found - gib).abs() <= digits, "{} {}: {found:.3} GiB, {gib} known", row.name, mix.name());
            assert_eq!((e.parameters, e.kv_bytes), (row.parameters, row.kv_bytes), "{}", row.name);
            let close = |found: u64, known: f64| (found as f64 / known - 1.0).abs() < 0.009;
            assert!(close(e.flops, row.gflop * 1e9), "{}: {} FLOP", row.name, e.flops);
            assert!(close(e.kv_flops, row.kv_mflop * 1e6), "{}: {} FLOP per cached token", row.name, e.kv_flops);
            assert_eq!(e.layer_bytes.iter().sum::<u64>(), e.weight_bytes, "{}", row.name);
        }
    }
}

#[test]
fn r1_in_numbers() {
    let of = |name| Estimate::of(&r1(), Mix::find(name).expect("is known"), Elem::F16);
    let q4 = of("q4_k_m");
    assert_eq!(q4.active_parameters, 36_625_618_432);
    assert_eq!((q4.kv_flops, q4.expanded_kv_flops), (16_990_208, Some(4_997_120)));
    // 128 thousand tokens of cache, in GiB.
    assert!((f64::from(131_072) * q4.kv_bytes as f64 / GIB - 8.58).abs() < 0.005);
    let fp8 = of("FP8");
    assert!((fp8.weight_bytes as f64 / 1e9 - 673.2).abs() < 0.1, "{}", fp8.weight_bytes);
    // A layer with experts: in Q8_0 and in FP8, in GiB.
    assert!((of("Q8_0").layer_bytes[30] as f64 / GIB - 11.39).abs() < 0.01);
    assert!((fp8.layer_bytes[30] as f64 / GIB - 10.72).abs() < 0.01);
    // Bytes per token: active weights at their bits each; routers are in F32, in FP8 files the head in BF16.
    for (e, gb) in [(&of("Q8_0"), 38.9), (&fp8, 36.6), (&q4, 22.1)] {
        let found = e.read_bytes as f64 / 1e9;
        assert!(found >= gb && found < gb * 1.035, "{found} GB, {gb} known");
    }
}

#[test]
fn gpus_that_hold_r1() {
    let of = |config: &Config, name| Estimate::of(config, Mix::find(name).expect("is known"), Elem::F16);
    let gpus = |e: &Estimate, n_ctx| [24, 80, 192].map(|gb| e.gpus(gb * GB, n_ctx));
    let found = ["Q4_K_M", "FP8", "Q8_0"].map(|name| gpus(&of(&r1(), name), 4096));
    println!("{found:?}");
    assert_eq!(found[0], [Some(20), Some(6), Some(3)]);
    assert_eq!(found[1][1], Some(10));
    assert_eq!(found[2][1], Some(10));
    assert_eq!(gpus(&of(&v2_lite(), "Q8_0"), 4096), [Some(1); 3]);
    // A layer of BF16 experts alone is 22.7 GB.
    assert_eq!(of(&r1(), "BF16").gpus(24 * GB, 4096), None);
}

#[test]
fn every_name_is_found_again() {
    for name in Mix::names() {
        assert_eq!(Mix::find(name).map(Mix::name), Some(name));
    }
    assert_eq!(Mix::find("Q9"), None);
}
