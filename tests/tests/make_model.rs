//! Made models open with the project's own readers, and say of themselves what they are.

use aloud_format::{DType, Gguf, MemorySource, Safetensors, TensorSet};
use aloud_make_model::{Arch, Container, Filler, PRESETS, Plan, Quant, Shape, tokenizer, write_file};
use aloud_text::{GgufTokenizer, Special, Tokenizer};

const GGUF: Container = Container::Gguf { legacy_kv_b: false };

/// The files of a plan, in memory.
fn written(plan: &Plan, seed: u64) -> Vec<(String, MemorySource)> {
    let mut filler = Filler::new(seed);
    let file = |file: &aloud_make_model::PlannedFile| {
        let mut bytes = Vec::new();
        write_file(file, &mut filler, &mut bytes, |_| Ok(())).expect("writes to memory");
        assert_eq!(bytes.len() as u64, file.n_bytes(), "{}: as many bytes as planned", file.name);
        (file.name.clone(), MemorySource::new(file.name.clone(), bytes))
    };
    plan.files.iter().map(file).collect()
}

fn tiny(arch: Arch) -> Shape {
    let mut shape = Shape::preset(arch.name()).expect("is known");
    for (key, value) in [("num_hidden_layers", "2"), ("vocab_size", "320")] {
        shape.set(key, value).expect("is a number");
    }
    shape
}

fn open_gguf(files: Vec<(String, MemorySource)>) -> (Gguf, TensorSet) {
    let sources: Vec<MemorySource> = files.into_iter().map(|(_, source)| source).collect();
    let opened = match sources.as_slice() {
        [single] => pollster::block_on(Gguf::open(single)),
        _ => pollster::block_on(Gguf::open_split(&sources)),
    };
    let gguf = opened.expect("opens");
    (gguf.clone(), gguf.into())
}

