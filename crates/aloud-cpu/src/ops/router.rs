use crate::ops::{matmul, rms_norm};

/// `h = rms_norm(x)`, `logits = weight h`, `weight` already dequantised, `[E, D]`.
pub fn router(x: &[f32], norm: &[f32], eps: f32, weight: &[f32], h: &mut [f32], logits: &mut [f32]) {
    rms_norm(x, norm, eps, h);
    matmul(h, weight, None, norm.len(), logits);
}
