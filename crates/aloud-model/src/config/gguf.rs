//! A config out of GGUF metadata.

use super::{Config, Experts, Latent, RopeScaling, bad, find, missing, yarn_mscale};
use crate::error::ModelError;
use crate::names::{self, Container, EMBED, HEAD};
use aloud_format::{Metadata, TensorSet};
use aloud_ops::{GroupScore, Scoring};

impl Config {
    /// From a GGUF file's metadata and tensor table.
    ///
    /// # Errors
    /// If the family is unknown, a key is missing or a value out of bounds.
    pub fn from_gguf(metadata: &Metadata, tensors: &TensorSet) -> Result<Config, ModelError> {
        let name = metadata.str("general.architecture")?;
        let architecture = find(Container::Gguf, name)?;
        let key = |k: &str| format!("{name}.{k}");
        let embed = Container::Gguf.global(EMBED);
        let table = tensors.get(&embed).ok_or_else(|| missing(&embed, "a tensor `[vocab, hidden]`"))?;
        let rows = table.shape.first().copied().unwrap_or(0);
        let heads = metadata.u32(&key("attention.head_count"))?;
        let hidden_size = metadata.u32(&key("embedding_length"))?;
        let n_layers = metadata.u32(&key("block_count"))?;
        let num_nextn_predict_layers = metadata.opt_u32(&key("nextn_predict_layers"))?.unwrap_or(0);
        let mut config = Config {
            architecture,
            container: Container::Gguf,
            vocab_size: u32::try_from(rows).map_err(|_| out_of_bounds(&embed, rows))?,
            hidden_size,
            num_hidden_layers: main_layers(n_layers, num_nextn_predict_layers, tensors),
            num_attention_heads: heads,
            num_key_value_heads: metadata.opt_u32(&key("attention.head_count_kv"))?.unwrap_or(heads),
            head_dim: match metadata.opt_u32(&key("attention.key_length"))? {
                Some(c) => c,
                None => hidden_size.checked_div(heads).unwrap_or(0),
            },
            intermediate_size: metadata.u32(&key("feed_forward_length"))?,
            rms_norm_eps: metadata.f32(&key("attention.layer_norm_rms_epsilon"))?,
            max_position_embeddings: metadata.u32(&key("context_length"))?,
            rope_theta: f64::from(metadata.opt_f32(&key("rope.freq_base"))?.unwrap_or(10_000.0)),
            rope_scaling: gguf_scaling(metadata, &key, architecture.latent)?,
            tie_word_embeddings: tensors.get(&Container::Gguf.global(HEAD)).is_none(),
            latent: None,
            experts: None,
            num_nextn_predict_layers,
        };
        if architecture.latent {
            config.head_dim = metadata.u32(&key("rope.dimension_count"))?;
            config.num_key_value_heads = 1;
            config.latent = Some(latent(metadata, tensors, &key, &config)?);
            config.experts = experts(metadata, tensors, &key, &config)?;
        }
        config.checked()
    }
}

/// Layers of the decoder proper: some writers count those that predict further ahead among the blocks, some do not.
fn main_layers(n_layers: u32, n_nextn: u32, tensors: &TensorSet) -> u32 {
    let counted = n_layers.saturating_sub(n_nextn);
    let projection = Container::Gguf.layer(counted, names::MTP_PROJ, "weight");
    if tensors.get(&projection).is_some() { counted } else { n_layers }
}

fn latent(
    metadata: &Metadata,
    tensors: &TensorSet,
    key: &impl Fn(&str) -> String,
    config: &Config,
) -> Result<Latent, ModelError> {
    // Older files give the widths of a head under the names of grouped attention.
    let width = |mla: &str, older: &str| match metadata.opt_u32(&key(mla))? {
        Some(width) => Ok::<u32, ModelError>(width),
        None => Ok(metadata.u32(&key(older))?),
    };
    let qk_head_dim = width("attention.key_length_mla", "attention.key_length")?;
    let Some(qk_nope_head_dim) = qk_head_dim.checked_sub(config.head_dim) else {
        let expected = format!("at least the {} rotated values", config.head_dim);
        return Err(bad(&key("attention.key_length_mla"), expected, qk_head_dim.to_string()));
    };
    let factor = metadata.opt_f32(&key("rope.scaling.factor"))?.map_or(1.0, f64::from);
    // The 0.1 of YaRN's magnitude is in this number already.
    let multiplier = metadata.opt_f32(&key("rope.scaling.yarn_log_multiplier"))?.map_or(0.0, f64::from);
    let magnitude = yarn_mscale(factor, 10.0 * multiplier);
    Ok(Latent {
        q_lora_rank: metadata.opt_u32(&key("attention.q_lora_rank"))?.filter(|&rank| rank > 0),
        kv_lora_rank: metadata.u32(&key("attention.kv_lora_rank"))?,
        qk_nope_head_dim,
        v_head_dim: width("attention.value_length_mla", "attention.value_length")?,
        scale: magnitude * magnitude / f64::from(qk_head_dim).sqrt(),
        norm_eps: config.rms_norm_eps,
        kv_b_split: tensors.get(&Container::Gguf.layer(0, names::K_B, "weight")).is_some(),
    })
}

