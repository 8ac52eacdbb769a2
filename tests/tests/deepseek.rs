//! Tiny models of the DeepSeek family against `transformers`: in every container and format, on every adapter, with keys and
//! values absorbed and expanded.

use aloud_cpu::CpuExecutor;
use aloud_engine::EngineOptions;
use aloud_format::{ByteSource, DType, Gguf, MemorySource, TensorSet};
use aloud_model::{Config, MemoryNeed, load};
use aloud_ops::{Elem, Executor};
use aloud_tests::deepseek::{F16_TOLERANCE, F32_TOLERANCE, Finding, Mla, examine_v3, options};
use aloud_tests::for_each;
use aloud_tests::places::{Place, everywhere, fastest_gpu, greedy, oracle_and_gpu, worst_error};
use aloud_tests::tiny::{Family, Form, Fp8Scales, ROWS, SHORT, Stored, Tiny, Written, golden, long};
use serde_json::json;

/// The same model out of another container: the same values, in sums of another order where weights are transposed.
const CONTAINER_TOLERANCE: f64 = 1e-5;

/// The names of the goldens.
const NAMES: [(Family, &str); 3] = [
    (Family::DeepseekV2Lite, "deepseek_v2_lite"),
    (Family::DeepseekV2, "deepseek_v2"),
    (Family::DeepseekV3, "deepseek_v3"),
];

/// The rows that a golden has.
fn rows(model: &Stored, place: &Place, options: EngineOptions) -> Vec<f32> {
    let mut engine = place.engine(model, options);
    let mut rows = engine.logits(&SHORT, &[0, 1, 2, 3, 4, 5, 6, 7]);
    rows.extend(engine.logits(&long(), &ROWS));
    rows
}

fn check(name: &str, model: &Stored, place: &Place, cache: Elem, mla: Mla) {
    let tolerance = if cache == Elem::F32 { F32_TOLERANCE } else { F16_TOLERANCE };
    let error = worst_error(&rows(model, place, options(cache, mla)), &golden(name));
    println!("{name}, {cache:?} cache, {mla:?}, on {place}: off by {error:.1e}");
    assert!(error <= tolerance, "{name}, {cache:?} cache, {mla:?}, on {place}: off by {error:.2e}");
}

fn safetensors(family: Family) -> Stored {
    Tiny::new(family).safetensors(Form::RopeParameters, DType::F32, 1)
}

fn check_everywhere(family: Family, name: &str) {
    let model = safetensors(family);
    for_each(&mut everywhere(), |place| {
        for mla in [Mla::Absorbed, Mla::Expanded] {
            check(name, &model, place, Elem::F32, mla);
        }
        check(name, &model, place, Elem::F16, Mla::Expanded);
    });
}

#[test]
fn v2_lite_is_as_in_transformers() {
    check_everywhere(Family::DeepseekV2Lite, "deepseek_v2_lite");
}

#[test]
fn v2_is_as_in_transformers() {
    check_everywhere(Family::DeepseekV2, "deepseek_v2");
}

#[test]
fn v3_answers_as_transformers_does() {
    for place in everywhere() {
        let report = |finding: Finding| {
            let line = format!("{} on {place}: off by {:.2e}", finding.name, finding.error);
            println!("{line}");
            assert!(finding.error <= finding.tolerance, "{line}");
        };
        let examined = match place {
            Place::Cpu => pollster::block_on(examine_v3(CpuExecutor::new(), report)),
            _ => pollster::block_on(examine_v3(place.gpu_executor(), report)),
        };
        examined.expect("the engine agrees to everything");
    }
}

#[test]
fn scaled_rotary_frequencies_are_as_in_transformers() {
    for place in oracle_and_gpu() {
        for (family, name) in NAMES {
            let (tiny, name) = (Tiny::short(family), format!("{name}_short"));
            let model = tiny.safetensors(Form::RopeScaling, DType::F32, 1);
            check(&name, &model, &place, Elem::F32, Mla::Absorbed);
            check(&name, &tiny.gguf(DType::F32, 1), &place, Elem::F32, Mla::Expanded);
        }
    }
}

