//! Token ids against `transformers` and llama.cpp, and what a tokenizer promises beside.

mod common;

use aloud_text::{Detokenizer, GgufTokenizer, Special, TextError, Tokenizer};
use common::{Metadata, asset, golden, golden_tokenizer, ids};
use proptest::prelude::*;

/// Compares all cases of a golden file; returns how many there are.
#[track_caller]
fn check(tokenizer: &Tokenizer, golden: &serde_json::Value) -> usize {
    let cases = golden["cases"].as_array().unwrap();
    for case in cases {
        let text = case[0].as_str().unwrap();
        let as_text = tokenizer.encode(text, Special::AsText).unwrap();
        assert_eq!(as_text, ids(&case[1]), "as text: {text:?}");
        let parsed = tokenizer.encode(text, Special::Parse).unwrap();
        assert_eq!(parsed, ids(&case[2]), "parsed: {text:?}");
        let mut detokenizer = Detokenizer::new(tokenizer);
        let mut streamed: String = as_text.iter().map(|&id| detokenizer.push(id)).collect();
        streamed.push_str(&detokenizer.finish());
        assert_eq!(streamed, tokenizer.decode(&as_text), "streamed: {text:?}");
    }
    cases.len()
}

#[test]
fn smollm2_part() {
    let golden = golden("ids-smollm2.json");
    assert!(check(&golden_tokenizer(&golden), &golden) >= 300);
}

#[test]
fn r1_distill_qwen_part() {
    let golden = golden("ids-r1-distill-qwen.json");
    assert!(check(&golden_tokenizer(&golden), &golden) >= 300);
}

#[test]
fn deepseek_v3_part() {
    let golden = golden("ids-deepseek-v3.json");
    assert!(check(&golden_tokenizer(&golden), &golden) >= 300);
}

#[test]
fn llama_cpp_vectors() {
    for name in ["llama-bpe", "qwen2", "deepseek-llm"] {
        let golden = golden(&format!("ids-{name}.json"));
        assert!(check(&golden_tokenizer(&golden), &golden) > 40, "{name}");
    }
}

#[test]
fn smollm2_file() {
    let Some(file) = asset("SmolLM2-135M-Instruct.Q4_1.gguf") else {
        return;
    };
    let tokenizer = Metadata::read(&file).tokenizer().unwrap();
    assert!(check(&tokenizer, &golden("ids-smollm2.json")) >= 300);
    assert_eq!(tokenizer.stop_ids(), [0, 2]);
    assert_eq!(tokenizer.vocab_size(), 49152);
    assert_eq!(tokenizer.encode_prompt("<|im_start|>user"), [1, 4093]);
}

#[test]
fn r1_distill_qwen_file() {
    let Some(file) = asset("r1-distill-qwen-7b-header.gguf") else {
        return;
    };
    let metadata = Metadata::read(&file);
    let start = std::time::Instant::now();
    let tokenizer = metadata.tokenizer().unwrap();
    eprintln!("loaded in {:?}", start.elapsed());
    assert!(start.elapsed().as_secs_f32() < 5.0, "a load takes well below 1 s optimised");
    assert!(check(&tokenizer, &golden("ids-r1-distill-qwen.json")) >= 300);
    assert_eq!(tokenizer.stop_ids(), [151643]);
    assert_eq!(tokenizer.bos(), Some(151646));
    assert_eq!(tokenizer.id("<think>"), Some(151648));
    assert!(tokenizer.is_padding(151_665) && !tokenizer.is_padding(151_664));
}

#[test]
fn one_bos_and_no_more() {
    let golden = golden("ids-r1-distill-qwen.json");
    let tokenizer = golden_tokenizer(&golden);
    let bos = "<｜begin▁of▁sentence｜>";
    let hi = tokenizer.encode("Hi", Special::AsText).unwrap();
    for times in 0..3 {
        let ids = tokenizer.encode_prompt(format!("{}Hi", bos.repeat(times)));
        assert_eq!(ids, [&[151646], &hi[..]].concat(), "{times} BOS in the text");
    }
    let golden = common::golden("ids-smollm2.json");
    let tokenizer = golden_tokenizer(&golden);
    assert!(!tokenizer.adds_bos());
    assert_ne!(tokenizer.encode_prompt("Hi")[0], 1);
}

#[test]
fn control_tokens_print_nothing_and_user_defined_ones_do() {
    let tokenizer = golden_tokenizer(&golden("ids-r1-distill-qwen.json"));
    let text = "<｜User｜>é<think>x</think><｜end▁of▁sentence｜>";
    let parsed = tokenizer.encode(text, Special::Parse).unwrap();
    assert_eq!(tokenizer.decode(&parsed), "é<think>x</think>");
    let user = tokenizer.id("<｜User｜>").unwrap();
    assert!(tokenizer.is_control(user));
    assert_eq!(tokenizer.piece(user), Some(&b""[..]));
    assert_eq!(tokenizer.token_text(user), Some("<｜User｜>"));
    let as_text = tokenizer.encode(text, Special::AsText).unwrap();
    assert!(as_text.iter().all(|&id| !tokenizer.is_control(id)));
    assert_eq!(tokenizer.decode(&as_text), text);
    assert_eq!(tokenizer.decode(&[u32::MAX]), "");
}

