//! How likely tokens were.

/// How likely a drawn token was, by the model alone: before penalties, temperature and cuts.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub id: u32,
    /// The natural logarithm of its probability.
    pub logprob: f32,
    /// The likeliest tokens with theirs, best first.
    pub top: Vec<(u32, f32)>,
}

impl TokenLogprob {
    /// From a row of logits `[V] f32` as bytes; `n_top` of the likeliest.
    pub(crate) fn of(id: u32, logits: &[u8], n_top: usize) -> TokenLogprob {
        let logits: Vec<f32> = logits.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&l| f64::from(l - largest).exp()).sum();
        let logprob = |id: u32| (f64::from(logits[id as usize] - largest) - sum.ln()) as f32;
        let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
        let n_top = n_top.min(ids.len());
        // The lowest id wins a tie, as when drawing greedily.
        let order = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        if n_top > 0 && n_top < ids.len() {
            ids.select_nth_unstable_by(n_top - 1, order);
        }
        ids.truncate(n_top);
        ids.sort_unstable_by(order);
        TokenLogprob { id, logprob: logprob(id), top: ids.into_iter().map(|id| (id, logprob(id))).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_of_the_logits() {
        let probabilities = [0.1f32, 0.4, 0.05, 0.4, 0.05];
        let bytes: Vec<u8> = probabilities.iter().flat_map(|p| (p.ln() + 3.0).to_le_bytes()).collect();
        let found = TokenLogprob::of(0, &bytes, 3);
        assert!((found.logprob.exp() - 0.1).abs() < 1e-6, "{found:?}");
        assert_eq!(found.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 3, 0]);
        for (id, logprob) in TokenLogprob::of(2, &bytes, 99).top {
            assert!((logprob.exp() - probabilities[id as usize]).abs() < 1e-6);
        }
        assert!(TokenLogprob::of(2, &bytes, 0).top.is_empty());
    }
}
