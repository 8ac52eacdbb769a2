//! SmolLM2-135M-Instruct, a real file: against `transformers`, and one adapter against the other.

use aloud::{
    ChatEvent, ChatOptions, Choice, Elem, GpuOptions, LoadOptions, MemoryNeed, Message, Model, ModelFiles, Role,
};
use aloud_tests::places::{Place, best_ids, fastest_gpu, gpus};
use serde_json::Value;
use std::ops::ControlFlow;
use std::path::Path;

/// Positions whose most likely token may differ: a gap to the second that is smaller than what an f16 cache rounds.
const AGREEMENT: f64 = 0.995;
/// Weights stay as small as in the file, up to the padding of bindings.
const RESIDENT_FACTOR: f64 = 1.05;
const N_CTX: u32 = 256;

/// Loads the model on an adapter.
fn load(place: &Place, gpu: GpuOptions) -> Model {
    let Place::Gpu { index, .. } = place else { panic!("a GPU is needed") };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(path.exists(), "{} is not there: run `cargo xtask assets`", path.display());
    let files = ModelFiles::open(path).expect("opens");
    let device = Choice::Named(index.to_string());
    let options = LoadOptions { device, gpu, n_ctx: Some(N_CTX), ..LoadOptions::default() };
    pollster::block_on(Model::load(files, &options, |_| {})).expect("loads")
}

fn answer(model: &mut Model, question: &str, max_tokens: u32) -> String {
    let messages = [Message::new(Role::User, question)];
    let options = ChatOptions { max_tokens: Some(max_tokens), ..ChatOptions::default() };
    let mut text = String::new();
    let chat = model.chat(&messages, &options, |event| {
        if let ChatEvent::Answer(piece) = event {
            text.push_str(&piece);
        }
        ControlFlow::Continue(())
    });
    pollster::block_on(chat).expect("answers");
    text
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("an array").iter().map(|v| v.as_u64().expect("an id") as u32).collect()
}

fn goldens() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/models/smollm2.json");
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).expect("is an array")
}

#[test]
fn forced_decoding_agrees_with_transformers() {
    let Some(place) = fastest_gpu() else { return };
    let mut model = load(&place, GpuOptions::default());
    let (mut agree, mut total) = (0, 0);
    for golden in goldens() {
        let (text, prompt, expected) = (&golden["text"], ids(&golden["prompt"]), ids(&golden["ids"]));
        let message = Message::new(Role::User, text.as_str().expect("a text"));
        let (rendered, _) = model.render(&[message], &ChatOptions::default()).expect("renders");
        assert_eq!(rendered, prompt, "{text}");
        // All but the last generated token: its successor is not known.
        let forced = [&prompt[..], &expected[..expected.len() - 1]].concat();
        let mut best = Vec::new();
        let logits = model.logits(&forced, |position, row| {
            if position + 1 >= prompt.len() {
                best.extend(best_ids(row, row.len()));
            }
        });
        pollster::block_on(logits).expect("computes");
        assert_eq!(best.len(), expected.len());
        for (i, _) in best.iter().zip(&expected).enumerate().filter(|(_, (a, b))| a != b) {
            let gap = &golden["gaps"][i];
            println!("{text}, token {i}: {} instead of {}, whose lead was {gap}", best[i], expected[i]);
        }
        agree += best.iter().zip(&expected).filter(|(a, b)| a == b).count();
        total += best.len();
    }
    let share = agree as f64 / total as f64;
    println!("{agree} of {total} positions agree on {place}: {:.2} %", share * 100.0);
    assert_eq!(total, 640, "10 prompts x 64 tokens");
    assert!(share >= AGREEMENT, "{agree} of {total} agree, at least {AGREEMENT} are wanted");
}

#[test]
fn small_bindings_change_nothing() {
    let Some(place) = fastest_gpu() else { return };
    // The embedding, 49152 rows, falls into several parts.
    let mut model = load(&place, GpuOptions { max_binding_bytes: Some(4 << 20), ..GpuOptions::default() });
    assert_eq!(answer(&mut model, "What is the capital of France?", 12), "The capital of France is Paris.");
}

/// "What is the capital of France?" in the chat format, without the system message that the template adds.
const BARE: [u32; 16] = [1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198, 1, 520, 9531, 198];
/// "The capital of France is Paris." and the end of the turn.
const PARIS: [u32; 8] = [504, 3575, 282, 4649, 314, 7042, 30, 2];

