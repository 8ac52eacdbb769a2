//! Which tensors a model has, by name and shape.

use crate::config::{Config, Experts, Latent};
use crate::names::{self, Container};
use aloud_format::{DType, FormatError, TensorSet};

/// A tensor that a model needs, row-major.
pub struct Wanted {
    pub name: String,
    pub shape: Vec<u64>,
}

/// Side of the tiles that share a scale in FP8 checkpoints.
pub const FP8_TILE: u64 = 128;

/// The grid of scales of an FP8 matrix: its name and shape.
pub fn fp8_scales(name: &str, rows: u64, cols: u64) -> (String, [u64; 2]) {
    (format!("{name}_scale_inv"), [rows.div_ceil(FP8_TILE), cols.div_ceil(FP8_TILE)])
}

/// The layer that predicts the token after the next, if the file has its tensors: many conversions leave them out.
pub fn mtp_layer(config: &Config, tensors: &TensorSet) -> Option<u32> {
    let layer_idx = config.num_hidden_layers;
    let projection = config.container.layer(layer_idx, names::MTP_PROJ, "weight");
    (config.num_nextn_predict_layers > 0 && tensors.get(&projection).is_some()).then_some(layer_idx)
}

/// Every tensor that `config` asks for, the layer at `mtp` included.
pub fn wanted(config: &Config, mtp: Option<u32>) -> Vec<Wanted> {
    let at = config.container;
    let [d, v] = [config.hidden_size, config.vocab_size].map(u64::from);
    let mut all = List(Vec::new());
    all.push(at.global(names::EMBED), &[v, d]);
    all.push(at.global(names::NORM), &[d]);
    if !config.tie_word_embeddings {
        all.push(at.global(names::HEAD), &[v, d]);
    }
    for i in 0..config.num_hidden_layers {
        all.layer(config, i);
    }
    if let Some(i) = mtp {
        all.layer(config, i);
        for name in [names::MTP_EMBED_NORM, names::MTP_HIDDEN_NORM, names::MTP_NORM] {
            all.push(at.layer(i, name, "weight"), &[d]);
        }
        all.push(at.layer(i, names::MTP_PROJ, "weight"), &[d, 2 * d]);
    }
    all.0
}

struct List(Vec<Wanted>);

impl List {
    fn push(&mut self, name: String, shape: &[u64]) {
        self.0.push(Wanted { name, shape: shape.to_vec() });
    }

    fn layer(&mut self, config: &Config, i: u32) {
        let at = config.container;
        let d = u64::from(config.hidden_size);
        self.push(at.layer(i, names::ATTN_NORM, "weight"), &[d]);
        self.push(at.layer(i, names::FFN_NORM, "weight"), &[d]);
        match &config.latent {
            Some(latent) => self.latent_attention(config, latent, i),
            None => self.grouped_attention(config, i),
        }
        match config.experts_of(i) {
            Some(experts) => self.experts(config, experts, i),
            None => {
                let f = u64::from(config.intermediate_size);
                self.feed_forward(at, i, [names::GATE, names::UP, names::DOWN], d, f);
            }
        }
    }

    fn grouped_attention(&mut self, config: &Config, i: u32) {
        let (at, c) = (config.container, u64::from(config.head_dim));
        let d = u64::from(config.hidden_size);
        let (h, k) = (u64::from(config.num_attention_heads) * c, u64::from(config.num_key_value_heads) * c);
        for (name, rows) in [(names::Q, h), (names::K, k), (names::V, k)] {
            self.push(at.layer(i, name, "weight"), &[rows, d]);
            if config.architecture.qkv_bias {
                self.push(at.layer(i, name, "bias"), &[rows]);
            }
        }
        self.push(at.layer(i, names::O, "weight"), &[d, h]);
        if config.architecture.qk_norm {
            for name in [names::Q_NORM, names::K_NORM] {
                self.push(at.layer(i, name, "weight"), &[c]);
            }
        }
    }

