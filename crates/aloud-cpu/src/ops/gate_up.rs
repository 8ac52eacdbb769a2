use crate::ops::{matmul, swiglu};

/// `act = silu(gate h) * (up h)` of rows of `d` values; the matrices are already dequantised, `[F, D]`.
pub fn gate_up(h: &[f32], gate: &[f32], up: &[f32], d: usize, act: &mut [f32]) {
    let [mut g, mut u] = [(); 2].map(|()| vec![0.0; act.len()]);
    matmul(h, gate, None, d, &mut g);
    matmul(h, up, None, d, &mut u);
    swiglu(&g, &u, act);
}
