/// `y[t, n] = sum_k x[t, k] w[n, k] (+ bias[n])`, `w` already dequantised, `[N, K]`.
pub fn matmul(x: &[f32], w: &[f32], bias: Option<&[f32]>, k: usize, y: &mut [f32]) {
    let n = w.len() / k;
    for (x, y) in x.chunks_exact(k).zip(y.chunks_exact_mut(n)) {
        for (i, (w, y)) in w.chunks_exact(k).zip(y).enumerate() {
            let sum: f64 = x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
            *y = (sum + bias.map_or(0.0, |b| f64::from(b[i]))) as f32;
        }
    }
}
