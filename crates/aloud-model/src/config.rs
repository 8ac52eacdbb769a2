//! The numbers of a model, under the names of Hugging Face's `config.json`.

use crate::arch::Architecture;
use crate::error::ModelError;
use crate::names::{Container, EMBED, HEAD};
use aloud_format::{Metadata, TensorSet};
use aloud_ops::RopePairing;
use serde_json::Value;

/// How rotary frequencies are stretched for contexts longer than trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All divided by a factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Llama 3.1's: long waves divided, short ones kept, in between blended.
    Llama3 {
        /// Divides the long waves.
        factor: f64,
        /// Waves longer than the original context divided by this are long.
        low_freq_factor: f64,
        /// Waves shorter than the original context divided by this are short.
        high_freq_factor: f64,
        /// The context trained on.
        original_max_position_embeddings: f64,
    },
    /// YaRN (Peng 2023).
    Yarn {
        /// Divides the long waves.
        factor: f64,
        /// The context trained on.
        original_max_position_embeddings: f64,
        /// Turns from which a wave is kept.
        beta_fast: f64,
        /// Turns up to which a wave is stretched.
        beta_slow: f64,
        /// Multiplies cos and sin.
        attention_factor: f64,
    },
}

/// The numbers of a grouped-query decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The family.
    pub architecture: Architecture,
    /// Where the weights come from; decides names and rotary pairing.
    pub container: Container,
    /// V: rows of the embedding.
    pub vocab_size: u32,
    /// D.
    pub hidden_size: u32,
    /// Layers.
    pub num_hidden_layers: u32,
    /// H.
    pub num_attention_heads: u32,
    /// K.
    pub num_key_value_heads: u32,
    /// C.
    pub head_dim: u32,
    /// F.
    pub intermediate_size: u32,
    /// Added to mean squares.
    pub rms_norm_eps: f32,
    /// The context that the model was made for.
    pub max_position_embeddings: u32,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Their stretching.
    pub rope_scaling: RopeScaling,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
}

impl Config {
    /// Which values of a head turn together.
    #[must_use]
    pub fn rope_pairing(&self) -> RopePairing {
        self.architecture.rope_pairing(self.container)
    }

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
        let config = Config {
            architecture,
            container: Container::Gguf,
            vocab_size: u32::try_from(rows).map_err(|_| out_of_bounds(&embed, rows))?,
            hidden_size,
            num_hidden_layers: metadata.u32(&key("block_count"))?,
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
            rope_scaling: gguf_scaling(metadata, &key)?,
            tie_word_embeddings: tensors.get(&Container::Gguf.global(HEAD)).is_none(),
        };
        config.checked()
    }

    /// From Hugging Face's `config.json`, as published or as transformers 5 writes it (`rope_parameters`).
    ///
    /// # Errors
    /// If it is no JSON, the family is unknown, a field is missing or a value out of bounds.
    pub fn from_json(json: &[u8]) -> Result<Config, ModelError> {
        let json: Value = serde_json::from_slice(json).map_err(|e| ModelError::Config {
            field: "config.json".into(),
            expected: "a JSON object".into(),
            found: e.to_string(),
        })?;
        let name = json["architectures"][0].as_str().unwrap_or("");
        let architecture = find(Container::HuggingFace, name)?;
        let heads = u32_of(&json, "num_attention_heads")?;
        let hidden_size = u32_of(&json, "hidden_size")?;
        let optional = |field: &str, or: u32| if json[field].is_null() { Ok(or) } else { u32_of(&json, field) };
        let rope = if json["rope_parameters"].is_object() { &json["rope_parameters"] } else { &json["rope_scaling"] };
        let theta = [&json["rope_theta"], &rope["rope_theta"]].into_iter().find_map(Value::as_f64);
        let config = Config {
            architecture,
            container: Container::HuggingFace,
            vocab_size: u32_of(&json, "vocab_size")?,
            hidden_size,
            num_hidden_layers: u32_of(&json, "num_hidden_layers")?,
            num_attention_heads: heads,
            num_key_value_heads: optional("num_key_value_heads", heads)?,
            head_dim: optional("head_dim", hidden_size.checked_div(heads).unwrap_or(0))?,
            intermediate_size: u32_of(&json, "intermediate_size")?,
            rms_norm_eps: f64_of(&json, "rms_norm_eps", None)? as f32,
            max_position_embeddings: u32_of(&json, "max_position_embeddings")?,
            rope_theta: theta.unwrap_or(10_000.0),
            rope_scaling: json_scaling(rope)?,
            tie_word_embeddings: json["tie_word_embeddings"].as_bool().unwrap_or(false),
        };
        config.checked()
    }

    /// Every number within what a decoder can be, so that nothing that follows overflows.
    fn checked(self) -> Result<Config, ModelError> {
        let bounds = [
            ("num_hidden_layers", self.num_hidden_layers, 1024),
            ("hidden_size", self.hidden_size, 1 << 16),
            ("num_attention_heads", self.num_attention_heads, 1024),
            ("num_key_value_heads", self.num_key_value_heads, self.num_attention_heads),
            ("head_dim", self.head_dim, 128),
            ("intermediate_size", self.intermediate_size, 1 << 20),
            ("vocab_size", self.vocab_size, 1 << 24),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 26),
        ];
        let bad =
            |field: &str, expected: String, found: String| ModelError::Config { field: field.into(), expected, found };
        for (field, value, most) in bounds {
            if value == 0 || value > most {
                return Err(bad(field, format!("1 to {most}"), value.to_string()));
            }
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let expected = format!("a divisor of the {} query heads", self.num_attention_heads);
            return Err(bad("num_key_value_heads", expected, self.num_key_value_heads.to_string()));
        }
        if !self.head_dim.is_multiple_of(8) {
            return Err(bad("head_dim", "a multiple of 8".into(), self.head_dim.to_string()));
        }
        for (field, value) in [("rms_norm_eps", f64::from(self.rms_norm_eps)), ("rope_theta", self.rope_theta)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(bad(field, "a positive number".into(), value.to_string()));
            }
        }
        Ok(self)
    }
}

