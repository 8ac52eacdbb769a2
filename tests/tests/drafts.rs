//! Drafting and verifying: every kernel against its CPU twin, and the distribution of what is drawn.

use aloud_cpu::{CpuExecutor, ops};
use aloud_gpu::GpuExecutor;
use aloud_ops::{Executor, MAX_DRAFTS, SampleResult, SamplerState, Step};
use aloud_tests::places::fastest_gpu;
use aloud_tests::scenarios::drafts::{Lookup, Predict, Verify};
use aloud_tests::{Numbers, Scenario, executors, for_each, run};

/// Compares states word by word with the oracle's on every adapter.
fn check_exactly(name: &str, case: &impl Scenario, executors: &mut [(String, GpuExecutor)]) {
    let expected = run(&mut CpuExecutor::new(), case, 1);
    for_each(executors, |(adapter, executor)| {
        for (i, (got, expected)) in run(executor, case, 1).iter().zip(&expected).enumerate() {
            let words = |b: &[u8]| bytemuck::cast_slice::<u8, u32>(b).to_vec();
            assert_eq!(words(got), words(expected), "{name}: state {i} on {adapter}");
        }
    });
}

#[test]
fn drafts_are_verified_as_by_the_oracle() {
    let mut executors = executors();
    let v = 257;
    let right = Verify::right(v, 5);
    let drafted = |n_right: usize| -> Vec<u32> {
        let token = |i: usize| if i <= n_right { right[i - 1] } else { (right[i - 1] + 1) % v };
        [7].into_iter().chain((1..5).map(token)).collect()
    };
    for n_right in [0, 2, 4] {
        for n_tokens in [0, 1, 3, 5] {
            for (max_tokens, stop, temperature) in
                [(100, false, 0.0), (18, false, 0.0), (100, true, 0.0), (100, false, 0.8)]
            {
                let mut state =
                    SamplerState { max_tokens, n_vocab: v, temperature, seed: 9, ..SamplerState::default() };
                if stop {
                    state.n_stop = 1;
                    state.stop_ids[0] = right[1];
                }
                let step = Step { pos: 40, n_tokens, n_generated: 16, thinking: 3 };
                let case = Verify { v, tokens: drafted(n_right), state, step };
                let name =
                    format!("{n_right} of {n_tokens} right, at most {max_tokens}, stop {stop}, at {temperature}");
                check_exactly(&name, &case, &mut executors);
            }
        }
    }
    // The oracle itself: three right drafts of four are four tokens.
    let state = SamplerState { n_vocab: v, ..SamplerState::default() };
    let case = Verify { v, tokens: drafted(3), state, step: Step { pos: 40, n_tokens: 5, ..Step::default() } };
    let states = run(&mut CpuExecutor::new(), &case, 1);
    let result: SampleResult = *bytemuck::from_bytes(&states[1]);
    assert_eq!((result.drawn(), result.n_drafts, result.n_cached), (&right[..4], 4, 44));
}

#[test]
fn what_followed_before_is_drafted() {
    let mut executors = executors();
    let mut numbers = Numbers::new(4);
    for n in [2usize, 3, 17, 300, 1000] {
        for ids in [1, 2, 4, 50] {
            let history: Vec<u32> = (0..n).map(|_| (numbers.bits() % ids) as u32).collect();
            let n_drawn = (1 + n as u32 % 3).min(n as u32 - 1);
            for (n_drafts, left) in [(1, 9), (4, 9), (4, 3), (4, 1)] {
                let case = Lookup { history: history.clone(), n_drawn, n_drafts, left };
                check_exactly(&format!("{n} tokens of {ids}, {n_drafts} drafts, {left} left"), &case, &mut executors);
            }
        }
    }
    let state = SamplerState { max_tokens: 100, ..SamplerState::default() };
    let draft = |history: &[u32]| ops::draft_lookup(history, &state, 0, 3);
    assert_eq!(draft(&[5, 1, 2, 3, 4, 9, 1, 2]), [3, 4, 9], "what followed 1 2");
    assert_eq!(draft(&[1, 2, 3, 0, 1, 2, 4, 7, 1, 2]), [4, 7, 1], "the latest of equals");
    assert_eq!(draft(&[7, 1, 2, 3, 0, 1, 2, 4, 7, 1, 2]), [3, 0, 1], "the longest");
    assert_eq!(draft(&[1, 2, 3, 4, 2]), [0u32; 0], "one token is no occurrence");
}

