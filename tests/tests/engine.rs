//! Generation on a tiny model: chunks, caches, seeds, ends, cancellation, and what a token costs the host.

use aloud_cpu::CpuExecutor;
use aloud_engine::{EngineError, EngineOptions, Event, Finish, Request, Sampling, Thought};
use aloud_format::DType;
use aloud_gpu::Counters;
use aloud_model::MemoryNeed;
use aloud_ops::{Elem, Executor, MAX_STOP_IDS};
use aloud_tests::places::{AnyEngine, Place, best_ids, fastest_gpu, greedy, oracle_and_gpu, worst_error};
use aloud_tests::tiny::{Family, Form, SHORT, Stored, Tiny, VOCAB, long};
use std::ops::ControlFlow::{Break, Continue};

/// Chunks sum in another order than single tokens do; f32 all the way, so this is generous.
const CHUNK_TOLERANCE: f64 = 1e-4;

/// What transformers generates greedily after [`SHORT`].
const GREEDY: [(Family, [u32; 8]); 3] = [
    (Family::Llama, [5, 42, 177, 20, 95, 149, 17, 0]),
    (Family::Qwen2, [254, 65, 56, 152, 166, 60, 228, 3]),
    (Family::Qwen3, [6, 166, 23, 59, 17, 90, 121, 153]),
];
const LLAMA: [u32; 8] = GREEDY[0].1;

fn model(family: Family) -> Stored {
    Tiny::new(family).safetensors(Form::RopeParameters, DType::F32, 1)
}

fn options() -> EngineOptions {
    EngineOptions { n_ctx: 256, cache: Elem::F32, block_tokens: 32, chunks: vec![4, 32], ..EngineOptions::default() }
}

/// A test on a Llama model, on the oracle and on a GPU.
fn on_each(options: &EngineOptions, test: impl Fn(&Place, AnyEngine)) {
    let model = model(Family::Llama);
    for place in oracle_and_gpu() {
        test(&place, place.engine(&model, options.clone()));
    }
}

#[test]
fn greedy_tokens_are_those_of_transformers() {
    for place in oracle_and_gpu() {
        for (family, expected) in GREEDY {
            for cache in [Elem::F32, Elem::F16] {
                let mut engine = place.engine(&model(family), EngineOptions { cache, ..options() });
                let (tokens, generation) = engine.generate(&greedy(&SHORT, 8));
                assert_eq!(tokens, expected, "{family:?} with a cache in {cache:?} on {place}");
                assert_eq!(generation.finish, Finish::Length);
                assert_eq!((generation.n_prompt, generation.n_reused), (8, 0));
            }
        }
    }
}

#[test]
fn any_chunking_computes_the_same() {
    let model = model(Family::Llama);
    let ids = &long()[..70];
    let every: Vec<usize> = (0..ids.len()).collect();
    for place in oracle_and_gpu() {
        let engine = |chunks: &[u32]| place.engine(&model, EngineOptions { chunks: chunks.to_vec(), ..options() });
        let mut first = engine(&[2]);
        let logits = first.logits(ids, &every);
        first.clear_cache();
        let (tokens, _) = first.generate(&greedy(ids, 12));
        for chunks in [&[3, 5][..], &[7], &[32, 128]] {
            let mut other = engine(chunks);
            let error = worst_error(&other.logits(ids, &every), &logits);
            println!("chunks of {chunks:?} against 2 on {place}: off by {error:.1e}");
            assert!(error <= CHUNK_TOLERANCE, "chunks of {chunks:?} on {place}: off by {error:.2e}");
            other.clear_cache();
            assert_eq!(other.generate(&greedy(ids, 12)).0, tokens, "chunks of {chunks:?} on {place}");
        }
        // Token by token: each prompt is the last one and one more, so each is one decode step over the cache.
        let mut single = engine(&[32]);
        for (n, best) in best_ids(&logits, VOCAB).into_iter().enumerate() {
            let (token, generation) = single.generate(&greedy(&ids[..=n], 1));
            assert_eq!((token[0], generation.n_reused), (best, n), "position {n} on {place}");
        }
        assert_eq!(single.generate(&greedy(ids, 12)).0, tokens, "token by token on {place}");
    }
}

#[test]
fn a_chunk_that_is_not_full_is_as_any_other() {
    on_each(&options(), |place, mut engine| {
        for n in [1, 2, 3, 4, 5, 31, 32, 33, 36, 37, 64, 65] {
            let ids = &long()[..n];
            let best = best_ids(&engine.logits(ids, &[n - 1]), VOCAB);
            engine.clear_cache();
            assert_eq!(engine.generate(&greedy(ids, 1)).0, best, "{n} tokens on {place}");
        }
    });
}

