use crate::ops::SamplerBuffers;
use crate::{MAX_DRAFTS, Op, Recording, Tensor};

/// Guesses the next tokens from what was said before: after the last draw, finds the longest earlier occurrence (2 to 16
/// tokens, the latest of equals) of how the sequence ends, and drafts up to `n_drafts` of the tokens that followed it there.
/// Drafts go to `tokens[1..]`, and the step becomes that many rows longer, but never beyond `max_tokens`.
/// `history: [positions] u32` holds the sequence; the drawn tokens are added to it first.
///
/// Source: Saxena 2023, "Prompt Lookup Decoding".
///
/// # Panics
/// If more drafts are asked for than a step can verify.
pub fn draft_lookup(rec: &mut Recording, buffers: &SamplerBuffers, history: Tensor, n_drafts: u32) {
    check(n_drafts);
    let inputs = [buffers.result, buffers.sampler];
    rec.push("draft_lookup", Op::DraftLookup { n_drafts }, &inputs, &[buffers.tokens, history, rec.step]);
}

/// Forgets the drafts behind the first row: what a recording of one row begins with where the one before may have drafted.
pub fn draft_drop(rec: &mut Recording) {
    rec.push("draft_drop", Op::DraftDrop, &[], &[rec.step]);
}

/// Places the step of a recording that predicts further ahead: its rows are the tokens that were just drawn, its position
/// is that of the first row that drew them. `main_step` is where the sequence stands; `tokens: [T] u32` become the rows.
/// No rows if the sequence has ended.
pub fn draft_begin(rec: &mut Recording, buffers: &SamplerBuffers, main_step: Tensor, tokens: Tensor) {
    rec.push("draft_begin", Op::DraftBegin, &[buffers.result, main_step], &[tokens, rec.step]);
}

/// Takes the best score as the next draft: it goes behind the drafts that `buffers.tokens` holds, and `main_step`, which
/// will verify them, becomes a row longer. It also becomes the one row of `tokens`, one position on, to predict the next from;
/// or no row if there are `n_drafts` now, or as many as `max_tokens` allows.
///
/// # Panics
/// If more drafts are asked for than a step can verify.
pub fn draft_pick(rec: &mut Recording, buffers: &SamplerBuffers, main_step: Tensor, tokens: Tensor, n_drafts: u32) {
    check(n_drafts);
    let inputs = [buffers.best, buffers.sampler];
    let outputs = [buffers.tokens, tokens, main_step, rec.step];
    rec.push("draft_pick", Op::DraftPick { n_drafts }, &inputs, &outputs);
}

#[track_caller]
fn check(n_drafts: u32) {
    assert!((1..=MAX_DRAFTS as u32).contains(&n_drafts), "1 to {MAX_DRAFTS} drafts, not {n_drafts}");
}
