//! Drafting changes how fast a text comes, never which: multi-token prediction and lookup on tiny models.

use aloud_cpu::CpuExecutor;
use aloud_engine::{Draft, DraftKind, DraftStats, Engine, EngineOptions, Event, Finish, Request, Sampling, Thought};
use aloud_format::{ByteSource, DType, MemorySource};
use aloud_model::{Decoder, LayerCache, load};
use aloud_ops::{Elem, Executor, LatentCache, Recording, Step};
use aloud_tests::places::{AnyEngine, Place, fastest_gpu, greedy, oracle_and_gpu, worst_error};
use aloud_tests::tiny::{Family, Form, MTP_NEXT, SHORT, Stored, Tiny, long, mtp_golden};
use std::ops::ControlFlow::{Break, Continue};

fn v3() -> Stored {
    Tiny { mtp: true, ..Tiny::new(Family::DeepseekV3) }.safetensors(Form::RopeParameters, DType::F32, 1)
}

/// A DeepSeek-V3 in which each token decides the next one alone, and whose prediction layer knows that: attention and
/// experts add nothing, and the layer passes the next token's embedding on. Greedy text runs into a circle, and every draft is
/// right.
fn predictable() -> Stored {
    let mut model = v3();
    let mut files: Vec<Vec<u8>> = model.sources.iter().map(all_bytes).collect();
    for info in &model.tensors {
        let bytes = &mut files[info.file][info.offset as usize..][..info.n_bytes as usize];
        if info.name.contains("o_proj") || info.name.contains("down_proj") {
            bytes.fill(0);
        }
        if info.name.contains("eh_proj") {
            bytes.fill(0);
            for i in 0..128 {
                bytes[(i * 256 + i) * 4..][..4].copy_from_slice(&1f32.to_le_bytes());
            }
        }
        // The same norms before the head and before the prediction layer's, so that both see the same direction.
        if info.name.ends_with("enorm.weight") || info.name.ends_with("norm.weight") && info.n_bytes == 128 * 4 {
            bytes.chunks_exact_mut(4).for_each(|b| b.copy_from_slice(&1f32.to_le_bytes()));
        }
    }
    model.sources = files.into_iter().map(|bytes| MemorySource::new("predictable", bytes)).collect();
    model
}

fn all_bytes(source: &MemorySource) -> Vec<u8> {
    let mut bytes = vec![0; source.len() as usize];
    pollster::block_on(source.read_at(0, &mut bytes)).expect("reads");
    bytes
}

fn options(draft: Option<Draft>) -> EngineOptions {
    EngineOptions { n_ctx: 128, cache: Elem::F32, chunks: vec![4, 32], draft, ..EngineOptions::default() }
}

fn drafts(kind: DraftKind, n_drafts: u32) -> Option<Draft> {
    Some(Draft { kind, n_drafts, adaptive: false })
}

/// Every way to draft.
fn ways() -> Vec<Option<Draft>> {
    [1, 2, 4].into_iter().flat_map(|n| [DraftKind::NextToken, DraftKind::Lookup].map(|kind| drafts(kind, n))).collect()
}

/// The prediction layer alone, from the hidden states of the model.
fn predicted<E: Executor>(mut e: E, model: &Stored) -> Vec<f32> {
    let config = &model.config;
    let weights = pollster::block_on(load(&mut e, config, &model.tensors, &model.sources, 64, |_| ())).expect("loads");
    let state = |e: &mut E, elem, shape: &[u32]| e.create_state("state", elem, shape).expect("fits");
    let block_table = state(&mut e, Elem::U32, &[2]);
    e.write_state(block_table, 0, bytemuck::cast_slice(&[1u32, 0]));
    let caches: Vec<LayerCache> = (0..=config.num_hidden_layers)
        .map(|_| {
            let rows = state(&mut e, Elem::F32, &[64, config.cache_width()]);
            LayerCache::Latent(LatentCache { rows, block_table, block_tokens: 32 })
        })
        .collect();
    let decoder = Decoder { config, weights: &weights, caches: &caches, expand_from: u32::MAX };
    let [step, tokens, next] = [4, 8, 8].map(|n| state(&mut e, Elem::U32, &[n]));
    e.write_state(step, 0, bytemuck::bytes_of(&Step { n_tokens: 8, ..Step::default() }));
    e.write_state(tokens, 0, bytemuck::cast_slice(&SHORT));
    e.write_state(next, 0, bytemuck::cast_slice(&[&SHORT[1..], &[MTP_NEXT]].concat()));
    let mut rec = Recording::new(step, 8);
    let x = decoder.forward(&mut rec, tokens);
    let hidden = decoder.hidden(&mut rec, x);
    let hidden = decoder.next_token(&mut rec, hidden, next);
    let logits = decoder.head(&mut rec, hidden);
    let out = state(&mut e, Elem::F32, logits.shape());
    rec.redirect(logits, out);
    let plan = e.compile(&rec).expect("compiles");
    e.submit(&plan, 8, None).expect("runs");
    bytemuck::cast_slice(&pollster::block_on(e.read_state(out)).expect("reads")).to_vec()
}

