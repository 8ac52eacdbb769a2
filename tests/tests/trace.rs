//! Looking inside: experts, logits, cache and drafts as a traced request tells them.

use aloud_engine::{Draft, DraftKind, EngineOptions, Event, LayerTrace, Phase, Request, Sampling, StepTrace, Trace};
use aloud_format::DType;
use aloud_gpu::Counters;
use aloud_ops::{Elem, Executor};
use aloud_tests::places::{AnyEngine, fastest_gpu, greedy, oracle_and_gpu};
use aloud_tests::tiny::{Family, Form, SHORT, Stored, Tiny, long};
use std::collections::BTreeSet;
use std::ops::ControlFlow::{Break, Continue};

/// f32 all the way: what is left is the order of sums.
const TOLERANCE: f32 = 2e-5;

/// The experts of layer 1 and their weights at the first and the last position of [`SHORT`], by transformers.
type Known = [(usize, Vec<u32>, Vec<f32>); 2];

fn known(family: Family) -> Known {
    match family {
        Family::DeepseekV3 => [
            (0, vec![14, 12, 11, 13], vec![0.740_879, 0.617_155, 0.563_519, 0.578_447]),
            (7, vec![2, 14, 0, 13], vec![0.714_885, 0.586_706, 0.650_902, 0.547_507]),
        ],
        _ => [
            (0, vec![14, 2, 12, 13, 11, 15], vec![0.426_379, 0.280_227, 0.064_256, 0.047_941, 0.043_297, 0.035_309]),
            (7, vec![12, 6, 13, 15, 4, 2], vec![0.232_860, 0.208_009, 0.139_118, 0.107_268, 0.100_077, 0.085_720]),
        ],
    }
}

fn model(family: Family, mtp: bool) -> Stored {
    Tiny { mtp, ..Tiny::new(family) }.safetensors(Form::RopeParameters, DType::F32, 1)
}

fn options() -> EngineOptions {
    EngineOptions { n_ctx: 128, cache: Elem::F32, chunks: vec![4, 32], ..EngineOptions::default() }
}

/// What a request told.
#[derive(Default)]
struct Told {
    tokens: Vec<u32>,
    steps: Vec<StepTrace>,
    layers: Vec<LayerTrace>,
}

fn traced(engine: &mut AnyEngine, request: &Request) -> Told {
    let mut told = Told::default();
    let request = Request { trace: true, ..request.clone() };
    let (tokens, generation) = engine
        .listen(&request, |event| {
            match event {
                Event::Trace(Trace::Step(step)) => told.steps.push(step),
                Event::Trace(Trace::Layer(layer)) => {
                    let step = told.steps.last().expect("a step comes before its layers");
                    assert_eq!(step.tokens[(layer.pos - step.pos) as usize], layer.token);
                    told.layers.push(layer);
                }
                Event::Logprob(_) => panic!("was not asked for"),
                Event::Prefill { .. } | Event::Token(_) => {}
            }
            Continue(())
        })
        .expect("generates");
    if let Some(stats) = generation.drafts {
        let accepted: u32 = told.steps.iter().map(|step| step.accepted).sum();
        let drafted: usize = told.steps.iter().map(|step| step.drafts.len()).sum();
        assert_eq!(accepted as usize, stats.accepted.iter().sum::<usize>());
        assert_eq!(drafted, stats.drafted.iter().sum::<usize>());
    }
    told.tokens = tokens;
    told
}

fn assert_close(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= TOLERANCE, "{what}: {got:?}, expected {expected:?}");
}

/// The weights that a layer's logits give its experts.
fn weights(family: Family, layer: &LayerTrace) -> Vec<f32> {
    let chosen = |scores: &[f32]| -> Vec<f32> { layer.experts.iter().map(|&e| scores[e as usize]).collect() };
    if family == Family::DeepseekV3 {
        let scores: Vec<f32> = layer.logits.iter().map(|g| 1.0 / (1.0 + (-g).exp())).collect();
        let sum: f32 = chosen(&scores).iter().sum();
        return chosen(&scores).iter().map(|s| s / sum * 2.5).collect();
    }
    let e: Vec<f32> = layer.logits.iter().map(|g| g.exp()).collect();
    let sum: f32 = e.iter().sum();
    let scores: Vec<f32> = e.iter().map(|e| e / sum).collect();
    // Softmax without groups: the best are chosen, in order.
    let least = chosen(&scores).into_iter().fold(1.0, f32::min);
    assert!(scores.iter().enumerate().all(|(i, &s)| s <= least || layer.experts.contains(&(i as u32))));
    chosen(&scores)
}

