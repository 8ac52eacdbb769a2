//! What a model needs, counted from its config alone.

mod mix;
#[cfg(test)]
mod tests;

use crate::config::Config;
use crate::names::{self, Container};
use crate::tensors::{Wanted, fp8_scales, wanted};
use aloud_format::DType;
use aloud_ops::Elem;
pub use mix::Mix;
use mix::PartName;

/// Bytes that [`Estimate::gpus`] leaves on each GPU for activations, tables and what the driver keeps.
pub const GPU_RESERVE_BYTES: u64 = 1 << 30;

/// Parameters, bytes and FLOPs of a model, without layers that predict further ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// All parameters.
    pub parameters: u64,
    /// Those that a token is multiplied with: the chosen experts', and the head's, but not the embedding's.
    pub active_parameters: u64,
    /// Bytes of all tensors.
    pub weight_bytes: u64,
    /// Bytes of weights read for one token, one row of the embedding among them.
    pub read_bytes: u64,
    /// Bytes that a token adds to the cache, all layers together.
    pub kv_bytes: u64,
    /// FLOPs of one token with nothing cached; a multiply-add counts two.
    pub flops: u64,
    /// FLOPs that each cached token adds to it. With latent attention keys and values are absorbed, as when decoding.
    pub kv_flops: u64,
    /// The same with keys and values expanded, as for long chunks of a prompt, without the work of expanding; only with
    /// latent attention.
    pub expanded_kv_flops: Option<u64>,
    /// Bytes of each layer's weights; the embedding is counted to the first, norm and head to the last.
    pub layer_bytes: Vec<u64>,
}

impl Estimate {
    /// Of a model whose weights are stored as `mix`, with a cache of `cache`.
    #[must_use]
    pub fn of(config: &Config, mix: Mix, cache: Elem) -> Estimate {
        let config = &in_gguf(config, mix);
        let n_layers = config.num_hidden_layers as usize;
        let mut sum = Estimate {
            parameters: 0,
            active_parameters: 0,
            weight_bytes: 0,
            read_bytes: 0,
            kv_bytes: cache.bytes(u64::from(config.cache_width())) * u64::from(config.num_hidden_layers),
            flops: 0,
            kv_flops: kv_flops(config, true),
            expanded_kv_flops: config.latent.map(|_| kv_flops(config, false)),
            layer_bytes: vec![0; n_layers],
        };
        for tensor in wanted(config, None) {
            sum.add(config, &tensor, mix.dtype(config, &tensor));
        }
        sum.flops = 2 * sum.active_parameters;
        sum
    }

    fn add(&mut self, config: &Config, tensor: &Wanted, dtype: DType) {
        let name = PartName::of(&tensor.name);
        let n_elems: u64 = tensor.shape.iter().product();
        let n_bytes = dtype.bytes_for(n_elems).expect("its blocks divide the rows") + scale_bytes(tensor, dtype);
        self.parameters += n_elems;
        self.weight_bytes += n_bytes;
        let last = self.layer_bytes.len() - 1;
        let is_embed = name.is(names::EMBED);
        let layer = if is_embed { 0 } else { name.layer_idx.map_or(last, |i| i as usize) };
        self.layer_bytes[layer] += n_bytes;
        if is_embed {
            self.read_bytes += n_bytes / u64::from(config.vocab_size);
        }
        if !is_embed || config.tie_word_embeddings {
            let (part, whole) = share(config, &name);
            self.active_parameters += n_elems / whole * part;
            self.read_bytes += n_bytes / whole * part;
        }
    }

    /// Bytes of weights and of the cache of `n_ctx` tokens.
    #[must_use]
    pub fn total_bytes(&self, n_ctx: u32) -> u64 {
        self.weight_bytes + self.kv_bytes * u64::from(n_ctx)
    }

    /// How many GPUs of `gpu_bytes` hold the model with a context of `n_ctx` tokens, if it can be cut so: each takes
    /// consecutive whole layers with their cache and keeps [`GPU_RESERVE_BYTES`] free.
    #[must_use]
    pub fn gpus(&self, gpu_bytes: u64, n_ctx: u32) -> Option<u32> {
        let room = gpu_bytes.checked_sub(GPU_RESERVE_BYTES)?;
        let kv_bytes = self.kv_bytes / self.layer_bytes.len() as u64 * u64::from(n_ctx);
        let (mut n, mut used) = (1, 0);
        for layer in &self.layer_bytes {
            let need = layer + kv_bytes;
            if need > room {
                return None;
            }
            if used + need > room {
                (n, used) = (n + 1, 0);
            }
            used += need;
        }
        Some(n)
    }
}

/// The same model as a GGUF file would have it: one tensor per stack of experts, and what makes keys and values in two.
/// FP8 comes in safetensors, where those are one.
fn in_gguf(config: &Config, mix: Mix) -> Config {
    let mut config = Config { container: Container::Gguf, ..config.clone() };
    if let Some(latent) = &mut config.latent {
        latent.kv_b_split = mix != Mix::Fp8;
    }
    config
}

/// How much of a tensor one token needs: this part of the whole.
fn share(config: &Config, name: &PartName<'_>) -> (u64, u64) {
    let stacked = [names::GATE_EXPS, names::UP_EXPS, names::DOWN_EXPS].into_iter().any(|part| name.is(part));
    match &config.experts {
        Some(e) if stacked => (u64::from(e.num_experts_per_tok), u64::from(e.n_routed_experts)),
        _ => (1, 1),
    }
}

/// Bytes of the scales that stand beside an FP8 matrix, or beside each of a stack.
fn scale_bytes(tensor: &Wanted, dtype: DType) -> u64 {
    match (dtype, tensor.shape.as_slice()) {
        (DType::F8_E4M3, &[.., rows, cols]) => {
            let n_matrices: u64 = tensor.shape.iter().rev().skip(2).product();
            let [tile_rows, tile_cols] = fp8_scales(&tensor.name, rows, cols).1;
            n_matrices * tile_rows * tile_cols * 4
        }
        _ => 0,
    }
}

/// FLOPs per cached token: scores and sums of all heads in all layers.
fn kv_flops(config: &Config, absorbed: bool) -> u64 {
    let [h, layers, c] = [config.num_attention_heads, config.num_hidden_layers, config.head_dim].map(u64::from);
    let per_head = match &config.latent {
        Some(latent) if absorbed => 2 * u64::from(latent.kv_lora_rank) + c,
        Some(latent) => u64::from(latent.qk_nope_head_dim) + c + u64::from(latent.v_head_dim),
        None => 2 * c,
    };
    2 * h * per_head * layers
}
