use super::penalize::NEVER;
use aloud_ops::{SampleResult, SampleRow, SamplerState, Step};

/// The number in `[0, 1)` that picks token `n_generated` of an answer with this seed (Jarzynski & Olano 2020).
#[must_use]
pub fn uniform(seed: u32, n_generated: u32) -> f32 {
    (pcg(seed ^ pcg(n_generated)) >> 8) as f32 / (1 << 24) as f32
}

fn pcg(v: u32) -> u32 {
    let s = v.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let w = ((s >> ((s >> 28) + 4)) ^ s).wrapping_mul(277_803_737);
    (w >> 22) ^ w
}

/// The id drawn from `scores` with the uniform number `u`: the best at temperature 0, else top-k, top-p, min-p, draw.
#[must_use]
pub fn draw(scores: &[f32], state: &SamplerState, u: f32) -> u32 {
    let max = scores.iter().copied().fold(NEVER, f32::max);
    if state.temperature <= 0.0 {
        return scores.iter().position(|&s| s == max).unwrap_or(0) as u32;
    }
    let mass = |s: f32| (f64::from(s) - f64::from(max)).exp();
    let mut order: Vec<f32> = scores.iter().copied().filter(|&s| s > NEVER).collect();
    order.sort_by(|a, b| b.total_cmp(a));
    let mut cut = NEVER;
    if state.top_k > 0 && (state.top_k as usize) < order.len() {
        cut = order[state.top_k as usize - 1];
        order.retain(|&s| s >= cut); // ties at the cut all stay
    }
    if state.top_p < 1.0 {
        let wanted = f64::from(state.top_p) * order.iter().map(|&s| mass(s)).sum::<f64>();
        let mut sum = 0.0;
        for &s in &order {
            sum += mass(s);
            cut = s;
            if sum >= wanted {
                break;
            }
        }
    }
    let lowest = if state.min_p > 0.0 { max + state.min_p.ln() } else { NEVER };
    let kept = |s: f32| s > NEVER && s >= cut && s >= lowest;
    let all: f64 = scores.iter().filter(|&&s| kept(s)).map(|&s| mass(s)).sum();
    let mut left = f64::from(u) * all;
    let mut last = 0;
    for (id, &s) in scores.iter().enumerate().filter(|(_, s)| kept(**s)) {
        last = id as u32;
        if left < mass(s) {
            break;
        }
        left -= mass(s);
    }
    last
}

/// Draws the token of one row and moves on: the new step and the report. `tokens` are the step's rows, `before` is what the
/// row before reported. `None` if this row has nothing to draw.
#[must_use]
pub fn sample(
    scores: &[f32],
    state: &SamplerState,
    step: Step,
    at: SampleRow,
    tokens: &[u32],
    before: SampleResult,
) -> Option<(Step, SampleResult)> {
    if step.n_tokens == 0 {
        let ended = SampleResult { status: SampleResult::AFTER_END, ..SampleResult::default() };
        return (at.row == 0).then_some((step, ended));
    }
    if at.row > 0 && before.next_row != at.row {
        return None;
    }
    let mut token = draw(scores, state, uniform(state.seed, step.n_generated));
    let mut next = step;
    if step.thinking > state.think_budget {
        token = state.think_close;
    }
    if step.thinking > 0 {
        next.thinking += 1;
    } else if token == state.think_open {
        next.thinking = 1;
    }
    if token == state.think_close {
        next.thinking = 0;
    }
    next.n_generated += 1;
    let mut status = SampleResult::RUNNING;
    if next.n_generated >= state.max_tokens {
        status = SampleResult::LENGTH;
    }
    if state.stop_ids[..state.n_stop as usize].contains(&token) {
        status = SampleResult::STOPPED;
    }
    let mut result = if at.row == 0 { SampleResult::default() } else { before };
    result.tokens[at.row as usize] = token;
    let drafted = at.drafts && at.row + 1 < step.n_tokens && tokens[at.row as usize + 1] == token;
    if drafted && status == SampleResult::RUNNING {
        result.next_row = at.row + 1;
        return Some((next, result));
    }
    if at.drafts {
        let drafts = &tokens[1..step.n_tokens as usize];
        result.drafts[..drafts.len()].copy_from_slice(drafts);
    }
    next.pos += if at.drafts { at.row + 1 } else { step.n_tokens };
    next.n_tokens = u32::from(status == SampleResult::RUNNING);
    result = SampleResult {
        status,
        n_drawn: at.row + 1,
        n_generated: next.n_generated,
        n_cached: next.pos,
        n_drafts: if at.drafts { step.n_tokens - 1 } else { 0 },
        next_row: SampleResult::NO_ROW,
        ..result
    };
    Some((next, result))
}
