//! Tiny models of every family against `transformers`, in every container and format, on every adapter.

use aloud_engine::EngineOptions;
use aloud_format::DType;
use aloud_ops::{Elem, Executor};
use aloud_tests::places::{Place, everywhere, fastest_gpu, gpus, greedy, oracle_and_gpu, worst_error};
use aloud_tests::tiny::{
    Family, Form, ROWS, SHORT, Stored, Tiny, check_golden, fnv1a64, golden, long, permuted, values,
};
use aloud_tests::{FORMATS, for_each};

/// With an f32 cache nothing is rounded to less than f32, here as in the reference: what is left is the order of sums.
const F32_TOLERANCE: f64 = 1e-5;
/// An f16 cache rounds each key and value by up to 2^-11, 4.9e-4; sums over positions and layers average that.
const F16_TOLERANCE: f64 = 2e-3;
/// The same model out of another container: the same values, in sums of the same order but for permuted rows.
const CONTAINER_TOLERANCE: f64 = 1e-5;

fn options(cache: Elem) -> EngineOptions {
    EngineOptions { n_ctx: 128, cache, chunks: vec![32], ..EngineOptions::default() }
}

/// The rows that a golden has.
fn rows(model: &Stored, place: &Place, cache: Elem) -> Vec<f32> {
    let mut engine = place.engine(model, options(cache));
    let mut rows = engine.logits(&SHORT, &[0, 1, 2, 3, 4, 5, 6, 7]);
    rows.extend(engine.logits(&long(), &ROWS));
    rows
}

fn check(name: &str, model: &Stored, place: &Place, cache: Elem) {
    let tolerance = if cache == Elem::F32 { F32_TOLERANCE } else { F16_TOLERANCE };
    let error = worst_error(&rows(model, place, cache), &golden(name));
    println!("{name}, {cache:?} cache, on {place}: off by {error:.1e}");
    assert!(error <= tolerance, "{name}, {cache:?} cache, on {place}: off by {error:.2e}, allowed {tolerance:.0e}");
}

fn check_everywhere(name: &str, model: &Stored) {
    for_each(&mut everywhere(), |place| {
        for cache in [Elem::F32, Elem::F16] {
            check(name, model, place, cache);
        }
    });
}