#[test]
fn the_prediction_layer_is_as_in_transformers() {
    let model = v3();
    let check = |place: &str, logits: &[f32]| {
        let error = worst_error(logits, &mtp_golden());
        println!("multi-token prediction on {place}: off by {error:.1e}");
        assert!(error <= 1e-5, "{place}: off by {error:.2e}");
    };
    check("the CPU oracle", &predicted(CpuExecutor::new(), &model));
    for place in aloud_tests::places::gpus() {
        check(&place.to_string(), &predicted(place.gpu_executor(), &model));
    }
}

/// The texts of several requests, in turn on one engine.
fn texts(
    model: &Stored,
    place: &Place,
    draft: Option<Draft>,
    requests: &[Request],
) -> Vec<(Vec<u32>, Finish, Option<DraftStats>)> {
    let mut engine = place.engine(model, options(draft));
    let answer = |request| {
        let (tokens, generation) = engine.generate(request);
        (tokens, generation.finish, generation.drafts)
    };
    requests.iter().map(answer).collect()
}

/// Greedy, drawn, penalised, stopped, cut short by the context, and with a thought that is over its budget.
fn requests() -> Vec<Request> {
    let prompt = &long()[..40];
    let drawn = Sampling { temperature: 0.8, top_p: 0.9, seed: 5, ..Sampling::default() };
    let penalised = Sampling { repetition_penalty: 1.2, frequency_penalty: 0.1, ..drawn };
    let thought = Thought { open: 3, close: 4, budget: Some(7), open_at_start: true };
    vec![
        greedy(&SHORT, 60),
        greedy(prompt, 1),
        greedy(prompt, 2),
        greedy(prompt, 1000),
        Request { sampling: drawn, ..greedy(prompt, 40) },
        Request { sampling: penalised, ..greedy(prompt, 40) },
        Request { stop_ids: (0..16).map(|i| i * 16).collect(), ..greedy(&SHORT, 60) },
        Request { thought: Some(thought), ..greedy(&SHORT, 30) },
        greedy(&[&SHORT[..], prompt].concat(), 30),
    ]
}

fn check_same(model: &Stored, places: &[Place]) {
    for place in places {
        let plain = texts(model, place, None, &requests());
        for draft in ways() {
            let drafted = texts(model, place, draft, &requests());
            for (i, (plain, drafted)) in plain.iter().zip(&drafted).enumerate() {
                assert_eq!((&plain.0, plain.1), (&drafted.0, drafted.1), "request {i}, {draft:?}, on {place}");
            }
        }
    }
}

#[test]
fn the_text_is_the_same_with_drafts() {
    check_same(&v3(), &oracle_and_gpu());
}

#[test]
fn the_text_is_the_same_with_drafts_that_are_right() {
    check_same(&predictable(), &oracle_and_gpu());
}

/// The distills have no prediction layer; lookup drafts for them.
#[test]
fn models_without_prediction_look_up() {
    let model = Tiny::new(Family::Llama).safetensors(Form::RopeParameters, DType::F32, 1);
    for place in oracle_and_gpu() {
        let prompt = [&SHORT[..], &SHORT, &SHORT].concat();
        let requests = [greedy(&prompt, 60), greedy(&[&prompt[..], &SHORT].concat(), 60)];
        let plain = texts(&model, &place, None, &requests);
        let drafted = texts(&model, &place, drafts(DraftKind::Lookup, 4), &requests);
        for (plain, drafted) in plain.iter().zip(&drafted) {
            assert_eq!(plain.0, drafted.0, "on {place}");
            assert!(drafted.2.expect("counts").drafted[0] > 0, "the prompt repeats itself");
        }
    }
}