    fn latent_attention(&mut self, config: &Config, latent: &Latent, i: u32) {
        let weight = |name| config.container.layer(i, name, "weight");
        let [d, h, p] = [config.hidden_size, config.num_attention_heads, config.head_dim].map(u64::from);
        let [r, n, v] = [latent.kv_lora_rank, latent.qk_nope_head_dim, latent.v_head_dim].map(u64::from);
        match latent.q_lora_rank.map(u64::from) {
            None => self.push(weight(names::Q), &[h * (n + p), d]),
            Some(q) => {
                self.push(weight(names::Q_A), &[q, d]);
                self.push(weight(names::Q_A_NORM), &[q]);
                self.push(weight(names::Q_B), &[h * (n + p), q]);
            }
        }
        self.push(weight(names::KV_A), &[r + p, d]);
        self.push(weight(names::KV_A_NORM), &[r]);
        if latent.kv_b_split {
            self.push(weight(names::K_B), &[h, r, n]);
            self.push(weight(names::V_B), &[h, v, r]);
        } else {
            self.push(weight(names::KV_B), &[h * (n + v), r]);
        }
        self.push(weight(names::O), &[d, h * v]);
    }

    fn experts(&mut self, config: &Config, experts: &Experts, i: u32) {
        let at = config.container;
        let d = u64::from(config.hidden_size);
        let [e, f] = [experts.n_routed_experts, experts.moe_intermediate_size].map(u64::from);
        self.push(at.layer(i, names::ROUTER, "weight"), &[e, d]);
        if experts.bias {
            self.push(at.router_bias(i), &[e]);
        }
        for (name, rows, cols) in [(names::GATE_EXPS, f, d), (names::UP_EXPS, f, d), (names::DOWN_EXPS, d, f)] {
            match at {
                Container::Gguf => self.push(at.layer(i, name, "weight"), &[e, rows, cols]),
                Container::HuggingFace => {
                    for expert in 0..experts.n_routed_experts {
                        self.push(at.expert(i, expert, name), &[rows, cols]);
                    }
                }
            }
        }
        if experts.n_shared_experts > 0 {
            let shared = [names::GATE_SHARED, names::UP_SHARED, names::DOWN_SHARED];
            self.feed_forward(at, i, shared, d, f * u64::from(experts.n_shared_experts));
        }
    }

    fn feed_forward(&mut self, at: Container, i: u32, parts: [(&'static str, &'static str); 3], d: u64, f: u64) {
        for (name, shape) in parts.into_iter().zip([[f, d], [f, d], [d, f]]) {
            self.push(at.layer(i, name, "weight"), &shape);
        }
    }
}

/// Bytes of all tensors that `config` asks for, each there with the right shape, and the scales of those in FP8.
pub fn weight_bytes(config: &Config, tensors: &TensorSet) -> Result<u64, FormatError> {
    wanted(config, mtp_layer(config, tensors)).iter().map(|tensor| tensor_bytes(tensors, tensor)).sum()
}

/// Bytes of weights that are read for one token: of the embedding one row, of the experts the chosen ones. What predicts
/// further ahead is not counted.
///
/// # Errors
/// If a tensor is missing or has another shape than the config says.
pub fn read_bytes(config: &Config, tensors: &TensorSet) -> Result<u64, FormatError> {
    let embed = config.container.global(names::EMBED);
    let mut sum = 0;
    for tensor in wanted(config, None) {
        let bytes = tensor_bytes(tensors, &tensor)?;
        let is_expert = tensor.name.contains("_exps.") || tensor.name.contains(".experts.");
        sum += match &config.experts {
            Some(e) if is_expert => bytes / u64::from(e.n_routed_experts) * u64::from(e.num_experts_per_tok),
            _ if tensor.name == embed && !config.tie_word_embeddings => bytes / u64::from(config.vocab_size),
            _ => bytes,
        };
    }
    Ok(sum)
}

fn tensor_bytes(tensors: &TensorSet, Wanted { name, shape }: &Wanted) -> Result<u64, FormatError> {
    let info = tensors.expect(name, shape)?;
    let scale_bytes = match (info.dtype, shape.as_slice()) {
        (DType::F8_E4M3, &[rows, cols]) => {
            let (scales, grid) = fp8_scales(name, rows, cols);
            tensors.expect(&scales, &grid)?.n_bytes
        }
        _ => 0,
    };
    Ok(info.n_bytes + scale_bytes)
}
