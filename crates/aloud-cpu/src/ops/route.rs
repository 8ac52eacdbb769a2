use aloud_ops::{GroupScore, Route, Scoring, SlotOrder};

/// 1 in the fixed point of [`decay`].
const ONE: u64 = 1 << 30;

/// `ln(2)^k / k! * 2^32`, k from 10 down to 1.
const SERIES: [u64; 10] =
    [30, 437, 5_676, 65_510, 661_577, 5_726_720, 41_309_550, 238_388_332, 1_031_764_991, 2_977_044_472];

/// `e^-|z|` as `(y, n)`: `y * 2^-30 * 2^-n`, y from 2^29 to 2^30; y is 0 below 2^-100.
fn decay(z: f32) -> (u64, u32) {
    let high = |a: u64, b: u64| (a * b) >> 32;
    let (bits, e) = (z.to_bits(), (z.to_bits() >> 23) & 255);
    if e > 133 {
        return (0, 0);
    }
    // |z| * log2(e) = n + f, f in 32 bits; y is the series of 2^-f.
    let t = high(u64::from(bits & 0x7f_ffff | 0x80_0000) << 8, 0xb8aa_3b29);
    let (n, f) = match e {
        126.. => (t >> (157 - e), (t << (e - 125)) & 0xffff_ffff),
        _ => (0, t.checked_shr(125 - e).unwrap_or(0)),
    };
    if n > 99 {
        return (0, 0);
    }
    let y = SERIES.iter().fold(2, |y, coefficient| coefficient - high(y, f));
    (ONE - ((high(y, f) + 2) >> 2), n as u32)
}

/// `a / b * 2^-n` rounded to nearest even; a / b from 1/8 to below 2.
fn quotient(a: u64, b: u64, n: u32) -> f32 {
    let doublings = (0..3).find(|d| a << d >= b).unwrap_or(3);
    let a = (a << doublings) << 23;
    let (m, rest) = (a / b, a % b);
    let up = u64::from(2 * rest > b || (2 * rest == b && m % 2 == 1));
    f32::from_bits((((126 - n - doublings) << 23) as u64 + m + up) as u32)
}

/// `1 / (1 + e^-x)` to 2 units in the last place, made of integers; 0 below 2^-100.
#[must_use]
pub fn sigmoid(x: f32) -> f32 {
    let (y, n) = decay(x);
    let total = ONE + y.checked_shr(n).unwrap_or(0);
    match (x.is_sign_positive(), y) {
        (true, _) => quotient(ONE, total, 0),
        (false, 0) => 0.0,
        (false, _) => quotient(y, total, n),
    }
}

/// `e^d / sum(e^d)`, d the distance to the largest, which is rounded to f32; from there on to 2 units in the last place,
/// made of integers; 0 below 2^-100.
#[must_use]
pub fn softmax(x: &[f32]) -> Vec<f32> {
    let largest = x.iter().copied().map(flushed).fold(f32::NEG_INFINITY, f32::max);
    let terms: Vec<(u64, u32)> = x.iter().map(|x| decay(largest - x)).collect();
    // 44 bits behind the point.
    let sum: u64 = terms.iter().map(|&(y, n)| (y << 14).checked_shr(n).unwrap_or(0)).sum();
    let whole = (sum >> 44).ilog2();
    let total = sum >> (14 + whole);
    terms.iter().map(|&(y, n)| if y == 0 { 0.0 } else { quotient(y, total, n + whole) }).collect()
}

/// What a device that knows no tiny numbers has.
fn flushed(v: f32) -> f32 {
    if v.is_normal() { v } else { 0.0 }
}

/// The `n` largest of those that are there, largest first, ties in order.
fn best(values: &[Option<f32>], n: usize) -> Vec<usize> {
    let mut there: Vec<usize> = (0..values.len()).filter(|&i| values[i].is_some()).collect();
    there.sort_by(|&a, &b| values[b].partial_cmp(&values[a]).expect("scores are numbers"));
    there.truncate(n);
    there
}