#[test]
fn prediction_needs_a_layer_for_it() {
    let model = Tiny::new(Family::Llama).safetensors(Form::RopeParameters, DType::F32, 1);
    let mut e = CpuExecutor::new();
    let loaded = load(&mut e, &model.config, &model.tensors, &model.sources, 128, |_| ());
    let weights = pollster::block_on(loaded).expect("loads");
    let engine = Engine::new(e, model.config.clone(), weights, options(drafts(DraftKind::NextToken, 1)));
    let text = engine.err().expect("is refused").to_string();
    assert!(text.contains("multi-token prediction") && text.contains("lookup"), "{text}");
}

/// Where every draft is right, a step draws a token more for each.
#[test]
fn right_drafts_are_tokens_gained() {
    let model = predictable();
    for place in oracle_and_gpu() {
        for n in [1, 2, 4] {
            let mut engine = place.engine(&model, options(drafts(DraftKind::NextToken, n)));
            let (tokens, generation) = engine.generate(&greedy(&SHORT, 61));
            assert_eq!(tokens.len(), 61);
            let stats = generation.drafts.expect("counts");
            println!("{n} drafts on {place}: {stats:?}");
            assert_eq!(stats.drafted, stats.accepted, "every draft is right");
            assert_eq!(stats.n_steps, 60usize.div_ceil(1 + n as usize), "{n} drafts on {place}");
            // The text runs in a circle: lookup finds it.
            let mut engine = place.engine(&model, options(drafts(DraftKind::Lookup, n)));
            let stats = engine.generate(&greedy(&SHORT, 100)).1.drafts.expect("counts");
            assert!(stats.tokens_per_step() > 1.0 + 0.3 * f64::from(n), "{n} lookups on {place}: {stats:?}");
        }
    }
}

/// A listener that leaves in the middle of a step's tokens leaves a cache that can be gone on from.
#[test]
fn cancelling_amid_right_drafts_leaves_a_usable_engine() {
    let model = predictable();
    for place in oracle_and_gpu() {
        let plain = place.engine(&model, options(None)).generate(&greedy(&SHORT, 40)).0;
        let mut engine = place.engine(&model, options(drafts(DraftKind::NextToken, 4)));
        for leave_after in 1..8 {
            let mut n = 0;
            let cancelled = engine.listen(&greedy(&SHORT, 40), |event| {
                n += usize::from(matches!(event, Event::Token(_)));
                if n == leave_after { Break(()) } else { Continue(()) }
            });
            let (tokens, generation) = cancelled.expect("runs");
            assert_eq!((tokens.as_slice(), generation.finish), (&plain[..leave_after], Finish::Cancelled), "{place}");
        }
        let (tokens, generation) = engine.generate(&greedy(&[&SHORT[..], &plain[..10]].concat(), 30));
        assert_eq!(tokens, plain[10..40], "on {place}");
        assert!(generation.n_reused >= SHORT.len(), "on {place}");
    }
}

/// Adaptive drafting times both ways; whatever it decides, the text is the same.
#[test]
fn adaptive_drafting_reports_its_times() {
    let Some(place) = fastest_gpu() else { return };
    for (name, model) in [("predictable", predictable()), ("other", v3())] {
        let plain = place.engine(&model, options(None)).generate(&greedy(&SHORT, 110)).0;
        for kind in [DraftKind::NextToken, DraftKind::Lookup] {
            let adaptive = Some(Draft { kind, n_drafts: 2, adaptive: true });
            let mut engine = place.engine(&model, options(adaptive));
            for _ in 0..2 {
                check_adaptive(&mut engine, &plain, &format!("{name}, {kind:?}"));
            }
        }
    }
}

fn check_adaptive(engine: &mut AnyEngine, plain: &[u32], name: &str) {
    {
        let (tokens, generation) = engine.generate(&greedy(&SHORT, 110));
        assert_eq!(tokens, plain, "{name}");
        let stats = generation.drafts.expect("counts");
        println!("{stats:?}");
        assert!(stats.plain_ms.is_some_and(|ms| ms > 0.0) && stats.draft_ms.is_some_and(|ms| ms > 0.0), "{stats:?}");
    }
}