#[test]
fn a_seed_decides_the_answer() {
    on_each(&options(), |place, mut engine| {
        let mut answer = |seed| {
            let sampling = Sampling { temperature: 1.0, seed, ..Sampling::default() };
            engine.generate(&Request { sampling, ..greedy(&SHORT, 24) }).0
        };
        let first = answer(1);
        assert_eq!(answer(1), first, "on {place}");
        let others: Vec<_> = (2..6).map(&mut answer).collect();
        assert!(others.iter().all(|o| *o != first), "on {place}");
        assert_eq!(answer(1), first, "on {place}, after others");
    });
}

#[test]
fn one_candidate_is_greedy_whatever_cuts_to_it() {
    on_each(&options(), |place, mut engine| {
        let hot = Sampling { temperature: 2.0, seed: 9, ..Sampling::default() };
        let top_k = Sampling { top_k: 1, ..hot };
        let top_p = Sampling { top_p: 1e-6, ..hot };
        let min_p = Sampling { min_p: 1.0, ..hot };
        for sampling in [top_k, top_p, min_p] {
            let (tokens, _) = engine.generate(&Request { sampling, ..greedy(&SHORT, 8) });
            assert_eq!(tokens, LLAMA, "{sampling:?} on {place}");
        }
    });
}

#[test]
fn penalties_see_prompt_and_answer() {
    let mut answers = Vec::new();
    on_each(&options(), |place, mut engine| {
        // So high that no token comes twice, nor one of the prompt.
        let sampling = Sampling { repetition_penalty: 50.0, ..Sampling::default() };
        let (tokens, _) = engine.generate(&Request { sampling, ..greedy(&SHORT, 40) });
        let mut seen = SHORT.to_vec();
        for token in tokens {
            assert!(!seen.contains(&token), "{token} again on {place}");
            seen.push(token);
        }
        // This one leaves the prompt alone.
        let sampling = Sampling { presence_penalty: 1e4, ..Sampling::default() };
        let (mut tokens, _) = engine.generate(&Request { sampling, ..greedy(&SHORT, 40) });
        assert!(tokens.iter().any(|t| SHORT.contains(t)), "on {place}");
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), 40, "on {place}");
        // Counts of one answer do not reach into the next.
        assert_eq!(engine.generate(&greedy(&SHORT, 8)).0, LLAMA, "on {place}");
    });
    for place in oracle_and_gpu() {
        let mut engine = place.engine(&model(Family::Qwen2), options());
        let sampling = Sampling { frequency_penalty: 0.7, repetition_penalty: 1.1, ..Sampling::default() };
        answers.push(engine.generate(&Request { sampling, ..greedy(&SHORT, 40) }).0);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "all places: {answers:?}");
}

#[test]
fn padding_of_the_embedding_is_never_drawn() {
    on_each(&options(), |place, mut engine| {
        for sampling in [Sampling::default(), Sampling { temperature: 3.0, seed: 4, ..Sampling::default() }] {
            let (tokens, _) = engine.generate(&Request { n_vocab: 100, sampling, ..greedy(&SHORT, 40) });
            assert!(tokens.iter().all(|&t| t < 100), "{tokens:?} on {place}");
        }
    });
}

#[test]
fn a_stop_id_ends_the_answer() {
    on_each(&options(), |place, mut engine| {
        let mut stop_ids = vec![300; MAX_STOP_IDS];
        stop_ids[MAX_STOP_IDS - 1] = LLAMA[2];
        let (tokens, generation) = engine.generate(&Request { stop_ids, ..greedy(&SHORT, 8) });
        assert_eq!(tokens, LLAMA[..3], "on {place}");
        assert_eq!(generation.finish, Finish::Stop);
        // Steps that were submitted ahead leave no trace.
        let (tokens, generation) = engine.generate(&greedy(&SHORT, 8));
        assert_eq!((tokens.as_slice(), generation.finish), (&LLAMA[..], Finish::Length), "on {place}");
        // The first token can be the last.
        let (tokens, generation) = engine.generate(&Request { stop_ids: vec![LLAMA[0]], ..greedy(&SHORT, 8) });
        assert_eq!((tokens.as_slice(), generation.finish), (&LLAMA[..1], Finish::Stop), "on {place}");
    });
}