/// Ids and weights of one token's slots.
#[must_use]
pub fn route(logits: &[f32], bias: Option<&[f32]>, params: &Route) -> (Vec<u32>, Vec<f32>) {
    let scores = match params.scoring {
        Scoring::Sigmoid => logits.iter().map(|&x| sigmoid(x)).collect(),
        Scoring::Softmax => softmax(logits),
    };
    let biased = |e: usize| flushed(scores[e] + bias.map_or(0.0, |b| b[e]));
    let mut choice: Vec<Option<f32>> = (0..scores.len()).map(|e| Some(biased(e))).collect();
    if params.n_group > 1 {
        let size = scores.len() / params.n_group as usize;
        let worth = |group: &[Option<f32>]| match (params.group_score, &best(group, 2)[..]) {
            (GroupScore::TopTwoSum, &[a, b]) => Some(flushed(group[a]? + group[b]?)),
            (_, found) => group[found[0]],
        };
        let worths: Vec<Option<f32>> = choice.chunks_exact(size).map(worth).collect();
        let kept = best(&worths, params.topk_group as usize);
        for (g, group) in choice.chunks_exact_mut(size).enumerate() {
            if !kept.contains(&g) {
                group.fill(None);
            }
        }
    }
    let chosen = best(&choice, params.num_experts_per_tok as usize);
    let sum = chosen.iter().fold(0.0, |sum, &e| sum + scores[e]) + 1e-20;
    let weight = |s: f32| if params.normalises() { s / sum } else { s } * params.routed_scaling_factor;
    let mut weights: Vec<f32> = chosen.iter().map(|&e| weight(scores[e])).collect();
    let mut ids: Vec<u32> = chosen.iter().map(|&e| e as u32).collect();
    ids.extend((0..params.n_shared).map(|j| scores.len() as u32 + j));
    weights.resize(ids.len(), 1.0);
    (ids, weights)
}

/// The slots of `ids` sorted by expert, as [`SlotOrder`] lays them out.
#[must_use]
pub fn sort_slots(ids: &[u32], layout: SlotOrder) -> Vec<u32> {
    let mut slots: Vec<u32> = (0..ids.len() as u32).collect();
    slots.sort_by_key(|&slot| ids[slot as usize]);
    let mut order = vec![0; (layout.slots_at() + layout.n_slots) as usize];
    order[layout.slots_at() as usize..][..slots.len()].copy_from_slice(&slots);
    let expert = |slot: u32| ids[slot as usize];
    let mut first = 0;
    for of_expert in slots.chunk_by(|&a, &b| expert(a) == expert(b)) {
        for tile in of_expert.chunks(SlotOrder::TILE as usize) {
            let at = 1 + 3 * order[0] as usize;
            order[at..at + 3].copy_from_slice(&[expert(tile[0]), first, tile.len() as u32]);
            order[0] += 1;
            first += tile.len() as u32;
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance from the exact value in units of the last place of the result.
    fn ulps(got: f32, exact: f64) -> f64 {
        let unit = f64::from(f32::from_bits(got.to_bits() + 1)) - f64::from(got);
        (f64::from(got) - exact).abs() / unit
    }

    #[test]
    fn scores_are_exact_to_two_units_in_the_last_place() {
        let (mut of_sigmoid, mut of_softmax) = (0f64, 0f64);
        for i in -600_000..600_000 {
            let x = i as f32 * 1e-4 + 1.7e-9;
            of_sigmoid = of_sigmoid.max(ulps(sigmoid(x), 1.0 / (1.0 + (-f64::from(x)).exp())));
        }
        for n in [1, 7, 64, 512] {
            for scale in [1e-6, 0.3, 5.0, 60.0] {
                let x: Vec<f32> = (0..n).map(|i| ((i * 7919 % 1000) as f32 * 1e-3 - 0.5) * scale).collect();
                let largest = x.iter().copied().fold(f32::MIN, f32::max);
                let exp = |x: f32| f64::from(x - largest).exp();
                let sum: f64 = x.iter().map(|&x| exp(x)).sum();
                for (p, x) in softmax(&x).iter().zip(&x) {
                    of_softmax = of_softmax.max(ulps(*p, exp(*x) / sum));
                }
            }
        }
        println!("worst: sigmoid {of_sigmoid:.2}, softmax {of_softmax:.2} units in the last place");
        assert!(of_sigmoid <= 2.0 && of_softmax <= 2.0, "sigmoid {of_sigmoid}, softmax {of_softmax}");
        assert_eq!([0.0, -0.0, 1e4, -1e4, 1e-40].map(sigmoid), [0.5, 0.5, 1.0, 0.0, 0.5]);
        assert_eq!(softmax(&[1e4, -1e4, 1e4, f32::MIN]), [0.5, 0.0, 0.5, 0.0]);
    }
}
