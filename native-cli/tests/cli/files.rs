//! Commands that read a file's header and need no device.

use crate::common::{aloud, good, r1_header, run, smollm2};
use serde_json::{Value, json};
use std::io::Write;

fn tokenize(model: &std::path::Path, text: &str, flags: &[&str]) -> Value {
    let out = good(aloud().arg("tokenize").arg("-m").arg(model).arg("--json").args(flags).write_stdin(text));
    assert_eq!(out.lines().count(), 1);
    serde_json::from_str(&out).unwrap()
}

#[test]
fn tokenize_gives_ids_and_pieces_and_nothing_else() {
    assert_eq!(tokenize(&smollm2(), "Hi there", &[]), json!({"ids": [26843, 665], "pieces": ["Hi", " there"]}),);
    // Ids of Qwen2's vocabulary, as transformers gives them.
    assert_eq!(
        tokenize(&r1_header(), "Hello, 😀", &[]),
        json!({"ids": [9707, 11, 90316], "pieces": ["Hello", ",", " 😀"]}),
    );
}

#[test]
fn control_tokens_stay_text_unless_asked_for() {
    let text = tokenize(&smollm2(), "<|im_end|>", &[]);
    assert!(text["ids"].as_array().unwrap().len() > 1, "{text}");
    assert_eq!(tokenize(&smollm2(), "<|im_end|>", &["--special"]), json!({"ids": [2], "pieces": ["<|im_end|>"]}));
}

#[test]
fn joined_pieces_are_the_text() {
    let text = "a\n\t🧑‍🚀 naïve 汉字 \u{1b}[31m\u{0}";
    for model in [smollm2(), r1_header()] {
        let pieces = tokenize(&model, text, &[])["pieces"].clone();
        let joined: String = pieces.as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
        assert_eq!(joined, text);
    }
}

#[test]
fn an_argument_is_as_good_as_stdin() {
    let out = good(aloud().arg("tokenize").arg("Hi there").env("ALOUD_MODEL", smollm2()));
    assert_eq!(out, "  26843  \"Hi\"\n    665  \" there\"\n");
}

#[test]
fn inspect_shows_metadata_tensors_formats_and_memory() {
    let out = good(aloud().arg("inspect").arg(smollm2()));
    for part in [
        "GGUF version 3: 135 M parameters in 272 tensors",
        "general.architecture",
        "\"llama\"",
        "... (49152 in all)",
        "blk.*.attn_q.weight",
        "Q4_1",
        "context   weights",
        "8192",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!out.contains("incomplete"), "{out}");
    assert!(out.lines().all(|line| line.len() < 400), "long values are cut");
    let every = good(aloud().arg("inspect").arg("--tensors").arg(smollm2()));
    assert!(every.contains("blk.29.ffn_up.weight"), "{every}");
}

#[test]
fn inspect_reads_a_header_without_weights() {
    let out = good(aloud().arg("inspect").arg(r1_header()));
    assert!(out.contains("incomplete") && out.contains("DeepSeek-R1") && out.contains("131072"), "{out}");
    let report: Value = serde_json::from_str(&good(aloud().args(["inspect", "--json"]).arg(r1_header()))).unwrap();
    assert_eq!(report["complete"], false);
    assert_eq!(report["is_r1"], true);
    assert_eq!(report["architecture"], "qwen2");
    assert_eq!(report["tensors"].as_array().unwrap().len(), 339);
    assert_eq!(report["metadata"]["qwen2.block_count"], 28);
    let memory = report["memory"].as_array().unwrap();
    assert_eq!(memory.len(), 7, "2048 to 131072");
    for row in memory {
        let [n, weights, cache, total] =
            ["context_tokens", "weight_bytes", "cache_bytes", "total_bytes"].map(|key| row[key].as_u64().unwrap());
        // Keys and values in f16 of 28 layers with 4 heads of 128, and the f32 rotary table.
        assert_eq!(cache, n * (2 * 2 * 28 * 4 * 128 + 4 * 128));
        assert_eq!(total, weights + cache);
    }
    let types: u64 = report["types"].as_array().unwrap().iter().map(|t| t["bytes"].as_u64().unwrap()).sum();
    assert_eq!(report["tensor_bytes"].as_u64(), Some(types));
}

#[test]
fn without_a_model_the_built_in_one_is_looked_at_and_a_line_says_so() {
    for command in [vec!["tokenize", "hi"], vec!["inspect"], vec!["inspect", "--quant", "Q8_0"]] {
        let named = |flag: &str| run(aloud().args(&command).args([flag, "tiny-r1"]));
        let named = named(if command[0] == "inspect" { "--" } else { "-m" });
        let unnamed = run(aloud().args(&command));
        assert_eq!((named.code, named.err.as_str()), (0, ""), "{command:?}");
        assert_eq!((unnamed.code, unnamed.out), (0, named.out), "{command:?}");
        assert!(unnamed.err.starts_with("model: tiny-r1, built in (") && unnamed.err.contains("-m"), "{}", unnamed.err);
        assert_eq!(unnamed.err.lines().count(), 1, "{}", unnamed.err);
        assert_eq!(run(aloud().args(&command).arg("--quiet")).err, "", "{command:?}");
    }
    // A file of that name is a file.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tiny-r1"), "no model, but long enough to be looked at as one").unwrap();
    let file = run(aloud().current_dir(&folder).args(["inspect", "tiny-r1"]));
    assert_eq!((file.code, file.err.contains("expected \"GGUF\"")), (4, true), "{}", file.err);
}