#[test]
fn max_tokens_and_the_context_end_the_answer() {
    on_each(&EngineOptions { n_ctx: 20, ..options() }, |place, mut engine| {
        for n in [1, 2, 5] {
            let (tokens, generation) = engine.generate(&greedy(&SHORT, n));
            assert_eq!(tokens, LLAMA[..n as usize], "on {place}");
            assert_eq!(generation.finish, Finish::Length);
        }
        let (tokens, generation) = engine.generate(&greedy(&SHORT, u32::MAX));
        assert_eq!((tokens.len(), generation.finish), (12, Finish::Length), "on {place}");
        assert_eq!(tokens[..8], LLAMA, "on {place}");
        let (tokens, generation) = engine.generate(&greedy(&long()[..19], u32::MAX));
        assert_eq!((tokens.len(), generation.finish), (1, Finish::Length), "on {place}");
    });
}

#[test]
fn a_conversation_that_goes_on_reuses_the_cache() {
    let model = model(Family::Llama);
    for place in oracle_and_gpu() {
        let mut engine = place.engine(&model, options());
        let mut fresh = place.engine(&model, options());
        let mut check = |prompt: &[u32], reused: std::ops::RangeInclusive<usize>| {
            let (tokens, generation) = engine.generate(&greedy(prompt, 10));
            fresh.clear_cache();
            let (expected, clean) = fresh.generate(&greedy(prompt, 10));
            assert_eq!(clean.n_reused, 0);
            assert_eq!(tokens, expected, "on {place}, {} reused", generation.n_reused);
            assert!(reused.contains(&generation.n_reused), "{} reused, expected {reused:?}", generation.n_reused);
            tokens
        };
        let mut prompt = long()[..75].to_vec();
        let answer = check(&prompt, 0..=0);
        // The next turn: the answer and another question. The last token of the answer was never computed.
        let first = prompt.clone();
        prompt.extend(&answer);
        prompt.extend([7, 8, 9]);
        check(&prompt, 84..=84);
        // The first turn again, with another end: the rest of a cut block is computed anew.
        let mut other = first[..61].to_vec();
        other.extend([1, 2, 3, 4, 5, 6]);
        check(&other, 61..=61);
        // What was there before: at least the blocks before the cut are found again.
        check(&prompt, 32..=61);
        // Nothing in common.
        check(&SHORT, 0..=0);
        check(&first, 32..=74);
    }
}

#[test]
fn cancellation_leaves_a_usable_engine() {
    on_each(&options(), |place, mut engine| {
        let ids = long();
        let (expected, _) = engine.generate(&greedy(&ids, 10));
        for stop_at in [0, 32, 64] {
            engine.clear_cache();
            let mut seen = 0;
            let cancelled = engine.listen(&greedy(&ids, 10), |event| match event {
                Event::Prefill { done, total } => {
                    assert_eq!(total, ids.len());
                    assert!(done >= seen, "progress goes forward");
                    seen = done;
                    if done >= stop_at { Break(()) } else { Continue(()) }
                }
                Event::Token(_) | Event::Trace(_) | Event::Logprob(_) => Continue(()),
            });
            let (tokens, generation) = cancelled.expect("no error");
            // The listener may learn of the last chunks by their tokens only.
            if stop_at <= 32 {
                assert_eq!((tokens.len(), generation.finish), (0, Finish::Cancelled), "at {stop_at} on {place}");
            }
            assert_eq!(engine.generate(&greedy(&ids, 10)).0, expected, "after {stop_at} on {place}");
        }
        for n in [1, 4] {
            let mut left = n;
            let cancelled = engine.listen(&greedy(&ids, 30), |event| {
                left -= usize::from(matches!(event, Event::Token(_)));
                if left == 0 { Break(()) } else { Continue(()) }
            });
            let (tokens, generation) = cancelled.expect("no error");
            assert_eq!(tokens, expected[..n], "on {place}");
            assert_eq!(generation.finish, Finish::Cancelled);
            assert_eq!(engine.generate(&greedy(&SHORT, 8)).0, LLAMA, "on {place}");
            assert_eq!(engine.generate(&greedy(&ids, 10)).0, expected, "on {place}");
        }
    });
}

