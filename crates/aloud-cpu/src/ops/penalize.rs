use aloud_ops::{SamplerBuffers, SamplerState};

/// The score of an id that is never drawn.
pub const NEVER: f32 = -3e38;

/// Penalties and temperature applied to the logits.
pub fn penalize(logits: &[f32], state: &SamplerState, counts: &[u32], scores: &mut [f32]) {
    for (id, ((&logit, &count), score)) in logits.iter().zip(counts).zip(scores).enumerate() {
        let mut s = logit;
        if count != 0 {
            s = if s > 0.0 { s / state.repetition_penalty } else { s * state.repetition_penalty };
            let n = count & 0x7fff_ffff;
            s -= if n > 0 { state.presence_penalty } else { 0.0 } + n as f32 * state.frequency_penalty;
        }
        if state.temperature > 0.0 {
            s /= state.temperature;
        }
        *score = if id as u32 >= state.n_vocab { NEVER } else { s };
    }
}

/// `(score bits, id)` of the best of each slice; the lowest id wins a tie.
#[must_use]
pub fn best_of_slices(scores: &[f32]) -> Vec<[u32; 2]> {
    let slice = scores.len().div_ceil(SamplerBuffers::SLICES as usize);
    (0..SamplerBuffers::SLICES as usize)
        .map(|i| {
            let mut best = (NEVER, u32::MAX);
            for (id, &s) in scores.iter().enumerate().skip(i * slice).take(slice) {
                if s > best.0 {
                    best = (s, id as u32);
                }
            }
            [best.0.to_bits(), best.1]
        })
        .collect()
}