/// Older and newer GGUF files, in one part and in three, and shards of safetensors.
#[test]
fn every_container_is_one_model() {
    for place in oracle_and_gpu() {
        for family in Family::DEEPSEEK {
            let tiny = Tiny::new(family);
            let expected = rows(&safetensors(family), &place, options(Elem::F32, Mla::Absorbed));
            let sharded = tiny.safetensors(Form::RopeScaling, DType::F32, 3);
            let same = rows(&sharded, &place, options(Elem::F32, Mla::Absorbed));
            assert_eq!(same, expected, "shards of {family:?} on {place}");
            for (legacy_kv_b, n_parts) in [(false, 1), (true, 3)] {
                let model = Tiny { legacy_kv_b, ..tiny }.gguf(DType::F32, n_parts);
                for mla in [Mla::Absorbed, Mla::Expanded] {
                    let error = worst_error(&rows(&model, &place, options(Elem::F32, mla)), &expected);
                    println!("{family:?}, GGUF, joint: {legacy_kv_b}, {mla:?}, on {place}: off by {error:.1e}");
                    assert!(error <= CONTAINER_TOLERANCE, "{family:?}, {legacy_kv_b}, on {place}: {error:.2e}");
                }
            }
        }
    }
}

/// Absorbed and expanded, cut anywhere, and token by token.
#[test]
fn any_chunking_computes_the_same() {
    let ids = &long()[..70];
    let every: Vec<usize> = (0..ids.len()).collect();
    for place in oracle_and_gpu() {
        for family in [Family::DeepseekV2Lite, Family::DeepseekV3] {
            let model = safetensors(family);
            let engine = |chunks: &[u32], mla| {
                place.engine(&model, EngineOptions { chunks: chunks.to_vec(), ..options(Elem::F32, mla) })
            };
            let mut first = engine(&[2], Mla::Absorbed);
            let logits = first.logits(ids, &every);
            first.clear_cache();
            let (tokens, _) = first.generate(&greedy(ids, 12));
            for (chunks, mla) in [(&[7][..], Mla::Absorbed), (&[3, 40], Mla::Expanded), (&[128], Mla::Expanded)] {
                let mut other = engine(chunks, mla);
                let error = worst_error(&other.logits(ids, &every), &logits);
                println!("{family:?}, {mla:?} chunks of {chunks:?} against 2 on {place}: off by {error:.1e}");
                assert!(error <= F32_TOLERANCE, "{family:?}, {mla:?} chunks of {chunks:?} on {place}: {error:.2e}");
                other.clear_cache();
                assert_eq!(other.generate(&greedy(ids, 12)).0, tokens, "{family:?} in {chunks:?} on {place}");
            }
        }
    }
}

/// What transformers generates greedily after [`SHORT`].
#[test]
fn greedy_tokens_are_those_of_transformers() {
    let expected = [224, 211, 153, 30, 131, 10, 103, 216];
    for place in oracle_and_gpu() {
        for cache in [Elem::F32, Elem::F16] {
            let mut engine = place.engine(&safetensors(Family::DeepseekV2Lite), options(cache, Mla::Expanded));
            assert_eq!(engine.generate(&greedy(&SHORT, 8)).0, expected, "{cache:?} on {place}");
        }
    }
}

/// A second turn behind the first: what is cached is not computed again, and the answer is that of a fresh cache.
#[test]
fn a_second_turn_goes_on_from_the_cache() {
    for place in oracle_and_gpu() {
        for family in [Family::DeepseekV2Lite, Family::DeepseekV2] {
            let model = safetensors(family);
            let mut engine = place.engine(&model, options(Elem::F32, Mla::Expanded));
            let first = [&SHORT[..], &long()[..30]].concat();
            let (answer, _) = engine.generate(&greedy(&first, 10));
            let second = [&first[..], &answer, &[9, 8, 7, 6, 5]].concat();
            let (tokens, generation) = engine.generate(&greedy(&second, 10));
            assert_eq!(generation.n_reused, first.len() + answer.len() - 1, "{family:?} on {place}");
            let mut fresh = place.engine(&model, options(Elem::F32, Mla::Absorbed));
            assert_eq!(fresh.generate(&greedy(&second, 10)).0, tokens, "{family:?} on {place}");
        }
    }
}

