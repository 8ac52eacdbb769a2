use crate::ops::matmul;

/// `into += sum_s weights[s] * (down[s] act[s])` of one token; each slot's matrix is already dequantised, `[D, I]`.
pub fn experts_down<'a>(act: &[f32], weights: &[f32], down: impl Iterator<Item = &'a [f32]>, into: &mut [f32]) {
    let mut sums: Vec<f64> = into.iter().map(|&v| f64::from(v)).collect();
    let width = act.len() / weights.len();
    for ((act, &weight), down) in act.chunks_exact(width).zip(weights).zip(down) {
        let mut y = vec![0.0; into.len()];
        matmul(act, down, None, width, &mut y);
        sums.iter_mut().zip(&y).for_each(|(sum, &y)| *sum += f64::from(weight) * f64::from(y));
    }
    into.iter_mut().zip(sums).for_each(|(into, sum)| *into = sum as f32);
}
