//! The forward pass, as the papers have it.

use crate::config::{Config, Experts};
use crate::load::{AttentionWeights, Dense, FeedForward, Layer, NextToken, Weights};
use aloud_ops::{
    Attention, GqaProject, KvCache, LatentCache, Recording, Tensor, attention, embed, experts_down, experts_gate_up,
    gqa_project, matmul, matmul_add, matmul_stacked, mla_attention, mla_expanded, mla_project, mla_query, norm_concat,
    rms_norm, route, router, swiglu,
};

/// The cache of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerCache {
    /// Keys and values.
    Grouped(KvCache),
    /// Latents.
    Latent(LatentCache),
}

/// A model with what it keeps between steps, to be written into recordings.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'a> {
    /// Its numbers.
    pub config: &'a Config,
    /// Its weights.
    pub weights: &'a Weights,
    /// The cache of each layer, then that of the layer that predicts further ahead, if there is one.
    pub caches: &'a [LayerCache],
    /// Rows of a recording from which latent attention expands keys and values out of the cache. With fewer it absorbs the
    /// weights that would do so into query and output.
    pub expand_from: u32,
}

impl Decoder<'_> {
    /// Embedding and all layers: `tokens: [T]` → the residual stream `[T, D]`.
    pub fn forward(&self, rec: &mut Recording, tokens: Tensor) -> Tensor {
        rec.set_scope("");
        let x = embed(rec, tokens, self.weights.embed);
        for (i, (layer, cache)) in self.weights.layers.iter().zip(self.caches).enumerate() {
            rec.set_scope(format!("l{i:02}"));
            self.layer(rec, layer, cache, x);
        }
        rec.set_scope("");
        x
    }

    /// Final norm: `x: [T, D]` → the hidden state `[T, D]`.
    pub fn hidden(&self, rec: &mut Recording, x: Tensor) -> Tensor {
        rms_norm(rec, x, self.weights.norm, self.config.rms_norm_eps)
    }

    /// Head: hidden state `[T, D]` → logits `[T, V]`.
    pub fn head(&self, rec: &mut Recording, hidden: Tensor) -> Tensor {
        matmul(rec, "head", hidden, self.weights.head, None)
    }

    /// What the extra layer sees: hidden states and the tokens behind them → `[T, D]`.
    ///
    /// Source: DeepSeek-V3 (2024), section 2.2.
    fn next_token_input(&self, rec: &mut Recording, mtp: &NextToken, hidden: Tensor, tokens: Tensor) -> Tensor {
        let e = embed(rec, tokens, self.weights.embed);
        let eps = self.config.rms_norm_eps;
        let both = norm_concat(rec, e, mtp.embed_norm, hidden, mtp.hidden_norm, eps);
        matmul(rec, "eh_proj", both, mtp.proj, None)
    }

    /// Predicts one token further: `hidden: [T, D]` of positions `t` and `tokens: [T]` at `t + 1` → hidden states `[T, D]`
    /// whose logits are of the tokens at `t + 2`.
    ///
    /// # Panics
    /// Without multi-token prediction.
    pub fn next_token(&self, rec: &mut Recording, hidden: Tensor, tokens: Tensor) -> Tensor {
        let mtp = self.weights.next_token.as_ref().expect("a model with multi-token prediction");
        rec.set_scope("mtp");
        let x = self.next_token_input(rec, mtp, hidden, tokens);
        self.layer(rec, &mtp.layer, self.caches.last().expect("a cache per layer"), x);
        let h = rms_norm(rec, x, mtp.norm, self.config.rms_norm_eps);
        rec.set_scope("");
        h
    }

    /// Only fills the extra layer's cache: nobody looks at what it predicts inside a prompt.
    ///
    /// # Panics
    /// Without multi-token prediction.
    pub fn next_token_cache(&self, rec: &mut Recording, hidden: Tensor, tokens: Tensor) {
        let mtp = self.weights.next_token.as_ref().expect("a model with multi-token prediction");
        rec.set_scope("mtp");
        let x = self.next_token_input(rec, mtp, hidden, tokens);
        let h = rms_norm(rec, x, mtp.layer.attn_norm, self.config.rms_norm_eps);
        match (&mtp.layer.attention, self.caches.last()) {
            (AttentionWeights::Latent { a, q, kv_a_norm, .. }, Some(LayerCache::Latent(cache))) => {
                self.project(rec, a, q, *kv_a_norm, cache, h);
            }
            _ => unreachable!("multi-token prediction comes with latent attention"),
        }
        rec.set_scope("");
    }

    fn layer(&self, rec: &mut Recording, layer: &Layer, cache: &LayerCache, x: Tensor) {
        let h = rms_norm(rec, x, layer.attn_norm, self.config.rms_norm_eps);
        match cache {
            LayerCache::Grouped(cache) => self.grouped_query_attention(rec, layer, h, cache, x),
            LayerCache::Latent(cache) => self.latent_attention(rec, layer, h, cache, x),
        }
        match &layer.feed_forward {
            FeedForward::Dense(dense) => {
                let h = rms_norm(rec, x, layer.ffn_norm, self.config.rms_norm_eps);
                feed_forward(rec, dense, h, x);
            }
            FeedForward::Experts { .. } => self.experts(rec, layer, x),
        }
    }

    /// Adds the attention over `h`, the normed `x`, to `x`.
    fn grouped_query_attention(&self, rec: &mut Recording, layer: &Layer, h: Tensor, cache: &KvCache, x: Tensor) {
        let AttentionWeights::Grouped { qkv, qkv_bias, qk_norm, o } = &layer.attention else {
            unreachable!("the cache is made for the weights")
        };
        let config = self.config;
        let qkv = matmul_stacked(rec, "attn_qkv", h, qkv, *qkv_bias);
        let params = GqaProject {
            n_heads: config.num_attention_heads,
            n_kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            pairing: config.rope_pairing(),
            eps: config.rms_norm_eps,
            block_tokens: cache.block_tokens,
        };
        let q = gqa_project(rec, qkv, *qk_norm, self.weights.rope, cache, params);
        let params = Attention {
            n_heads: config.num_attention_heads,
            n_kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            scale: (1.0 / f64::from(config.head_dim).sqrt()) as f32,
            block_tokens: cache.block_tokens,
        };
        let y = attention(rec, q, cache, params);
        matmul_add(rec, "attn_output", y, *o, x);
    }

    /// The first projections of latent attention; writes the cache. → queries, or the normed latent that they are made of.
    fn project(
        &self,
        rec: &mut Recording,
        a: &[Tensor],
        q: &Option<[Tensor; 2]>,
        kv_a_norm: Tensor,
        cache: &LatentCache,
        h: Tensor,
    ) -> Tensor {
        let latent = self.config.latent.as_ref().expect("latent weights come with latent numbers");
        let mla = self.config.mla(cache.block_tokens).expect("likewise");
        let a = matmul_stacked(rec, "attn_a", h, a, None);
        let q_norm = q.map(|[norm, _]| norm);
        mla_project(rec, a, q_norm, kv_a_norm, latent.norm_eps, self.weights.rope, cache, &mla).unwrap_or(a)
    }

    /// Adds the attention over `h`, the normed `x`, to `x`.
    ///
    /// Source: DeepSeek-V2 (2024), section 2.1.
    fn latent_attention(&self, rec: &mut Recording, layer: &Layer, h: Tensor, cache: &LatentCache, x: Tensor) {
        let AttentionWeights::Latent { a, q, kv_a_norm, kv_b, o } = &layer.attention else {
            unreachable!("the cache is made for the weights")
        };
        let mla = self.config.mla(cache.block_tokens).expect("latent weights come with latent numbers");
        let mut query = self.project(rec, a, q, *kv_a_norm, cache, h);
        if let Some([_, q_b]) = *q {
            query = matmul(rec, "attn_q_b", query, q_b, None);
        }
        let y = if rec.max_tokens >= self.expand_from {
            mla_expanded(rec, query, cache, kv_b, self.weights.rope, &mla)
        } else {
            let query = mla_query(rec, query, kv_b, self.weights.rope, &mla);
            mla_attention(rec, query, cache, kv_b, &mla)
        };
        matmul_add(rec, "attn_output", y, *o, x);
    }

    /// Adds what the experts make of the normed `x` to `x`.
    ///
    /// Source: DeepSeek-V3 (2024), section 2.1.2.
    fn experts(&self, rec: &mut Recording, layer: &Layer, x: Tensor) {
        let FeedForward::Experts { router: weight, bias, gate, up, down, shared } = &layer.feed_forward else {
            unreachable!("the caller looked")
        };
        let experts: &Experts = self.config.experts.as_ref().expect("experts' weights come with their numbers");
        let (h, logits) = router(rec, x, layer.ffn_norm, self.config.rms_norm_eps, *weight);
        let routing = route(rec, logits, *bias, experts.route(shared.is_none()));
        let act = experts_gate_up(rec, h, *gate, *up, &routing);
        experts_down(rec, x, act, *down, &routing);
        if let Some(shared) = shared {
            feed_forward(rec, shared, h, x);
        }
    }
}

/// Adds the feed-forward block over `h`, the normed `x`, to `x`.
fn feed_forward(rec: &mut Recording, weights: &Dense, h: Tensor, x: Tensor) {
    let gate = matmul(rec, "ffn_gate", h, weights.gate, None);
    let up = matmul(rec, "ffn_up", h, weights.up, None);
    let h = swiglu(rec, gate, up);
    matmul_add(rec, "ffn_down", h, weights.down, x);
}