#[test]
fn experts_are_those_of_transformers() {
    for place in oracle_and_gpu() {
        for (family, n_shared) in [(Family::DeepseekV3, 1), (Family::DeepseekV2Lite, 2)] {
            for chunks in [vec![32], vec![4]] {
                let mut engine = place.engine(&model(family, false), EngineOptions { chunks, ..options() });
                let told = traced(&mut engine, &greedy(&SHORT, 4));
                for (pos, experts, expected) in known(family) {
                    let layer = told.layers.iter().find(|l| (l.pos as usize, l.layer) == (pos, 1)).expect("is told");
                    assert_eq!((layer.token, &layer.experts), (SHORT[pos], &experts), "{family:?} on {place}");
                    assert_close(&layer.weights, &expected, &format!("{family:?} at {pos} on {place}"));
                }
                let places: Vec<(u32, u32)> = told.layers.iter().map(|l| (l.layer, l.pos)).collect();
                let all: BTreeSet<(u32, u32)> = (1..3).flat_map(|l| (0..11).map(move |pos| (l, pos))).collect();
                assert_eq!(places.iter().copied().collect::<BTreeSet<_>>(), all, "the first layer is dense");
                assert_eq!(places.len(), all.len(), "each is told once");
                for layer in &told.layers {
                    assert_eq!((layer.n_shared, layer.logits.len()), (n_shared, 16));
                    assert_close(&layer.weights, &weights(family, layer), &format!("{layer:?} on {place}"));
                }
            }
        }
    }
}

#[test]
fn steps_tell_what_the_cache_holds() {
    for place in oracle_and_gpu() {
        for (cache, elem_bytes) in [(Elem::F32, 4), (Elem::F16, 2)] {
            let mut engine = place.engine(&model(Family::DeepseekV3, true), EngineOptions { cache, ..options() });
            let told = traced(&mut engine, &greedy(&long()[..40], 3));
            let cached: Vec<u32> = told.steps.iter().map(|step| step.n_cached).collect();
            // A chunk of 32, one of 8 rows, and two tokens; the layer that could draft is not in use.
            assert_eq!(cached, [32, 40, 41, 42], "on {place}");
            for step in &told.steps {
                assert_eq!(step.cache_bytes, elem_bytes * (64 + 16) * 3 * u64::from(step.n_cached), "on {place}");
            }
            let phases = [Phase::Prompt, Phase::Prompt, Phase::Decode, Phase::Decode];
            assert!(told.steps.iter().map(|step| step.phase).eq(phases), "on {place}");
            // Again: but for the last token all is cached and not computed.
            let told = traced(&mut engine, &greedy(&long()[..40], 1));
            assert_eq!((told.steps.len(), told.steps[0].pos, told.layers.len()), (1, 39, 2), "on {place}");
        }
        let mut engine = place.engine(&model(Family::Llama, false), options());
        let told = traced(&mut engine, &greedy(&SHORT, 4));
        assert_eq!((told.steps.len(), told.layers.len()), (4, 0), "a dense model has steps only");
        assert_eq!(told.steps[3].cache_bytes, 4 * 2 * 2 * 32 * 2 * 11, "keys and values of 2 heads in 2 layers");
    }
}

#[test]
fn drafts_and_verdicts_add_up_to_the_text() {
    let repeating: Vec<u32> = SHORT.iter().cycle().take(24).copied().collect();
    for place in oracle_and_gpu() {
        for kind in [DraftKind::Lookup, DraftKind::NextToken] {
            let draft = Some(Draft { kind, n_drafts: 3, adaptive: false });
            let mut engine = place.engine(&model(Family::DeepseekV3, true), EngineOptions { draft, ..options() });
            let told = traced(&mut engine, &greedy(&repeating, 30));
            let main: Vec<&StepTrace> = told.steps.iter().filter(|step| step.phase != Phase::Draft).collect();
            let drawn: Vec<u32> = main.iter().flat_map(|step| &step.drawn).copied().collect();
            assert_eq!(drawn, told.tokens, "{kind:?} on {place}");
            for pair in main.windows(2) {
                let (before, step) = (pair[0], pair[1]);
                assert_eq!(step.pos, before.n_cached, "{kind:?} on {place}");
                if step.phase == Phase::Decode {
                    let accepted = step.accepted as usize;
                    assert_eq!(step.tokens[0], *before.drawn.last().expect("drew"), "{kind:?} on {place}");
                    assert_eq!((&step.tokens[1..], step.drawn.len()), (&step.drafts[..], accepted + 1));
                    assert_eq!(step.drafts[..accepted], step.drawn[..accepted], "{kind:?} on {place}");
                    assert_eq!(step.n_cached, step.pos + 1 + step.accepted, "{kind:?} on {place}");
                }
            }
            assert!(main.iter().any(|step| !step.drafts.is_empty()), "{kind:?} on {place}");
            check_draft_phase(&told, kind);
        }
    }
}

