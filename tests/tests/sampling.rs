//! The sampler's draws against the distribution that they are to follow, on the oracle.

use aloud_cpu::ops::{draw, uniform};
use aloud_ops::SamplerState;

/// Pearson's statistic of 4000 draws, one per step as an answer makes them or one per seed.
fn chi_square(scores: &[f32], state: &SamplerState, expected: &[f64], by_seed: bool) -> f64 {
    let n = 4000;
    let mut counts = vec![0u32; scores.len()];
    for i in 0..n {
        let u = if by_seed { uniform(i, 0) } else { uniform(state.seed, i) };
        counts[draw(scores, state, u) as usize] += 1;
    }
    let drawn = counts.iter().zip(expected);
    drawn
        .map(|(&c, p)| {
            if *p == 0.0 { f64::from(c) * 1e9 } else { (f64::from(c) - p * f64::from(n)).powi(2) / (p * f64::from(n)) }
        })
        .sum()
}

/// 4 degrees of freedom pass 23.5 once in 10,000 times; the draws are the same in every run.
const CHI_SQUARE_LIMIT: f64 = 23.5;

#[test]
fn draws_follow_the_distribution() {
    let logits = [2.0f32, 1.0, 0.0, -1.0, -3.0];
    let scores = logits.map(|l| l / 0.6);
    let all = [0.811_999, 0.153_367, 0.028_967, 0.005_471, 0.000_195];
    let renormalised = |n: usize| {
        let sum: f64 = all[..n].iter().sum();
        std::array::from_fn::<f64, 5, _>(|i| if i < n { all[i] / sum } else { 0.0 })
    };
    for seed in [0, 1, 42, u32::MAX] {
        let plain = SamplerState { temperature: 0.6, seed, ..SamplerState::default() };
        for (name, state, expected) in [
            ("all", plain, renormalised(5)),
            ("top-p", SamplerState { top_p: 0.95, ..plain }, renormalised(2)),
            ("top-k", SamplerState { top_k: 3, ..plain }, renormalised(3)),
            ("min-p", SamplerState { min_p: 0.02, ..plain }, renormalised(3)),
        ] {
            for by_seed in [false, true] {
                let found = chi_square(&scores, &state, &expected, by_seed);
                assert!(found <= CHI_SQUARE_LIMIT, "{name}, seed {seed}, by seed: {by_seed}: {found:.1}");
            }
        }
        // The limit is one that a wrong distribution misses.
        let cold = SamplerState { temperature: 0.6, ..plain };
        assert!(chi_square(&logits, &cold, &renormalised(5), false) > CHI_SQUARE_LIMIT, "unscaled logits are noticed");
    }
}