#[test]
fn a_budget_closes_the_thought() {
    on_each(&options(), |place, mut engine| {
        let thought = Thought { open: 250, close: 251, budget: Some(3), open_at_start: true };
        let mut answer = |thought| engine.generate(&Request { thought: Some(thought), ..greedy(&SHORT, 8) }).0;
        let tokens = answer(thought);
        assert_eq!((&tokens[..3], tokens[3], tokens.len()), (&LLAMA[..3], 251, 8), "on {place}");
        // Written once, and the model goes on from there.
        assert!(!tokens[4..].contains(&251), "on {place}");
        let closed: Vec<u32> = SHORT.iter().chain(&tokens[..4]).copied().collect();
        assert_eq!(answer(Thought { open_at_start: false, ..thought }), LLAMA, "no thought, no end, on {place}");
        assert_eq!(answer(Thought { budget: None, ..thought }), LLAMA, "no budget, no end, on {place}");
        // A thought that the model opens itself is counted from there.
        let late = answer(Thought { open: LLAMA[1], budget: Some(2), open_at_start: false, ..thought });
        assert_eq!((&late[..4], late[4]), (&LLAMA[..4], 251), "on {place}");
        // A budget of nothing closes at once; a thought that the model closes itself is not closed again.
        assert_eq!(answer(Thought { budget: Some(0), ..thought })[0], 251, "on {place}");
        assert_eq!(answer(Thought { close: LLAMA[1], ..thought }), LLAMA, "on {place}");
        assert_eq!(engine.generate(&greedy(&closed, 4)).0, tokens[4..], "on {place}");
    });
}

#[test]
fn logits_check_every_id_of_a_whole_context() {
    let mut engine = model(Family::Llama).engine(CpuExecutor::new(), EngineOptions { n_ctx: 20, ..options() });
    let mut whole = long()[..20].to_vec();
    let mut rows = 0;
    pollster::block_on(engine.logits(&whole, |_, _| rows += 1)).expect("a whole context can be looked at");
    assert_eq!(rows, 20);
    whole[0] = 256;
    let error = pollster::block_on(engine.logits(&whole, |_, _| ())).expect_err("is refused");
    assert!(matches!(error, EngineError::TokenId { id: 256, n_vocab: 256 }), "{error}");
}

#[test]
fn requests_that_cannot_be_are_refused() {
    on_each(&EngineOptions { n_ctx: 20, ..options() }, |place, mut engine| {
        let mut refused = |request: Request| {
            let error = engine.listen(&request, |_| Continue(())).expect_err("is refused");
            // The engine is as before.
            assert_eq!(engine.generate(&greedy(&SHORT, 8)).0, LLAMA, "after {error} on {place}");
            error
        };
        assert!(matches!(refused(greedy(&long()[..20], 1)), EngineError::PromptTooLong { n_prompt: 20, n_ctx: 20 }));
        assert!(matches!(refused(greedy(&[], 1)), EngineError::EmptyPrompt));
        assert!(matches!(refused(greedy(&[1, 256], 1)), EngineError::TokenId { id: 256, n_vocab: 256 }));
        let stop_ids = vec![0; MAX_STOP_IDS + 1];
        assert!(matches!(refused(Request { stop_ids, ..greedy(&SHORT, 1) }), EngineError::StopIds { found: 17, .. }));
        let plain = Sampling::default();
        for (field, sampling) in [
            ("temperature", Sampling { temperature: -1.0, ..plain }),
            ("temperature", Sampling { temperature: f32::NAN, ..plain }),
            ("top_p", Sampling { top_p: 0.0, ..plain }),
            ("min_p", Sampling { min_p: 1.5, ..plain }),
            ("repetition_penalty", Sampling { repetition_penalty: 0.0, ..plain }),
            ("presence_penalty", Sampling { presence_penalty: f32::INFINITY, ..plain }),
        ] {
            let error = refused(Request { sampling, ..greedy(&SHORT, 1) });
            assert!(matches!(error, EngineError::Sampling { name, .. } if name == field), "{error}");
        }
    });
}

#[test]
fn running_ahead_changes_nothing() {
    let model = model(Family::Qwen3);
    for place in oracle_and_gpu() {
        let answers = [1, 2, 8, 100].map(|run_ahead| {
            let mut engine = place.engine(&model, EngineOptions { run_ahead, ..options() });
            let sampling = Sampling { temperature: 0.8, top_p: 0.95, top_k: 40, seed: 3, ..Sampling::default() };
            let sampled = engine.generate(&Request { sampling, ..greedy(&SHORT, 40) }).0;
            let stopped = engine.generate(&Request { stop_ids: vec![59], ..greedy(&SHORT, 40) });
            (sampled, stopped)
        });
        assert!(answers.iter().all(|a| *a == answers[0]), "on {place}");
        assert_eq!(answers[0].1.0, GREEDY[2].1[..4], "on {place}");
    }
}

