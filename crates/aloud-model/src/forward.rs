//! The forward pass, as the papers have it.

use crate::config::Config;
use crate::load::{Layer, Weights};
use aloud_ops::{
    Attention, KvCache, Recording, Rope, Tensor, attention, embed, kv_write, matmul, matmul_add, rms_norm, rope, swiglu,
};

/// Embedding and all layers: `tokens: [T]` → the residual stream `[T, D]`.
pub fn forward(rec: &mut Recording, config: &Config, weights: &Weights, tokens: Tensor, caches: &[KvCache]) -> Tensor {
    rec.set_scope("");
    let x = embed(rec, tokens, weights.embed);
    for (i, (layer, cache)) in weights.layers.iter().zip(caches).enumerate() {
        rec.set_scope(format!("l{i:02}"));
        let h = rms_norm(rec, x, layer.attn_norm, config.rms_norm_eps);
        grouped_query_attention(rec, config, layer, weights.rope, h, cache, x);
        let h = rms_norm(rec, x, layer.ffn_norm, config.rms_norm_eps);
        feed_forward(rec, layer, h, x);
    }
    rec.set_scope("");
    x
}

/// Final norm and head: `x: [T, D]` → logits `[T, V]`.
pub fn head(rec: &mut Recording, config: &Config, weights: &Weights, x: Tensor) -> Tensor {
    let h = rms_norm(rec, x, weights.norm, config.rms_norm_eps);
    matmul(rec, "head", h, weights.head, None)
}

/// Adds the attention over `h`, the normed `x`, to `x`.
fn grouped_query_attention(
    rec: &mut Recording,
    config: &Config,
    layer: &Layer,
    table: Tensor,
    h: Tensor,
    cache: &KvCache,
    x: Tensor,
) {
    let [q_bias, k_bias, v_bias] = layer.qkv_bias.map_or([None; 3], |biases| biases.map(Some));
    let mut q = matmul(rec, "attn_q", h, layer.q, q_bias);
    let mut k = matmul(rec, "attn_k", h, layer.k, k_bias);
    let v = matmul(rec, "attn_v", h, layer.v, v_bias);
    if let Some([q_norm, k_norm]) = layer.qk_norm {
        q = rms_norm(rec, q, q_norm, config.rms_norm_eps);
        k = rms_norm(rec, k, k_norm, config.rms_norm_eps);
    }
    let turn = Rope { head_dim: config.head_dim, pairing: config.rope_pairing() };
    let q = rope(rec, q, table, turn);
    let k = rope(rec, k, table, turn);
    kv_write(rec, k, v, cache);
    let params = Attention {
        n_heads: config.num_attention_heads,
        n_kv_heads: config.num_key_value_heads,
        head_dim: config.head_dim,
        scale: (1.0 / f64::from(config.head_dim).sqrt()) as f32,
        block_tokens: cache.block_tokens,
    };
    let o = attention(rec, q, cache, params);
    matmul_add(rec, "attn_output", o, layer.o, x);
}

/// Adds the feed-forward block over `h`, the normed `x`, to `x`.
fn feed_forward(rec: &mut Recording, layer: &Layer, h: Tensor, x: Tensor) {
    let gate = matmul(rec, "ffn_gate", h, layer.gate, None);
    let up = matmul(rec, "ffn_up", h, layer.up, None);
    let h = swiglu(rec, gate, up);
    matmul_add(rec, "ffn_down", h, layer.down, x);
}
