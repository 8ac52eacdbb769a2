/// The last of the `n_tokens` rows.
pub fn last_row(x: &[f32], d: usize, n_tokens: usize, y: &mut [f32]) {
    y.copy_from_slice(&x[(n_tokens - 1) * d..][..d]);
}