/// Greedy tokens after [`BARE`], past the end of the turn, and what they asked of the device.
fn continued(engine: &mut aloud_engine::Engine<aloud::GpuExecutor>, max_tokens: u32) -> (Vec<u32>, aloud::Counters) {
    let mut tokens = Vec::new();
    let before = engine.executor().gpu().counters();
    let request = aloud_tests::places::greedy(&BARE, max_tokens);
    let generation = engine.generate(&request, |event| {
        if let aloud_engine::Event::Token(id) = event {
            tokens.push(id);
        }
        ControlFlow::Continue(())
    });
    pollster::block_on(generation).expect("generates");
    (tokens, engine.executor().gpu().counters() - before)
}

/// With and without subgroups, on every driver.
#[test]
fn every_adapter_gives_the_same_text() {
    let mut texts: Vec<(Vec<u32>, Place)> = Vec::new();
    for place in gpus() {
        let (tokens, _) = continued(&mut engine(&place), 12);
        assert_eq!((tokens.len(), &tokens[..8]), (12, &PARIS[..]), "{place}");
        texts.push((tokens, place));
    }
    for (tokens, place) in &texts {
        assert_eq!(*tokens, texts[0].0, "{place} against {}", texts[0].1);
    }
}

#[test]
fn a_decoded_token_costs_one_pass_and_one_submit() {
    let Some(place) = fastest_gpu() else { return };
    let mut engine = engine(&place);
    continued(&mut engine, 2);
    // The same request, 10 tokens longer: the difference is 10 decode steps and nothing else.
    let ((_, short), (_, long)) = (continued(&mut engine, 4), continued(&mut engine, 14));
    let extra = long - short;
    println!("10 decoded tokens on {place}: {extra:?}");
    assert_eq!((extra.passes, extra.submits), (10, 10), "{extra:?}");
    for counts in [short, long] {
        let created = (counts.buffers, counts.bind_groups, counts.pipelines);
        assert_eq!((created, counts.blocking_waits), ((0, 0, 0), 0), "{counts:?}");
    }
}

fn engine(place: &Place) -> aloud_engine::Engine<aloud::GpuExecutor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/SmolLM2-135M-Instruct.Q4_1.gguf");
    let sources = [aloud::FileSource::open(path).expect("is there: `cargo xtask assets`")];
    let gguf = pollster::block_on(aloud::Gguf::open(&sources[0])).expect("opens");
    let tensors = gguf.tensors.clone().into();
    let config = aloud::Config::from_gguf(&gguf.metadata, &tensors).expect("is a config");
    let mut executor = place.gpu_executor();
    let loading = aloud_model::load(&mut executor, &config, &tensors, &sources, N_CTX, |_| {});
    let weights = pollster::block_on(loading).expect("loads");
    let options =
        aloud_engine::EngineOptions { n_ctx: N_CTX, chunks: vec![32], ..aloud_engine::EngineOptions::default() };
    aloud_engine::Engine::new(executor, config, weights, options).expect("fits")
}

#[test]
fn resident_bytes_are_those_of_the_file_and_the_cache() {
    let Some(place) = fastest_gpu() else { return };
    let model = load(&place, GpuOptions::default());
    let header = model.header();
    let need = MemoryNeed::of(&header.config, &header.tensors, N_CTX, Elem::F16).expect("fits together");
    let file_bytes: u64 = header.tensors.iter().map(|t| t.n_bytes).sum();
    assert_eq!(need.weight_bytes, file_bytes, "every tensor of the file is a weight");
    let resident = model.resident();
    println!("{resident:?}, {need:?}");
    // What the sampler keeps: a count and a score per token of the vocabulary, and a few words.
    let sampler_bytes = u64::from(header.config.vocab_size) * 8 + 4096;
    let factor = (resident.held_bytes - need.kv_bytes - sampler_bytes) as f64 / file_bytes as f64;
    println!("weights take {factor:.4} of the file's tensors, activations {} bytes", resident.activation_bytes);
    assert!(factor <= RESIDENT_FACTOR, "{factor:.4} of the file's tensors");
    // Activations grow with the chunk and the widths, not with the model: a few rows per token and the logits.
    let c = &header.config;
    let row = u64::from(c.hidden_size * 4 + c.intermediate_size * 3 + 2 * c.num_attention_heads * c.head_dim) * 4;
    let most = 2 * (128 * row + u64::from(c.vocab_size) * 4) + (4 << 20);
    assert!(resident.activation_bytes <= most, "{} bytes of activations, at most {most}", resident.activation_bytes);
}
