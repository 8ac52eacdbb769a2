/// One row of the table, already dequantised, per token: `table: [V, D]`.
pub fn embed(tokens: &[u32], table: &[f32], d: usize, y: &mut [f32]) {
    for (row, &token) in y.chunks_exact_mut(d).zip(tokens) {
        row.copy_from_slice(&table[token as usize * d..][..d]);
    }
}