#[test]
fn unknown_names_are_errors() {
    let gguf = GgufTokenizer { model: "gpt2", pre: "default", ..GgufTokenizer::default() };
    let error = Tokenizer::from_gguf(&gguf).unwrap_err();
    assert!(matches!(error, TextError::UnknownPreTokenizer { .. }));
    let text = error.to_string();
    assert!(text.contains("`default`") && text.contains("deepseek-r1-qwen"), "{text}");
    let gguf = GgufTokenizer { model: "llama", ..gguf };
    let error = Tokenizer::from_gguf(&gguf).unwrap_err();
    assert!(matches!(error, TextError::UnsupportedModel { .. }), "{error}");
}

#[test]
fn damaged_metadata_is_an_error() {
    let good = GgufTokenizer {
        model: "gpt2",
        pre: "qwen2",
        tokens: vec!["a", "b", "ab"],
        merges: vec!["a b"],
        ..GgufTokenizer::default()
    };
    assert!(Tokenizer::from_gguf(&good).is_ok());
    for (what, damaged) in [
        ("types", GgufTokenizer { token_types: vec![1], ..good.clone() }),
        ("eos", GgufTokenizer { eos: Some(3), ..good.clone() }),
        ("merge of unknown", GgufTokenizer { merges: vec!["a c"], ..good.clone() }),
        ("merge too long", GgufTokenizer { merges: vec!["ab ab"], ..good.clone() }),
        ("no merge", GgufTokenizer { merges: vec!["ab"], ..good.clone() }),
        ("half a merge", GgufTokenizer { merges: vec![" "], ..good.clone() }),
    ] {
        assert!(Tokenizer::from_gguf(&damaged).is_err(), "{what}");
    }
}

#[test]
fn json_and_gguf_agree() {
    let golden = golden("ids-deepseek-v3.json");
    let rows = golden["tokenizer"]["tokens"].as_array().unwrap();
    let of = |normal: bool| rows.iter().filter(move |row| (row[2] == 1) == normal);
    let vocab: serde_json::Map<_, _> =
        of(true).map(|row| (row[1].as_str().unwrap().to_owned(), row[0].clone())).collect();
    let added: Vec<_> =
        of(false).map(|row| serde_json::json!({"id": row[0], "content": row[1], "special": false})).collect();
    let split = |regex: &str| serde_json::json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    let file = serde_json::json!({
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": []},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            split(r"\p{N}{1,3}"),
            split("[一-龥\u{3040}-ゟ゠-ヿ]+"),
            split(concat!(r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##, r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")),
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]},
        "model": {"type": "BPE", "vocab": vocab, "merges": golden["tokenizer"]["merges"]},
    });
    let config = serde_json::json!({
        "add_bos_token": true, "bos_token": {"content": "<｜begin▁of▁sentence｜>"}, "eos_token": "<｜end▁of▁sentence｜>",
    });
    let tokenizer = Tokenizer::from_json(file.to_string().as_bytes(), Some(config.to_string().as_bytes())).unwrap();
    assert!(check(&tokenizer, &golden) >= 300);
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()), (Some(0), Some(1), true));
    assert_eq!(tokenizer.stop_ids(), [1]);
}

#[test]
fn json_that_is_not_byte_level_bpe_is_an_error() {
    for file in [
        "{",
        r#"{"model": {"type": "Unigram", "vocab": {}, "merges": []}}"#,
        r#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}"#,
        r#"{"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true}, "model": {"vocab": {"a": 4294967295}, "merges": []}}"#,
        r#"{"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true}, "model": {"vocab": {"a": 0}, "merges": ["a b"]}}"#,
        r#"{"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, {"type": "No"}]}, "model": {"vocab": {"a": 0}, "merges": []}}"#,
    ] {
        assert!(Tokenizer::from_json(file.as_bytes(), None).is_err(), "{file}");
    }
}

#[test]
fn long_runs_are_cut_right() {
    let tokenizer = golden_tokenizer(&golden("ids-r1-distill-qwen.json"));
    for run in [" ", "\n", "a", "1", "!", "é"] {
        let text = run.repeat(200_000) + "x";
        let ids = tokenizer.encode(&text, Special::Parse).unwrap();
        assert_eq!(tokenizer.decode(&ids), text, "{run:?}");
    }
}

proptest! {
    #[test]
    fn any_text_comes_back(text in "(\\PC|[ \n\t<>|]|<think>|<｜User｜>){0,40}") {
        thread_local!(static TOKENIZER: Tokenizer = golden_tokenizer(&golden("ids-deepseek-v3.json")));
        TOKENIZER.with(|tokenizer| {
            let ids = tokenizer.encode(&text, Special::AsText).unwrap();
            prop_assert!(ids.iter().all(|&id| !tokenizer.is_control(id)));
            prop_assert_eq!(tokenizer.decode(&ids), text);
            Ok(())
        })?;
    }
}
