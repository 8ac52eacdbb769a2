use super::{rms_norm, rope};
use aloud_ops::{Mla, RopePairing};

/// The row that is cached of one token: of `a = (latent [R], key [P])` the normed latent and the key turned by its position.
#[must_use]
pub fn mla_project(a: &[f32], kv_norm: &[f32], eps: f32, table: &[f32], mla: &Mla, pos: usize) -> Vec<f32> {
    let mut row = vec![0.0; a.len()];
    let (latent, key) = a.split_at(mla.kv_lora_rank as usize);
    let (to_latent, to_key) = row.split_at_mut(latent.len());
    rms_norm(latent, kv_norm, eps, to_latent);
    rope(key, &table[pos * key.len()..][..key.len()], RopePairing::Interleaved, to_key);
    row
}