#[test]
fn the_generator_gives_the_known_numbers() {
    let close = |got: &[f32], expected: &[f64]| {
        for (a, b) in got.iter().zip(expected) {
            assert!((f64::from(*a) - b).abs() < 1e-6, "{a} is not {b}");
        }
    };
    assert_eq!(fnv1a64("model.embed_tokens.weight"), 0xa88f_d795_d5c6_d156);
    let embed = values("model.embed_tokens.weight", &[256, 128]);
    close(&embed, &[-0.257_419_109_344, -0.359_963_655_472, 0.026_570_439_339, -0.503_116_011_62]);
    close(&embed[255 * 128..], &[-0.024_098, 0.205_665, 0.102_238, 0.056_109]);
    let o = values("model.layers.0.self_attn.o_proj.weight", &[128, 128]);
    close(&o, &[-0.083_658_203_483, 0.068_910_524_249, 0.032_819_557_935]);
    assert_eq!(permuted(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 2, 1), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
}

/// Numbers that were computed by another program than the goldens: NumPy in f64.
#[test]
fn the_goldens_agree_with_an_independent_computation() {
    let last: [(&str, [u32; 8], f64, [f64; 8]); 3] = [
        (
            "llama",
            [13, 104, 95, 155, 81, 255, 104, 5],
            16.11995,
            [1.51658, 0.68243, 1.38014, -0.70496, 1.21841, 2.68944, 2.04751, -0.79227],
        ),
        (
            "qwen2",
            [13, 104, 95, 155, 168, 23, 144, 254],
            16.20181,
            [1.25617, 0.56851, 1.49580, -0.85661, 1.21185, 2.62516, 1.75935, -0.81432],
        ),
        (
            "qwen3",
            [136, 33, 251, 33, 65, 230, 26, 6],
            15.86945,
            [0.52820, -0.69575, 0.59445, 0.19990, -0.47739, 2.19647, 2.98017, -0.53356],
        ),
    ];
    for (name, ids, norm, first) in last {
        check_golden(name, &golden(name), &ids, norm, &first);
    }
}

#[test]
fn llama_is_as_in_transformers() {
    check_everywhere("llama", &Tiny::new(Family::Llama).safetensors(Form::RopeParameters, DType::F32, 1));
}

#[test]
fn qwen2_is_as_in_transformers() {
    check_everywhere("qwen2", &Tiny::new(Family::Qwen2).safetensors(Form::RopeScaling, DType::F32, 1));
}

#[test]
fn qwen3_is_as_in_transformers() {
    check_everywhere("qwen3", &Tiny::new(Family::Qwen3).safetensors(Form::RopeParameters, DType::F32, 1));
}

#[test]
fn scaled_rotary_frequencies_are_as_in_transformers() {
    for place in oracle_and_gpu() {
        for (name, family) in [("llama_short", Family::Llama), ("qwen3_short", Family::Qwen3)] {
            let model = Tiny::short(family).safetensors(Form::RopeScaling, DType::F32, 1);
            check(name, &model, &place, Elem::F32);
            check(name, &Tiny::short(family).gguf(DType::F32, 1), &place, Elem::F32);
        }
    }
    // The test would not see scaling that is left out if it made no difference.
    for (name, unscaled) in [("llama_short", "llama"), ("qwen3_short", "qwen3")] {
        assert!(worst_error(&golden(name), &golden(unscaled)) > 100.0 * F32_TOLERANCE, "{name}");
    }
}

#[test]
fn a_tied_head_is_the_embedding() {
    let tied = Tiny { tied: true, ..Tiny::new(Family::Llama) };
    for place in oracle_and_gpu() {
        check("llama_tied", &tied.safetensors(Form::RopeParameters, DType::F32, 1), &place, Elem::F32);
        check("llama_tied", &tied.gguf(DType::F32, 1), &place, Elem::F32);
    }
}

#[test]
fn bf16_weights_are_as_in_transformers() {
    for place in oracle_and_gpu() {
        let model = Tiny::new(Family::Llama).safetensors(Form::RopeParameters, DType::BF16, 1);
        check("llama_bf16", &model, &place, Elem::F32);
    }
}

#[test]
fn both_forms_of_the_config_say_the_same() {
    for family in [Family::Llama, Family::Qwen2, Family::Qwen3] {
        for tiny in [Tiny::new(family), Tiny::short(family)] {
            let config = |form| tiny.safetensors(form, DType::F32, 1).config;
            assert_eq!(config(Form::RopeScaling), config(Form::RopeParameters), "{family:?}");
        }
    }
}

/// Shards hold the same bytes: nothing may differ at all.
#[test]
fn shards_are_one_model() {
    for place in oracle_and_gpu() {
        let tiny = Tiny::new(Family::Qwen2);
        let whole = rows(&tiny.safetensors(Form::RopeScaling, DType::F32, 1), &place, Elem::F32);
        assert_eq!(rows(&tiny.safetensors(Form::RopeScaling, DType::F32, 3), &place, Elem::F32), whole, "{place}");
        let whole = rows(&tiny.gguf(DType::F32, 1), &place, Elem::F32);
        assert_eq!(rows(&tiny.gguf(DType::F32, 3), &place, Elem::F32), whole, "{place}");
    }
}

#[test]
fn gguf_and_safetensors_are_one_model() {
    for place in oracle_and_gpu() {
        for family in [Family::Llama, Family::Qwen2, Family::Qwen3] {
            let tiny = Tiny::new(family);
            let expected = rows(&tiny.safetensors(Form::RopeParameters, DType::F32, 1), &place, Elem::F32);
            let error = worst_error(&rows(&tiny.gguf(DType::F32, 1), &place, Elem::F32), &expected);
            println!("{family:?}, GGUF against safetensors, on {place}: off by {error:.1e}");
            assert!(error <= CONTAINER_TOLERANCE, "{family:?} on {place}: off by {error:.2e}");
        }
    }
}

/// Chunks, and a decode step, whose logits show in the drawn token only: both kernels of each format are in play.
#[test]
fn every_weight_format_is_as_on_the_oracle() {
    let places = gpus();
    // FP8 comes in safetensors.
    for (i, dtype) in FORMATS.into_iter().filter(|dtype| dtype.ggml_id().is_some()).enumerate() {
        let family = [Family::Llama, Family::Qwen2, Family::Qwen3][i % 3];
        let model = Tiny::for_quants(family).gguf(dtype, 1);
        let mut oracle = Place::Cpu.engine(&model, options(Elem::F32));
        let positions: Vec<usize> = (0..SHORT.len()).collect();
        let expected = oracle.logits(&SHORT, &positions);
        let (tokens, _) = oracle.generate(&greedy(&SHORT, 6));
        for place in &places {
            let mut engine = place.engine(&model, options(Elem::F32));
            let error = worst_error(&engine.logits(&SHORT, &positions), &expected);
            println!("{family:?} in {dtype} on {place}: off by {error:.1e}");
            assert!(error <= F32_TOLERANCE, "{family:?} in {dtype} on {place}: off by {error:.2e}");
            assert_eq!(engine.generate(&greedy(&SHORT, 6)).0, tokens, "{family:?} in {dtype} on {place}");
        }
    }
}

/// Formats without a kernel are refused by name when a weight is created, not computed wrongly.
#[test]
fn formats_without_a_kernel_are_refused_by_name() {
    let Some(place) = fastest_gpu() else { return };
    for dtype in DType::DEQUANTISED.iter().filter(|d| !FORMATS.contains(d)) {
        let error =
            place.gpu_executor().create_weight("blk.0.ffn_up.weight", *dtype, &[2, 256]).expect_err("has no kernel");
        let text = error.to_string();
        assert!(text.contains("blk.0.ffn_up.weight") && text.contains(dtype.name()), "{text}");
    }
}