#[test]
fn files_that_are_no_models_are_refused_with_code_4() {
    let mut text = tempfile::NamedTempFile::new().unwrap();
    text.write_all(b"this is no model, only text that is long enough to be looked at").unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (path, part) in [
        (text.path(), "expected \"GGUF\""),
        (std::path::Path::new("/nowhere/model.gguf"), "/nowhere/model.gguf"),
        (folder.path(), "config.json"),
    ] {
        for command in ["inspect", "ask"] {
            let mut aloud = aloud();
            aloud.arg(command);
            if command == "ask" {
                aloud.args(["hi", "-m"]);
            }
            let run = run(aloud.arg(path));
            assert_eq!(run.code, 4, "{}", run.err);
            assert!(run.err.starts_with("error: ") && run.err.contains(part), "{}", run.err);
            assert_eq!((run.out.as_str(), run.err.lines().count()), ("", 1));
        }
    }
}

#[test]
fn a_header_without_weights_answers_nothing() {
    let run = run(aloud().args(["ask", "hi", "-m"]).arg(r1_header()));
    assert_eq!(run.code, 4);
    assert!(run.err.contains("cut short") && run.err.contains("download it again"), "{}", run.err);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_aloud"))
        .args(["inspect", "--json"])
        .arg(r1_header())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

#[test]
fn an_empty_question_is_a_usage_error() {
    let run = run(aloud().args(["ask", "-m"]).arg(smollm2()).write_stdin(" \n"));
    assert_eq!(run.code, 2);
    assert!(run.err.contains("question is empty"), "{}", run.err);
}

/// DeepSeek-R1's config.json, as far as it matters.
fn r1_config() -> Value {
    json!({
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3",
        "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128,
        "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "intermediate_size": 18432, "first_k_dense_replace": 3, "moe_intermediate_size": 2048,
        "n_routed_experts": 256, "num_experts_per_tok": 8, "n_shared_experts": 1, "n_group": 8, "topk_group": 4,
        "scoring_func": "sigmoid", "topk_method": "noaux_tc", "norm_topk_prob": true, "routed_scaling_factor": 2.5,
        "vocab_size": 129_280, "rms_norm_eps": 1e-6, "max_position_embeddings": 163_840, "rope_theta": 10_000,
        "rope_scaling": {
            "type": "yarn", "factor": 40, "original_max_position_embeddings": 4096,
            "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0,
        },
        "num_nextn_predict_layers": 1,
        "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]},
    })
}

#[test]
fn inspect_of_a_config_alone_says_what_the_model_would_need() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    std::fs::write(&config, r1_config().to_string()).unwrap();
    for path in [folder.path(), &config] {
        let mut inspect = aloud();
        inspect.args(["inspect", "--json", "--quant", "q4_k_m", "-c", "32768"]).arg(path);
        let report: Value = serde_json::from_str(&good(&mut inspect)).unwrap();
        assert_eq!(report["parameters"], 671_026_419_200_u64);
        assert_eq!((&report["quant"], &report["cache_bytes_per_token"]), (&json!("Q4_K_M"), &json!(70_272)));
        assert_eq!(report["weight_bytes"].as_u64().unwrap() >> 30, 376);
        let [row] = report["contexts"].as_array().unwrap().as_slice() else { panic!("{report}") };
        assert_eq!(row["cache_bytes"], 70_272_u64 * 32_768);
        let gpus: Vec<_> = row["gpus"].as_array().unwrap().iter().map(|g| (&g["gpu_gb"], &g["count"])).collect();
        assert_eq!(gpus, [(&json!(24), &json!(20)), (&json!(80), &json!(6)), (&json!(192), &json!(3))]);
    }
    let out = good(aloud().args(["inspect", "--quant", "FP8"]).arg(&config));
    for part in ["671 G parameters, 36.6 G", "673 GB", "73.3 GFLOP", "17.0 MFLOP", "163840", "multi-token"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let unknown = run(aloud().args(["inspect", "--quant", "Q9"]).arg(&config));
    assert!(unknown.code == 2 && unknown.err.contains("Q4_K_M"), "{}", unknown.err);
    let too_long = run(aloud().args(["inspect", "-c", "200000"]).arg(&config));
    assert!(too_long.code == 3 && too_long.err.contains("163840"), "{}", too_long.err);
}

#[test]
fn inspect_works_out_another_format_of_a_file() {
    let mut inspect = aloud();
    inspect.args(["inspect", "--json", "--quant", "Q8_0", "-c", "4096"]).arg(r1_header());
    let report: Value = serde_json::from_str(&good(&mut inspect)).unwrap();
    assert_eq!(
        (&report["architecture"], &report["parameters"]),
        (&json!("Qwen2ForCausalLM"), &json!(7_615_616_512_u64))
    );
    assert_eq!(report["cache_bytes_per_token"], 57_344);
}