/// What the device was asked for so far.
fn counters(engine: &AnyEngine) -> Counters {
    match engine {
        AnyEngine::Gpu(engine) => engine.executor().gpu().counters(),
        AnyEngine::Cpu(_) => panic!("the oracle counts nothing"),
    }
}

/// The counts of one request.
fn counted(engine: &mut AnyEngine, request: &Request) -> (Vec<u32>, Counters) {
    let before = counters(engine);
    let (tokens, _) = engine.generate(request);
    (tokens, counters(engine) - before)
}

#[test]
fn a_decoded_token_costs_one_pass_and_one_submit() {
    let Some(place) = fastest_gpu() else { return };
    let mut engine = place.engine(&model(Family::Llama), options());
    engine.generate(&greedy(&SHORT, 4));
    // The same request, 20 tokens longer: the difference is 20 decode steps and nothing else.
    let (_, short) = counted(&mut engine, &greedy(&SHORT, 10));
    let (_, long) = counted(&mut engine, &greedy(&SHORT, 30));
    let extra = long - short;
    println!("20 decoded tokens on {place}: {extra:?}");
    assert_eq!((extra.passes, extra.submits, extra.maps), (20, 20, 20), "{extra:?}");
    // The block table, when a block of 32 tokens is full; nothing else is written.
    assert!(extra.writes <= 1, "{extra:?}");
    // Nothing is created and nobody waits, in prefill neither: not for the extra tokens, not at all.
    for counts in [short, long, counted(&mut engine, &greedy(&self::long(), 3)).1] {
        assert_eq!((counts.buffers, counts.bind_groups, counts.pipelines), (0, 0, 0), "{counts:?}");
        assert_eq!(counts.blocking_waits, 0, "{counts:?}");
    }
    // An end that comes early wastes what was submitted ahead, and no more.
    let stop_ids = vec![LLAMA[2]];
    let (tokens, stopped) = counted(&mut engine, &Request { stop_ids, ..greedy(&SHORT, 30) });
    assert_eq!(tokens.len(), 3);
    assert!(stopped.submits <= 3 + options().run_ahead as u64, "{stopped:?}");
}

/// Weights stay as small as in the file, up to the padding of bindings and what is f32 on the device.
const RESIDENT_FACTOR: f64 = 1.05;

#[test]
fn warming_up_runs_every_kernel_once_and_changes_no_answer() {
    on_each(&options(), |place, mut engine| {
        engine.warm_up();
        assert_eq!(engine.generate(&greedy(&SHORT, 8)).0, LLAMA, "{place}");
        engine.warm_up();
        assert_eq!(engine.generate(&greedy(&SHORT, 8)).0, LLAMA, "{place}");
    });
    let Some(place) = fastest_gpu() else { return };
    let mut engine = place.engine(&model(Family::Llama), options());
    let loaded = counters(&engine);
    engine.warm_up();
    let warmed = counters(&engine) - loaded;
    assert_eq!((warmed.passes, warmed.dispatches, warmed.pipelines), (1, loaded.pipelines, 0), "{warmed:?}");
}

#[test]
fn weights_stay_as_small_as_in_the_file() {
    let Some(place) = fastest_gpu() else { return };
    let formats = DType::DEQUANTISED.iter().filter(|dtype| {
        // Repacked without loss to Q8_0, for which there are kernels; and formats that have none.
        dtype.ggml_id().is_some() && ![DType::IQ4_NL, DType::IQ4_XS, DType::MXFP4].contains(dtype)
    });
    for &dtype in formats {
        let model = Tiny::for_quants(Family::Llama).gguf(dtype, 1);
        let mut executor = place.gpu_executor();
        let n_ctx = 32;
        let loading = aloud_model::load(&mut executor, &model.config, &model.tensors, &model.sources, n_ctx, |_| {});
        pollster::block_on(loading).expect("loads");
        let table_bytes = u64::from(n_ctx) * u64::from(model.config.head_dim) * 4;
        let need = MemoryNeed::of(&model.config, &model.tensors, n_ctx, Elem::F16).expect("fits together");
        assert_eq!(need.weight_bytes, model.tensor_bytes());
        let (held, activations) = executor.resident_bytes();
        let factor = (held - table_bytes) as f64 / need.weight_bytes as f64;
        println!("{dtype}: {held} bytes held, {factor:.4} of the file's tensors");
        assert!((1.0..=RESIDENT_FACTOR).contains(&factor), "{dtype}: {factor:.4} of the file's tensors");
        assert_eq!(activations, 0, "nothing is compiled yet");
    }
}
