use super::rms_norm;

/// Rows of `a` and `b`, each normalised, side by side.
pub fn norm_concat(a: &[f32], a_norm: &[f32], b: &[f32], b_norm: &[f32], eps: f32, y: &mut [f32]) {
    let d = a_norm.len();
    for ((y, a), b) in y.chunks_exact_mut(2 * d).zip(a.chunks_exact(d)).zip(b.chunks_exact(d)) {
        let (left, right) = y.split_at_mut(d);
        rms_norm(a, a_norm, eps, left);
        rms_norm(b, b_norm, eps, right);
    }
}
