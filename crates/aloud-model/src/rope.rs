//! Rotary angles as a table, computed once in f64: positions reach far beyond what f32 angles resolve.

use crate::config::{Config, RopeScaling};
use std::f64::consts::PI;

/// Radians per position of each pair, `[C / 2]`, with stretching applied. `divisors` is GGUF's `rope_freqs.weight`, which
/// has the stretching in it already.
pub(crate) fn frequencies(config: &Config, divisors: Option<&[f32]>) -> Vec<f64> {
    let c = f64::from(config.head_dim);
    let base = |i: usize| config.rope_theta.powf(-2.0 * i as f64 / c);
    (0..config.head_dim as usize / 2)
        .map(|i| match divisors {
            Some(divisors) => base(i) / f64::from(divisors[i]),
            None => stretched(config, i, base(i)),
        })
        .collect()
}

fn stretched(config: &Config, i: usize, f: f64) -> f64 {
    match config.rope_scaling {
        RopeScaling::None => f,
        RopeScaling::Linear { factor } => f / factor,
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
            let turns = original_max_position_embeddings * f / (2.0 * PI);
            let t = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
            (1.0 - t) * f / factor + t * f
        }
        RopeScaling::Yarn { factor, original_max_position_embeddings, beta_fast, beta_slow, .. } => {
            let c = f64::from(config.head_dim);
            let pair = |turns: f64| {
                c * (original_max_position_embeddings / (2.0 * PI * turns)).ln() / (2.0 * config.rope_theta.ln())
            };
            let low = pair(beta_fast).floor().max(0.0);
            let high = pair(beta_slow).ceil().min(c - 1.0);
            let high = if low == high { high + 0.001 } else { high };
            let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
            f / factor * ramp + f * (1.0 - ramp)
        }
    }
}

/// `[n_positions, C]`: cos and sin of each pair in turn.
///
/// Source: Su 2021; YaRN: Peng 2023; llama3: transformers `modeling_rope_utils.py`.
#[must_use]
pub fn rope_table(config: &Config, divisors: Option<&[f32]>, n_positions: u32) -> Vec<f32> {
    let frequencies = frequencies(config, divisors);
    let magnitude = match config.rope_scaling {
        RopeScaling::Yarn { attention_factor, .. } => attention_factor,
        _ => 1.0,
    };
    let mut table = Vec::with_capacity(n_positions as usize * config.head_dim as usize);
    for position in 0..n_positions {
        for f in &frequencies {
            let (sin, cos) = (f64::from(position) * f).sin_cos();
            table.extend([(cos * magnitude) as f32, (sin * magnitude) as f32]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Architecture, Container};

    fn config(theta: f64, scaling: RopeScaling) -> Config {
        Config {
            architecture: Architecture::find(Container::Gguf, "llama").expect("is known"),
            container: Container::Gguf,
            vocab_size: 1,
            hidden_size: 1,
            num_hidden_layers: 1,
            num_attention_heads: 1,
            num_key_value_heads: 1,
            head_dim: 128,
            intermediate_size: 1,
            rms_norm_eps: 1e-6,
            max_position_embeddings: 1,
            rope_theta: theta,
            rope_scaling: scaling,
            tie_word_embeddings: false,
            latent: None,
            experts: None,
            num_nextn_predict_layers: 0,
        }
    }

    fn check(config: &Config, expected: &[(usize, f64)]) {
        let got = frequencies(config, None);
        for &(i, f) in expected {
            assert!((got[i] / f - 1.0).abs() < 1e-6, "pair {i}: {} is not {f}", got[i]);
        }
    }

    #[test]
    fn llama3_blends_long_waves() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192.0,
        };
        let expected = [(28, 0.003_211_445_99), (29, 0.002_166_570_76), (30, 0.001_371_893_57), (63, 3.068_925_99e-7)];
        check(&config(5e5, scaling), &expected);
    }

    #[test]
    fn yarn_of_r1_0528_qwen3_8b() {
        let scaling = RopeScaling::Yarn {
            factor: 4.0,
            original_max_position_embeddings: 32768.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: 1.0,
        };
        let expected =
            [(0, 1.0), (1, 0.805_842_188), (30, 0.001_064_360_98), (40, 4.445_698_53e-5), (63, 3.102_344_4e-7)];
        check(&config(1e6, scaling), &expected);
    }
}