fn find(container: Container, name: &str) -> Result<Architecture, ModelError> {
    Architecture::find(container, name)
        .ok_or_else(|| ModelError::Architecture { found: name.into(), expected: Architecture::names(container) })
}

fn missing(field: &str, expected: &str) -> ModelError {
    ModelError::Config { field: field.into(), expected: expected.into(), found: "nothing".into() }
}

fn out_of_bounds(field: &str, found: u64) -> ModelError {
    ModelError::Config { field: field.into(), expected: "fewer than 2^32 rows".into(), found: found.to_string() }
}

fn u32_of(json: &Value, field: &str) -> Result<u32, ModelError> {
    let wrong = || ModelError::Config {
        field: field.into(),
        expected: "a whole number below 2^32".into(),
        found: if json[field].is_null() { "nothing".into() } else { json[field].to_string() },
    };
    json[field].as_u64().and_then(|v| u32::try_from(v).ok()).ok_or_else(wrong)
}

fn f64_of(json: &Value, field: &str, default: Option<f64>) -> Result<f64, ModelError> {
    match (&json[field], default) {
        (Value::Null, Some(value)) => Ok(value),
        (value, _) => value.as_f64().filter(|v| v.is_finite()).ok_or_else(|| ModelError::Config {
            field: field.into(),
            expected: "a number".into(),
            found: if value.is_null() { "nothing".into() } else { value.to_string() },
        }),
    }
}

/// `0.1 ln(s) + 1`: what YaRN multiplies cos and sin by.
fn yarn_mscale(factor: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 }
}

const SCALINGS: &str = "default, linear, llama3 and yarn";

fn json_scaling(rope: &Value) -> Result<RopeScaling, ModelError> {
    let kind = [&rope["rope_type"], &rope["type"]].into_iter().find_map(Value::as_str).unwrap_or("default");
    let number = |field| f64_of(rope, field, None);
    Ok(match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: number("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: number("factor")?,
            low_freq_factor: number("low_freq_factor")?,
            high_freq_factor: number("high_freq_factor")?,
            original_max_position_embeddings: number("original_max_position_embeddings")?,
        },
        "yarn" => {
            let factor = number("factor")?;
            // `attn_factor` is R1-0528-Qwen3-8B's name; it multiplies the usual factor, `attention_factor` replaces it.
            let attention_factor = match rope["attention_factor"].as_f64() {
                Some(whole) => whole,
                None => yarn_mscale(factor) * f64_of(rope, "attn_factor", Some(1.0))?,
            };
            RopeScaling::Yarn {
                factor,
                original_max_position_embeddings: number("original_max_position_embeddings")?,
                beta_fast: f64_of(rope, "beta_fast", Some(32.0))?,
                beta_slow: f64_of(rope, "beta_slow", Some(1.0))?,
                attention_factor,
            }
        }
        other => {
            let (field, found) = ("rope_type".into(), other.into());
            return Err(ModelError::Unsupported { field, found, supported: SCALINGS });
        }
    })
}

fn gguf_scaling(metadata: &Metadata, key: &impl Fn(&str) -> String) -> Result<RopeScaling, ModelError> {
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
                attention_factor: yarn_mscale(factor) * named.unwrap_or(1.0),
            }
        }
        other => {
            let supported = "none, linear and yarn (Llama 3's comes as the tensor `rope_freqs.weight`)";
            return Err(ModelError::Unsupported { field: kind_key, found: other.into(), supported });
        }
    })
}
