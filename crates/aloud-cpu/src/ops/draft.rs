use aloud_ops::{SampleResult, SamplerState, Step};

/// Tokens of an earlier occurrence that have to agree, at least and at most.
const MATCH: std::ops::RangeInclusive<usize> = 2..=16;

/// Drafts that still fit an answer.
fn room(state: &SamplerState, n_generated: u32, n_drafts: u32) -> usize {
    n_drafts.min((state.max_tokens - n_generated).saturating_sub(1)) as usize
}

/// What followed the longest earlier occurrence of the end of `history`, whose last token is the one just drawn.
#[must_use]
pub fn draft_lookup(history: &[u32], state: &SamplerState, n_generated: u32, n_drafts: u32) -> Vec<u32> {
    let n = history.len() - 1;
    let agree = |end: usize| (0..=end).take(*MATCH.end()).take_while(|&j| history[end - j] == history[n - j]).count();
    let best = (0..n).map(|end| (agree(end), end)).filter(|(len, _)| MATCH.contains(len)).max();
    let drafts = |(_, end): (usize, usize)| history[end + 1..].iter().copied();
    best.map(|b| drafts(b).take(room(state, n_generated, n_drafts)).collect()).unwrap_or_default()
}

/// Step and rows of a recording that predicts further ahead.
#[must_use]
pub fn draft_begin(result: &SampleResult, main_step: Step) -> (Step, Vec<u32>) {
    let n_tokens = if main_step.n_tokens == 0 { 0 } else { result.n_drawn };
    let step = Step { pos: result.n_cached - result.n_drawn, n_tokens, n_generated: 0, thinking: 0 };
    (step, result.drawn().to_vec())
}

/// The best id as the next draft: main step and own step after it, and the draft if there was room for it.
#[must_use]
pub fn draft_pick(
    best: &[u32],
    state: &SamplerState,
    main_step: Step,
    step: Step,
    n_drafts: u32,
) -> (Step, Step, Option<u32>) {
    let room = room(state, main_step.n_generated, n_drafts);
    let drafted = main_step.n_tokens as usize - 1;
    if drafted >= room {
        return (main_step, Step { n_tokens: 0, ..step }, None);
    }
    let score = |pair: &[u32; 2]| f32::from_bits(pair[0]);
    let pairs = best.as_chunks::<2>().0;
    let first = pairs[0];
    let id = pairs.iter().fold(first, |best, pair| if score(pair) > score(&best) { *pair } else { best })[1];
    let more = u32::from(drafted + 1 < room);
    let main = Step { n_tokens: main_step.n_tokens + 1, ..main_step };
    (main, Step { pos: step.pos + step.n_tokens, n_tokens: more, ..step }, Some(id))
}
