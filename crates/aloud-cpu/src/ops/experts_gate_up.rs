use crate::ops::{matmul, swiglu};

/// `act = silu(gate h) * (up h)` of one token and one expert, whose matrices are already dequantised, `[I, D]`.
pub fn experts_gate_up(h: &[f32], gate: &[f32], up: &[f32], act: &mut [f32]) {
    let [mut g, mut u] = [(); 2].map(|()| vec![0.0; act.len()]);
    matmul(h, gate, None, h.len(), &mut g);
    matmul(h, up, None, h.len(), &mut u);
    swiglu(&g, &u, act);
}