fn experts(
    metadata: &Metadata,
    tensors: &TensorSet,
    key: &impl Fn(&str) -> String,
    config: &Config,
) -> Result<Option<Experts>, ModelError> {
    let number = |k: &str| metadata.opt_u32(&key(k));
    let Some(n_routed_experts) = number("expert_count")?.filter(|&n| n > 0) else { return Ok(None) };
    let scoring = match number("expert_gating_func")? {
        None | Some(1) => Scoring::Softmax,
        Some(2) => Scoring::Sigmoid,
        Some(other) => {
            let (field, found) = (key("expert_gating_func"), other.to_string());
            return Err(ModelError::Unsupported { field, found, supported: "1 (softmax) and 2 (sigmoid)" });
        }
    };
    // Files of V3 and R1 written before late 2025 do not tell their groups.
    let is_v3 = scoring == Scoring::Sigmoid && n_routed_experts == 256 && config.num_hidden_layers == 61;
    let (n_group, topk_group) = if is_v3 { (8, 4) } else { (1, 1) };
    let first = number("leading_dense_block_count")?.unwrap_or(0);
    Ok(Some(Experts {
        n_routed_experts,
        num_experts_per_tok: metadata.u32(&key("expert_used_count"))?,
        n_shared_experts: number("expert_shared_count")?.unwrap_or(0),
        moe_intermediate_size: metadata.u32(&key("expert_feed_forward_length"))?,
        first_k_dense_replace: first,
        scoring,
        group_score: if scoring == Scoring::Sigmoid { GroupScore::TopTwoSum } else { GroupScore::Max },
        n_group: number("expert_group_count")?.unwrap_or(n_group),
        topk_group: number("expert_group_used_count")?.unwrap_or(topk_group),
        norm_topk_prob: metadata.opt_bool(&key("expert_weights_norm"))?.unwrap_or(false),
        routed_scaling_factor: metadata.opt_f32(&key("expert_weights_scale"))?.filter(|&s| s != 0.0).unwrap_or(1.0),
        bias: tensors.get(&Container::Gguf.layer(first, names::ROUTER_BIAS, "bias")).is_some(),
    }))
}

fn out_of_bounds(field: &str, found: u64) -> ModelError {
    bad(field, "fewer than 2^32 rows".into(), found.to_string())
}

fn gguf_scaling(metadata: &Metadata, key: &impl Fn(&str) -> String, latent: bool) -> Result<RopeScaling, ModelError> {
    let number = |k: &str| Ok::<_, ModelError>(metadata.opt_f32(&key(k))?.map(f64::from));
    let kind_key = key("rope.scaling.type");
    let kind = metadata.opt_str(&kind_key)?.unwrap_or("linear");
    let factor = number("rope.scaling.factor")?.unwrap_or(1.0);
    Ok(match kind {
        "none" => RopeScaling::None,
        "linear" if factor == 1.0 => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor },
        "yarn" => {
            let original = key("rope.scaling.original_context_length");
            let named = match number("rope.scaling.attn_factor")? {
                None => number("rope.scaling.yarn_attn_factor")?,
                some => some,
            };
            RopeScaling::Yarn {
                factor,
                original_max_position_embeddings: f64::from(metadata.u32(&original)?),
                beta_fast: number("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: number("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                // With latent attention the magnitude stands in the scale of the scores.
                attention_factor: if latent { 1.0 } else { yarn_mscale(factor, 1.0) * named.unwrap_or(1.0) },
            }
        }
        other => {
            let supported = "none, linear and yarn (Llama 3's comes as the tensor `rope_freqs.weight`)";
            return Err(ModelError::Unsupported { field: kind_key, found: other.into(), supported });
        }
    })
}
