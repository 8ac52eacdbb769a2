//! Generation that is reached into, or goes on where another run stopped.

use aloud_engine::{Control, EngineOptions, Event, Request, Sampling, Thought};
use aloud_format::DType;
use aloud_ops::Elem;
use aloud_tests::places::{Place, greedy, oracle_and_gpu};
use aloud_tests::tiny::{Family, Form, SHORT, Stored, Tiny};
use std::ops::ControlFlow::Continue;

const THOUGHT: Thought = Thought { open: 3, close: 4, budget: Some(7), open_at_start: true };

fn model() -> Stored {
    Tiny::new(Family::Llama).safetensors(Form::RopeParameters, DType::F32, 1)
}

fn engine(place: &Place, model: &Stored) -> aloud_tests::places::AnyEngine {
    let options = EngineOptions { n_ctx: 256, cache: Elem::F32, chunks: vec![4, 32], ..EngineOptions::default() };
    place.engine(model, options)
}

/// Greedy, drawn by chance, penalised, and with a thought that the engine closes.
fn requests() -> [Request; 4] {
    let drawn = Sampling { temperature: 1.0, top_p: 0.95, seed: 3, ..Sampling::default() };
    let penalised = Sampling { frequency_penalty: 0.7, repetition_penalty: 1.1, ..drawn };
    [
        greedy(&SHORT, 24),
        Request { sampling: drawn, ..greedy(&SHORT, 24) },
        Request { sampling: penalised, ..greedy(&SHORT, 24) },
        Request { thought: Some(THOUGHT), ..greedy(&SHORT, 24) },
    ]
}

#[test]
fn goes_on_as_the_run_before_would_have() {
    let model = model();
    for place in oracle_and_gpu() {
        for (i, request) in requests().into_iter().enumerate() {
            let (whole, ending) = engine(&place, &model).generate(&request);
            for cut in [1, 6, 7, 8, 9, 23] {
                // Another engine: nothing is left of the first but the ids.
                let rest = Request { drawn: whole[..cut].to_vec(), ..request.clone() };
                let (tokens, rest_ending) = engine(&place, &model).generate(&rest);
                assert_eq!(tokens, whole[cut..], "request {i} cut at {cut} on {place}");
                assert_eq!(rest_ending.finish, ending.finish, "request {i} cut at {cut} on {place}");
                assert_eq!((rest_ending.n_prompt, rest_ending.n_generated), (SHORT.len(), whole.len()));
            }
        }
    }
}

#[test]
fn a_thought_is_closed_when_the_answer_is_wanted() {
    let model = model();
    for place in oracle_and_gpu() {
        for trace in [false, true] {
            let control = Control::default();
            let thought = Thought { budget: None, ..THOUGHT };
            let request = Request { thought: Some(thought), control: control.clone(), trace, ..greedy(&SHORT, 40) };
            let (free, _) = engine(&place, &model).generate(&request);
            assert!(!free.contains(&THOUGHT.close), "the model does not close it: {free:?}");
            let mut n_seen = 0;
            let (tokens, _) = engine(&place, &model)
                .listen(&request, |event| {
                    n_seen += usize::from(matches!(event, Event::Token(_)));
                    if n_seen == 5 {
                        control.answer_now();
                    }
                    Continue(())
                })
                .expect("generates");
            let closed = tokens.iter().position(|&id| id == THOUGHT.close).expect("was closed");
            let ahead = EngineOptions::default().run_ahead;
            assert!((5..=5 + ahead).contains(&closed), "closed at {closed} on {place}");
            assert_eq!(tokens[..closed], free[..closed], "until then nothing changes, on {place}");
            assert_eq!(tokens.len(), 40, "the answer follows, on {place}");
        }
    }
}
