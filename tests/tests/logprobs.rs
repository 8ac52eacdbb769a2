//! How likely drawn tokens were, against the logits of the same sequence.

use aloud_engine::{Draft, DraftKind, EngineOptions, Event, Request, Sampling, TokenLogprob};
use aloud_format::DType;
use aloud_ops::Elem;
use aloud_tests::places::{greedy, oracle_and_gpu};
use aloud_tests::tiny::{Family, Form, SHORT, Tiny, VOCAB};
use std::ops::ControlFlow::Continue;

const N_TOP: usize = 5;

/// The logarithms of all probabilities of one position.
fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted = logits.iter().map(|&l| f64::from(l - largest));
    let sum: f64 = shifted.clone().map(f64::exp).sum();
    shifted.map(|l| l - sum.ln()).collect()
}

#[test]
fn probabilities_are_those_of_the_model_alone() {
    let model = Tiny::new(Family::Llama).safetensors(Form::RopeParameters, DType::F32, 1);
    // What cuts and penalises what is drawn does not change what the model thought of it.
    let sampling = Sampling { temperature: 1.5, top_k: 20, repetition_penalty: 1.3, seed: 5, ..Sampling::default() };
    let lookup = Draft { kind: DraftKind::Lookup, n_drafts: 2, adaptive: false };
    for place in oracle_and_gpu() {
        for (sampling, draft) in [(Sampling::default(), None), (sampling, None), (sampling, Some(lookup))] {
            let options = EngineOptions { n_ctx: 256, cache: Elem::F32, draft, ..EngineOptions::default() };
            let mut engine = place.engine(&model, options);
            let plain = Request { sampling, ..greedy(&SHORT, 16) };
            let (expected, _) = engine.generate(&plain);
            let asked = Request { top_logprobs: Some(N_TOP as u32), ..plain };
            let mut told: Vec<TokenLogprob> = Vec::new();
            let (tokens, _) = engine
                .listen(&asked, |event| {
                    if let Event::Logprob(logprob) = event {
                        told.push(logprob);
                    }
                    Continue(())
                })
                .expect("generates");
            assert_eq!(tokens, expected, "asking changes nothing, on {place}");
            assert_eq!(told.iter().map(|t| t.id).collect::<Vec<_>>(), tokens, "one for each token, on {place}");
            let sequence = [&SHORT[..], &tokens].concat();
            let positions: Vec<usize> = (SHORT.len() - 1..sequence.len() - 1).collect();
            let logits = engine.logits(&sequence, &positions);
            for (told, row) in told.iter().zip(logits.chunks_exact(VOCAB)) {
                let expected = log_softmax(row);
                let mut ids: Vec<u32> = (0..VOCAB as u32).collect();
                ids.sort_by(|&a, &b| expected[b as usize].total_cmp(&expected[a as usize]));
                assert_eq!(told.top.iter().map(|t| t.0).collect::<Vec<_>>(), ids[..N_TOP], "on {place}");
                for (id, logprob) in told.top.iter().copied().chain([(told.id, told.logprob)]) {
                    let off = (f64::from(logprob) - expected[id as usize]).abs();
                    assert!(off < 1e-4, "{id}: off by {off:.1e} on {place}");
                }
            }
        }
    }
}