#[test]
fn predictions_stand_where_the_oracle_places_them() {
    let mut executors = executors();
    let result = SampleResult { n_drawn: 3, n_cached: 50, tokens: [4, 5, 6, 0, 0, 0, 0, 0], ..SampleResult::default() };
    for n_tokens in [0, 1] {
        let main = Step { pos: 50, n_tokens, n_generated: 8, thinking: 0 };
        let own = Step { pos: 7, n_tokens: 1, ..Step::default() };
        check_exactly("begin", &Predict { main, own, result, max_tokens: 99, begin: true }, &mut executors);
    }
    for own_rows in [0, 1, 3] {
        for drafted in 0..4 {
            for max_tokens in [8, 9, 10, 11, 99] {
                let main = Step { pos: 50, n_tokens: 1 + drafted, n_generated: 8, thinking: 0 };
                let own = Step { pos: 47, n_tokens: own_rows, ..Step::default() };
                check_exactly("pick", &Predict { main, own, result, max_tokens, begin: false }, &mut executors);
            }
        }
    }
}

const V: usize = 6;
const LOGITS: [[f32; V]; 3] =
    [[1.0, 0.3, 0.0, -0.5, -1.0, 0.8], [0.0, 1.2, 0.4, 0.2, -2.0, 0.0], [0.5, 0.5, 0.5, -0.3, 0.1, 0.0]];
/// Drafts of middling probability, so that many are accepted and many are not.
const DRAFTS: [u32; 2] = [5, 1];

/// What one step with drafts draws, for each seed.
fn draws<E: Executor>(executor: &mut E, n: u32, temperature: f32) -> Vec<SampleResult> {
    let state = SamplerState { temperature, n_vocab: V as u32, top_p: 0.95, ..SamplerState::default() };
    let step = Step { pos: 10, n_tokens: 3, n_generated: 4, thinking: 0 };
    let tokens = vec![0, DRAFTS[0], DRAFTS[1]];
    let case = Verify { v: V as u32, tokens, state, step };
    let at = executor.create_state("step", aloud_ops::Elem::U32, &[4]).expect("fits");
    let (rec, buffers) = case.record_with(executor, at, LOGITS.as_flattened());
    let plan = executor.compile(&rec).expect("compiles");
    let mut results = Vec::new();
    // As many at once as results can be waited for.
    for seeds in (0..n).collect::<Vec<u32>>().chunks(executor.max_in_flight()) {
        let tickets: Vec<E::Ticket> = seeds
            .iter()
            .map(|&seed| {
                executor.write_state(at, 0, bytemuck::bytes_of(&step));
                let mut state = case.state;
                state.seed = seed;
                executor.write_state(buffers.sampler, 0, bytemuck::bytes_of(&state));
                executor.write_state(buffers.counts, 0, &[0; V * 4]);
                executor.write_state(buffers.tokens, 0, bytemuck::cast_slice(&case.tokens));
                executor.submit(&plan, 1, Some(buffers.result)).expect("runs").expect("a result")
            })
            .collect();
        for ticket in tickets {
            let mut result = SampleResult::default();
            pollster::block_on(executor.read_ticket(ticket, bytemuck::bytes_of_mut(&mut result))).expect("reads");
            results.push(result);
        }
    }
    results
}

