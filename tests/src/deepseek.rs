//! What a tiny DeepSeek-V3 is asked wherever it runs, natively and in a browser, and how it compares with `transformers`.

use crate::places::{greedy, logits_at, worst_error};
use crate::tiny::{Family, Form, ROWS, SHORT, Tiny, long, v3_golden};
use aloud_engine::{Draft, DraftKind, Engine, EngineError, EngineOptions, Event, Generation, Request};
use aloud_format::DType;
use aloud_ops::{Elem, Executor};
use std::ops::ControlFlow;

/// With an f32 cache nothing is rounded to less than f32, here as in the reference: what is left is the order of sums.
pub const F32_TOLERANCE: f64 = 1e-5;
/// An f16 cache rounds each latent and key by up to 2^-11, 4.9e-4; sums over positions and layers average that.
pub const F16_TOLERANCE: f64 = 2e-3;
/// What transformers generates greedily after [`SHORT`].
const V3_GREEDY: [u32; 8] = [157, 25, 86, 47, 162, 211, 65, 17];

/// Whether chunks of a prompt expand keys and values out of the cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mla {
    /// The weights that expand them are absorbed into queries and outputs.
    Absorbed,
    /// They do.
    Expanded,
}

/// Chunks of 32 tokens and a context of 128.
#[must_use]
pub fn options(cache: Elem, mla: Mla) -> EngineOptions {
    let expand_from = if mla == Mla::Expanded { 2 } else { u32::MAX };
    EngineOptions { n_ctx: 128, cache, chunks: vec![32], expand_from, ..EngineOptions::default() }
}

/// A comparison.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was compared.
    pub name: String,
    /// The worst relative error of logits, or how many tokens differ.
    pub error: f64,
    /// The largest error that passes.
    pub tolerance: f64,
}

/// Everything that a DeepSeek-V3 with its layer for multi-token prediction has to do: logits of prompts in one chunk and
/// in three, tokens one by one, a second turn, and the same text with drafts. One executor, which holds the weights once and
/// compiles each kernel once, runs it all; `report` hears of each comparison.
///
/// # Errors
/// If an engine refuses something.
pub async fn examine_v3<E: Executor>(mut executor: E, mut report: impl FnMut(Finding)) -> Result<(), EngineError> {
    let model = Tiny { mtp: true, ..Tiny::new(Family::DeepseekV3) }.safetensors(Form::RopeParameters, DType::F32, 1);
    let plain = options(Elem::F32, Mla::Absorbed);
    let weights = model.load(&mut executor, plain.n_ctx).await;
    let mut engine = Engine::new(executor, model.config.clone(), weights.clone(), plain)?;
    examine(&mut engine, "f32 cache, absorbed", F32_TOLERANCE, &mut report).await?;
    // Each turn with an empty cache.
    let first = [&SHORT[..], &long()[..30]].concat();
    let first_answer = fresh(&mut engine, &first).await?;
    let second = [&first[..], &first_answer, &[9, 8, 7, 6, 5]].concat();
    let n_cached = first.len() + first_answer.len() - 1;
    let expected = [first_answer, fresh(&mut engine, &second).await?];

    for (what, cache, tolerance, kind) in [
        ("f32 cache, expanded, drafts of the extra layer", Elem::F32, F32_TOLERANCE, DraftKind::NextToken),
        ("f16 cache, expanded, drafts by lookup", Elem::F16, F16_TOLERANCE, DraftKind::Lookup),
    ] {
        let draft = Some(Draft { kind, n_drafts: 3, adaptive: false });
        // Chunks expand, and the few rows that verify drafts absorb, as in life.
        let options = EngineOptions { draft, expand_from: 32, ..options(cache, Mla::Expanded) };
        engine = Engine::new(engine.into_executor(), model.config.clone(), weights.clone(), options)?;
        examine(&mut engine, what, tolerance, &mut report).await?;
        engine.clear_cache();
        let (first_answer, _) = answer(&mut engine, &greedy(&first, N_ANSWER)).await?;
        let (second_answer, generation) = answer(&mut engine, &greedy(&second, N_ANSWER)).await?;
        let error = differing(&first_answer, &expected[0]) + differing(&second_answer, &expected[1]);
        report(Finding { name: format!("{what}: two turns"), error, tolerance: 0.0 });
        let error = n_cached.abs_diff(generation.n_reused) as f64;
        report(Finding { name: format!("{what}: tokens found in the cache"), error, tolerance: 0.0 });
    }
    Ok(())
}

/// Logits, and the tokens that follow.
async fn examine<E: Executor>(
    engine: &mut Engine<E>,
    what: &str,
    tolerance: f64,
    report: &mut impl FnMut(Finding),
) -> Result<(), EngineError> {
    let mut rows = logits_at(engine, &SHORT, &[0, 1, 2, 3, 4, 5, 6, 7]).await?;
    rows.extend(logits_at(engine, &long(), &ROWS).await?);
    let error = worst_error(&rows, &v3_golden());
    report(Finding { name: format!("{what}: logits of 8 and of 96 tokens"), error, tolerance });
    let tokens = fresh(engine, &SHORT).await?;
    let error = differing(&tokens[..V3_GREEDY.len()], &V3_GREEDY);
    report(Finding { name: format!("{what}: greedy tokens"), error, tolerance: 0.0 });
    Ok(())
}

/// Tokens of an answer.
const N_ANSWER: u32 = 10;

/// The answer to a prompt of which nothing is cached.
async fn fresh<E: Executor>(engine: &mut Engine<E>, prompt: &[u32]) -> Result<Vec<u32>, EngineError> {
    engine.clear_cache();
    Ok(answer(engine, &greedy(prompt, N_ANSWER)).await?.0)
}

async fn answer<E: Executor>(engine: &mut Engine<E>, request: &Request) -> Result<(Vec<u32>, Generation), EngineError> {
    let mut tokens = Vec::new();
    let keep = |event| {
        if let Event::Token(id) = event {
            tokens.push(id);
        }
        ControlFlow::Continue(())
    };
    let generation = engine.generate(request, keep).await?;
    Ok((tokens, generation))
}

/// How many tokens differ.
fn differing(got: &[u32], expected: &[u32]) -> f64 {
    let both = got.iter().zip(expected).filter(|(a, b)| a != b).count();
    (both + got.len().abs_diff(expected.len())) as f64
}
