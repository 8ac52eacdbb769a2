/// Each row of `weight.len()` values by itself.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let d = weight.len();
    for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
        let mean_sq = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / d as f64;
        let scale = 1.0 / (mean_sq + f64::from(eps)).sqrt();
        for i in 0..d {
            y[i] = (f64::from(x[i]) * scale * f64::from(weight[i])) as f32;
        }
    }
}