/// Quantised, the GPU is as exact as before: the oracle computes with the same quantised weights.
#[test]
fn quantised_models_are_as_on_the_oracle() {
    let Some(place) = fastest_gpu() else { return };
    let models = |family| {
        let tiny = Tiny::for_quants(family);
        let fp8 = |scales| tiny.safetensors_fp8(Form::RopeScaling, scales, 2);
        vec![
            ("Q8_0", tiny.gguf(DType::Q8_0, 1)),
            ("Q4_K", tiny.gguf(DType::Q4_K, 1)),
            ("FP8", fp8(Fp8Scales::F32)),
            ("FP8 with powers of two", fp8(Fp8Scales::E8M0)),
            ("BF16", tiny.safetensors(Form::RopeParameters, DType::BF16, 1)),
        ]
    };
    for family in Family::DEEPSEEK {
        for (name, model) in models(family) {
            let ids = &long()[..40];
            let every: Vec<usize> = (0..ids.len()).collect();
            let mut oracle = Place::Cpu.engine(&model, options(Elem::F32, Mla::Absorbed));
            let expected = oracle.logits(ids, &every);
            oracle.clear_cache();
            let (tokens, _) = oracle.generate(&greedy(&SHORT, 6));
            let mut engine = place.engine(&model, options(Elem::F32, Mla::Expanded));
            let error = worst_error(&engine.logits(ids, &every), &expected);
            println!("{family:?} in {name} on {place}: off by {error:.1e}");
            assert!(error <= F32_TOLERANCE, "{family:?} in {name} on {place}: off by {error:.2e}");
            engine.clear_cache();
            assert_eq!(engine.generate(&greedy(&SHORT, 6)).0, tokens, "{family:?} in {name} on {place}");
        }
    }
}

/// Whatever a header says: a model that fits together, or an error, and never a panic or a loop.
#[test]
fn damaged_headers_are_refused_or_make_sense() {
    let read = |bytes: Vec<u8>| -> Option<u64> {
        let gguf = pollster::block_on(Gguf::open(&MemorySource::new("m", bytes))).ok()?;
        let tensors = TensorSet::from(gguf.tensors);
        let config = Config::from_gguf(&gguf.metadata, &tensors).ok()?;
        MemoryNeed::of(&config, &tensors, 64, Elem::F16).ok().map(|need| need.weight_bytes)
    };
    for (family, legacy_kv_b) in [(Family::DeepseekV3, false), (Family::DeepseekV2Lite, true)] {
        let tiny = Tiny { legacy_kv_b, mtp: family == Family::DeepseekV3, ..Tiny::new(family) };
        let Written::Gguf(parts) = tiny.write_gguf(DType::F32, 1) else { unreachable!("is a GGUF file") };
        let mut whole = vec![0; parts[0].len() as usize];
        pollster::block_on(parts[0].read_at(0, &mut whole)).expect("reads");
        let weight_bytes = read(whole.clone()).expect("is a model");
        let n_header = whole.len() - weight_bytes as usize;
        let mut refused = 0;
        for at in 0..n_header {
            for value in [0, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                refused += usize::from(read(damaged).is_none());
            }
        }
        println!("{family:?}: {refused} of {} damaged headers are refused", 2 * n_header);
        assert!(refused > n_header, "{family:?}: {refused} of {}", 2 * n_header);
    }
    let json = Tiny::new(Family::DeepseekV3).safetensors(Form::RopeScaling, DType::F32, 1);
    let fields = Tiny::new(Family::DeepseekV3).shape().config_json(Form::RopeScaling);
    for field in fields.as_object().expect("an object").keys() {
        for value in [json!(0), json!(-1), json!(3), json!(u32::MAX), json!(1e300), json!("x"), json!([]), json!(null)]
        {
            let mut config = fields.clone();
            config[field] = value;
            if let Ok(config) = Config::from_json(&serde_json::to_vec(&config).expect("is JSON")) {
                let _fits_or_not = MemoryNeed::of(&config, &json.tensors, 64, Elem::F16);
            }
        }
    }
}

/// A model that does not fit together costs no memory.
#[test]
fn nothing_is_allocated_for_a_model_with_a_tensor_missing() {
    let model = safetensors(Family::DeepseekV3);
    for missing in model.tensors.iter().map(|info| &info.name) {
        let rest: Vec<_> = model.tensors.iter().filter(|info| info.name != *missing).cloned().collect();
        let mut e = CpuExecutor::new();
        let rest = TensorSet::from(rest);
        let loaded = load(&mut e, &model.config, &rest, &model.sources, 64, |_| ());
        let error = pollster::block_on(loaded).expect_err("a tensor is missing").to_string();
        assert!(error.contains(missing.as_str()), "{missing}: {error}");
        assert_eq!(e.resident_bytes(), (0, 0), "{missing}");
    }
}