#[test]
fn every_architecture_opens_in_every_form() {
    for arch in Arch::ALL {
        let shape = tiny(arch);
        let quants = [Quant::Q4KM, Quant::Single(DType::Q8_0), Quant::Single(DType::F32)];
        for (quant, n_files) in quants.into_iter().zip([1, 3, 1]) {
            let plan = Plan::new(&shape, quant, GGUF, "made", n_files).expect("is possible");
            let (gguf, tensors) = open_gguf(written(&plan, 1));
            assert_eq!(gguf.metadata.str("general.architecture").expect("is there"), arch.gguf_name());
            let planned: usize = plan.files.iter().map(|file| file.tensors.len()).sum();
            assert_eq!(tensors.iter().count(), planned, "{arch:?}");
        }
        for (dtype, n_files) in [(DType::BF16, 1), (DType::F8_E4M3, 3)] {
            let plan =
                Plan::new(&shape, Quant::Single(dtype), Container::Safetensors, "", n_files).expect("is possible");
            let files = written(&plan, 1);
            let index = plan.texts.iter().find(|(name, _)| name == "model.safetensors.index.json");
            let tensors: TensorSet = match index {
                None => pollster::block_on(Safetensors::open(&files[0].1)).expect("opens").into(),
                Some((_, index)) => pollster::block_on(Safetensors::open_sharded(index, &files)).expect("opens").into(),
            };
            let q = if shape.q_lora_rank > 0 { "q_b_proj" } else { "q_proj" };
            let name = format!("model.layers.1.self_attn.{q}.weight");
            assert_eq!(tensors.get(&name).expect("is there").dtype, dtype, "{arch:?}");
            assert_eq!(tensors.get(&format!("{name}_scale_inv")).is_some(), dtype == DType::F8_E4M3);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let plan = || Plan::new(&tiny(Arch::DeepseekV3), Quant::Q4KM, GGUF, "made", 2).expect("is possible");
    let bytes = |seed| -> Vec<Vec<u8>> {
        written(&plan(), seed)
            .iter()
            .map(|(_, source)| {
                let mut bytes = vec![0; aloud_format::ByteSource::len(source) as usize];
                pollster::block_on(aloud_format::ByteSource::read_at(source, 0, &mut bytes)).expect("reads");
                bytes
            })
            .collect()
    };
    let first = bytes(5);
    assert!(first == bytes(5), "the same seed");
    assert!(first != bytes(6), "another seed");
}

/// Formats of DeepSeek-V2-Lite in Q4_K_M: rows of 1408 and 10944 are no whole super-blocks.
#[test]
fn mixes_are_llama_cpps() {
    let mut shape = Shape::preset("v2-lite").expect("is known");
    let of = |name: &str, cols: u64| Quant::Q4KM.of(&shape, name, &[64, cols]);
    assert_eq!(of("output.weight", 2048), DType::Q6_K);
    assert_eq!(of("token_embd.weight", 2048), DType::Q4_K);
    assert_eq!(of("blk.0.ffn_down.weight", 10_944), DType::Q8_0);
    assert_eq!(of("blk.3.ffn_down_exps.weight", 1408), DType::Q5_0);
    assert_eq!(of("blk.26.ffn_down_exps.weight", 1408), DType::Q8_0);
    assert_eq!(of("blk.3.attn_k_b.weight", 128), DType::Q5_0);
    assert_eq!(of("blk.3.ffn_gate_inp.weight", 2048), DType::F32);
    shape.hidden_size = 33;
    assert_eq!(Quant::Q4KM.of(&shape, "blk.3.ffn_up.weight", &[64, 33]), DType::F16);
}

#[test]
fn impossible_models_are_refused_by_name() {
    let refused = |shape: &Shape, quant, container, n_files| {
        Plan::new(shape, quant, container, "made", n_files).expect_err("is impossible")
    };
    let mut shape = tiny(Arch::DeepseekV3);
    assert!(refused(&shape, Quant::Single(DType::F8_E4M3), GGUF, 1).contains("safetensors"));
    assert!(refused(&shape, Quant::Q4KM, Container::Safetensors, 1).contains("BF16"));
    assert!(refused(&shape, Quant::Q4KM, GGUF, 1000).contains("1000 files"));
    shape.vocab_size = 100;
    assert!(refused(&shape, Quant::Q4KM, GGUF, 1).contains("`vocab_size` is 100"));
    shape.vocab_size = 320;
    shape.num_experts_per_tok = 100;
    assert!(refused(&shape, Quant::Q4KM, GGUF, 1).contains("num_experts_per_tok"));
    assert!(Shape::preset("v9").expect_err("is unknown").contains("v2-lite"));
    assert!(PRESETS.len() > Arch::ALL.len());
}

const TEXT: &str = "Is the thing in the garden?\n";

#[test]
fn the_tokenizer_is_one() {
    let json = Tokenizer::from_json(
        tokenizer::json().to_string().as_bytes(),
        Some(tokenizer::config_json().to_string().as_bytes()),
    )
    .expect("is a tokenizer");
    let expected = json.encode(TEXT, Special::AsText).expect("encodes");
    assert!(expected.len() < TEXT.len(), "merges apply");
    for arch in Arch::ALL {
        let plan = Plan::new(&tiny(arch), Quant::Single(DType::Q8_0), GGUF, "made", 1).expect("is possible");
        let (gguf, _) = open_gguf(written(&plan, 1));
        let metadata = &gguf.metadata;
        let key = |k: &str| format!("tokenizer.ggml.{k}");
        let strings = |k: &str| metadata.str_array(&key(k)).expect("is there").iter().collect();
        let tokenizer = Tokenizer::from_gguf(&GgufTokenizer {
            model: metadata.str(&key("model")).expect("is there"),
            pre: metadata.str(&key("pre")).expect("is there"),
            tokens: strings("tokens"),
            merges: strings("merges"),
            bos: Some(0),
            eos: Some(1),
            ..GgufTokenizer::default()
        })
        .expect("is a tokenizer");
        assert_eq!(tokenizer.vocab_size(), 320);
        assert_eq!(tokenizer.encode(TEXT, Special::AsText).expect("encodes"), expected, "{arch:?}");
    }
}