/// Drafts by the extra layer: which of its experts saw which token, before the step that verifies what it drafted.
fn check_draft_phase(told: &Told, kind: DraftKind) {
    let of_layer: Vec<&LayerTrace> = told.layers.iter().filter(|layer| layer.layer == 3).collect();
    let rows = told.steps.iter().filter(|step| step.phase == Phase::Draft).map(|step| step.tokens.len());
    assert_eq!(of_layer.len(), rows.sum::<usize>());
    assert_eq!(kind == DraftKind::NextToken, !of_layer.is_empty());
    let mut behind: Vec<u32> = Vec::new();
    for step in &told.steps {
        match step.phase {
            Phase::Prompt => {}
            // What was fed to the layer after its first step was a draft; the last draft is fed to nobody.
            Phase::Decode => {
                assert!(step.drafts.starts_with(&behind), "{behind:?} before {step:?}");
                behind.clear();
            }
            Phase::Draft if step.pos < step.n_cached && step.pos + step.tokens.len() as u32 == step.n_cached => {}
            Phase::Draft => behind.extend(&step.tokens),
        }
    }
}

#[test]
fn the_answer_is_the_same() {
    let sampling = Sampling { temperature: 0.9, top_p: 0.95, seed: 5, ..Sampling::default() };
    for place in oracle_and_gpu() {
        for kind in [None, Some(DraftKind::Lookup), Some(DraftKind::NextToken)] {
            let draft = kind.map(|kind| Draft { kind, n_drafts: 2, adaptive: false });
            let mut engine = place.engine(&model(Family::DeepseekV3, true), EngineOptions { draft, ..options() });
            let ids = &long()[..40];
            for request in [greedy(ids, 24), Request { sampling, ..greedy(ids, 24) }] {
                engine.clear_cache();
                let (expected, generation) = engine.generate(&request);
                engine.clear_cache();
                assert_eq!(traced(&mut engine, &request).tokens, expected, "{kind:?} on {place}");
                // A stop, and what can be reused afterwards.
                let stop = Request { stop_ids: vec![expected[3]], ..request.clone() };
                let first = expected.iter().position(|t| *t == expected[3]).expect("is there");
                assert_eq!(traced(&mut engine, &stop).tokens, expected[..=first], "{kind:?} on {place}");
                assert_eq!(engine.generate(&request).0, expected, "{kind:?} on {place}");
                assert_eq!(generation.n_prompt, 40);
            }
        }
    }
}

#[test]
fn a_listener_that_breaks_leaves_a_usable_engine() {
    for place in oracle_and_gpu() {
        let mut engine = place.engine(&model(Family::DeepseekV3, false), options());
        let (expected, _) = engine.generate(&greedy(&long()[..40], 6));
        for stop_at in [1, 2, 70, 90] {
            engine.clear_cache();
            let request = Request { trace: true, ..greedy(&long()[..40], 6) };
            let mut left = stop_at;
            let cancelled = engine.listen(&request, |event| {
                left -= usize::from(matches!(event, Event::Trace(_)));
                if left == 0 { Break(()) } else { Continue(()) }
            });
            let (tokens, _) = cancelled.expect("no error");
            assert!(expected.starts_with(&tokens) && tokens.len() < 6, "after {stop_at} on {place}");
            assert_eq!(engine.generate(&greedy(&long()[..40], 6)).0, expected, "after {stop_at} on {place}");
        }
    }
}

fn counted(engine: &mut AnyEngine, request: &Request) -> Counters {
    let counters = |engine: &AnyEngine| match engine {
        AnyEngine::Gpu(engine) => engine.executor().gpu().counters(),
        AnyEngine::Cpu(_) => panic!("the oracle counts nothing"),
    };
    let before = counters(engine);
    engine.generate(request);
    counters(engine) - before
}

#[test]
fn what_is_not_asked_for_costs_nothing() {
    let Some(place) = fastest_gpu() else { return };
    let held = |engine: &AnyEngine| match engine {
        AnyEngine::Gpu(engine) => engine.executor().resident_bytes(),
        AnyEngine::Cpu(_) => panic!("a GPU was asked for"),
    };
    let mut engine = place.engine(&model(Family::DeepseekV3, false), options());
    let plain = greedy(&SHORT, 20);
    engine.generate(&plain);
    let before = (held(&engine), counted(&mut engine, &plain));
    assert_eq!((before.1.buffers, before.1.bind_groups, before.1.pipelines), (0, 0, 0), "{before:?}");
    let asked = Request { trace: true, ..plain.clone() };
    assert!(counted(&mut engine, &asked).bind_groups > 0, "plans of its own");
    let again = counted(&mut engine, &asked);
    assert_eq!((again.bind_groups, again.pipelines), (0, 0), "compiled once: {again:?}");
    let after = counted(&mut engine, &plain);
    assert_eq!(after, before.1, "another request is as if there had been no trace");
    assert!(held(&engine).0 > before.0.0, "what routers leave behind is held from then on");
}
