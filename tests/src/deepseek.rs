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

/// Everything that a DeepSeek-V3 with its layer for multi-token prediction has to do, on executors as `open` makes them:
/// logits of prompts in one chunk and in three, tokens one by one, a second turn, and the same text with drafts.
///
/// # Errors
/// If an engine refuses something.
pub async fn examine_v3<E: Executor>(mut open: impl AsyncFnMut() -> E) -> Result<Vec<Finding>, EngineError> {
    let model = Tiny { mtp: true, ..Tiny::new(Family::DeepseekV3) }.safetensors(Form::RopeParameters, DType::F32, 1);
    let mut engine = async |cache, mla, kind: Option<DraftKind>| {
        let draft = kind.map(|kind| Draft { kind, n_drafts: 3, adaptive: false });
        model.load(open().await, EngineOptions { draft, ..options(cache, mla) }).await
    };
    let mut findings = Vec::new();

    let mut absorbed = engine(Elem::F32, Mla::Absorbed, None).await;
    examine(&mut absorbed, "f32 cache, absorbed", F32_TOLERANCE, &mut findings).await?;
    // Each turn with an empty cache.
    let first = first_turn();
    let first_answer = fresh(&mut absorbed, &first).await?;
    let second = second_turn(&first, &first_answer);
    let expected = [first_answer, fresh(&mut absorbed, &second).await?];
    drop(absorbed);

    for (what, cache, mla, kind) in [
        ("f32 cache, expanded, no drafts", Elem::F32, Mla::Expanded, None),
        ("f32 cache, absorbed, drafts of the extra layer", Elem::F32, Mla::Absorbed, Some(DraftKind::NextToken)),
        ("f16 cache, expanded, drafts by lookup", Elem::F16, Mla::Expanded, Some(DraftKind::Lookup)),
    ] {
        let mut engine = engine(cache, mla, kind).await;
        let tolerance = if cache == Elem::F32 { F32_TOLERANCE } else { F16_TOLERANCE };
        examine(&mut engine, what, tolerance, &mut findings).await?;
        engine.clear_cache();
        let (first_answer, _) = answer(&mut engine, &greedy(&first, N_ANSWER)).await?;
        let (second_answer, generation) = answer(&mut engine, &greedy(&second, N_ANSWER)).await?;
        let error = differing(&first_answer, &expected[0]) + differing(&second_answer, &expected[1]);
        findings.push(Finding { name: format!("two turns, {what}"), error, tolerance: 0.0 });
        let reused = (second.len() - N_NEW - 1).abs_diff(generation.n_reused) as f64;
        findings.push(Finding { name: format!("tokens reused from the cache, {what}"), error: reused, tolerance: 0.0 });
    }
    Ok(findings)
}

/// Logits, and the tokens that follow.
async fn examine<E: Executor>(
    engine: &mut Engine<E>,
    what: &str,
    tolerance: f64,
    findings: &mut Vec<Finding>,
) -> Result<(), EngineError> {
    let mut rows = logits_at(engine, &SHORT, &[0, 1, 2, 3, 4, 5, 6, 7]).await?;
    rows.extend(logits_at(engine, &long(), &ROWS).await?);
    let error = worst_error(&rows, &v3_golden());
    findings.push(Finding { name: format!("logits of 8 and of 96 tokens, {what}"), error, tolerance });
    let tokens = fresh(engine, &SHORT).await?;
    let error = differing(&tokens[..V3_GREEDY.len()], &V3_GREEDY);
    findings.push(Finding { name: format!("greedy tokens, {what}"), error, tolerance: 0.0 });
    Ok(())
}

/// Tokens of an answer.
const N_ANSWER: u32 = 10;
/// Tokens of a second question.
const N_NEW: usize = 5;

/// More than a chunk.
fn first_turn() -> Vec<u32> {
    [&SHORT[..], &long()[..30]].concat()
}

fn second_turn(first: &[u32], answer: &[u32]) -> Vec<u32> {
    [first, answer, &[9, 8, 7, 6, 5]].concat()
}

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