/// Softmax at a temperature, cut to the most likely tokens that reach 0.95.
fn distribution(logits: &[f32; V], temperature: f32) -> [f64; V] {
    let e = logits.map(|l| (f64::from(l) / f64::from(temperature)).exp());
    let sum: f64 = e.iter().sum();
    let mut order: Vec<usize> = (0..V).collect();
    order.sort_by(|&a, &b| e[b].total_cmp(&e[a]));
    let mut kept = [0.0; V];
    let mut mass = 0.0;
    for i in order {
        // Ties at the cut all stay.
        if mass < 0.95 || kept.iter().any(|&k| k == e[i] / sum) {
            kept[i] = e[i] / sum;
            mass += kept[i];
        }
    }
    kept.map(|k| k / mass)
}

/// Pearson's statistic of what row `row` drew.
fn chi_square(results: &[SampleResult], row: usize, expected: &[f64; V]) -> f64 {
    let drawn: Vec<u32> = results.iter().filter(|r| r.n_drawn as usize > row).map(|r| r.tokens[row]).collect();
    assert!(drawn.len() > 1000, "row {row} draws often enough to tell");
    let term = |(id, &p): (usize, &f64)| {
        let count = drawn.iter().filter(|&&t| t as usize == id).count() as f64;
        let mean = p * drawn.len() as f64;
        if p == 0.0 { count * 1e9 } else { (count - mean).powi(2) / mean }
    };
    expected.iter().enumerate().map(term).sum()
}

/// Up to 5 degrees of freedom pass 25.7 once in 10,000 times; the draws are the same in every run.
const CHI_SQUARE_LIMIT: f64 = 25.7;

/// Drafts change how many tokens a step draws, not which: over 20,000 draws every row follows the model's own distribution,
/// and each draw is the very one that there would have been without drafts.
#[test]
fn drafts_do_not_change_the_distribution() {
    let n = 20_000;
    for temperature in [0.7, 1.3] {
        let oracle = draws(&mut CpuExecutor::new(), n, temperature);
        for (row, logits) in LOGITS.iter().enumerate() {
            let expected = distribution(logits, temperature);
            let found = chi_square(&oracle, row, &expected);
            println!("row {row} at {temperature}: chi-square {found:.1}");
            assert!(found <= CHI_SQUARE_LIMIT, "row {row} at {temperature}: {found:.1}");
            let other = distribution(&LOGITS[(row + 1) % 3], temperature);
            assert!(chi_square(&oracle, row, &other) > CHI_SQUARE_LIMIT, "another row's distribution is noticed");
        }
        let accepted = oracle.iter().filter(|r| r.n_drawn > 1).count() as f64 / f64::from(n);
        let probability = distribution(&LOGITS[0], temperature)[DRAFTS[0] as usize];
        assert!((accepted - probability).abs() < 0.015, "accepted {accepted}, probability {probability}");
        for (seed, result) in oracle.iter().enumerate() {
            let state = SamplerState { temperature, top_p: 0.95, n_vocab: V as u32, ..SamplerState::default() };
            for (row, &token) in result.drawn().iter().enumerate() {
                let scores = LOGITS[row].map(|l| l / temperature);
                assert_eq!(token, ops::draw(&scores, &state, ops::uniform(seed as u32, 4 + row as u32)), "seed {seed}");
            }
        }
        if let Some(place) = fastest_gpu() {
            let found = draws(&mut place.gpu_executor(), n, temperature);
            let same = found.iter().zip(&oracle).filter(|(a, b)| a.drawn() == b.drawn()).count();
            assert!(same as f64 >= 0.999 * f64::from(n), "{same} of {n} draws agree with the oracle");
            for (row, logits) in LOGITS.iter().enumerate() {
                let statistic = chi_square(&found, row, &distribution(logits, temperature));
                assert!(statistic <= CHI_SQUARE_LIMIT, "row {row} on {place}: {statistic:.1}");
            }
        }
    }
    assert_eq!(MAX_DRAFTS, 4);
}
