//! Tiny models whose weights need no files: every value follows from the tensor's name and its place in it.
//!
//! `goldens/models/make_tiny_goldens.py` has the same generator and gives the models to transformers.

use aloud_engine::{Engine, EngineOptions};
use aloud_format::{
    DType, Gguf, GgufWriter, MemorySource, MetaValue, Safetensors, TensorSet, quantize, write_safetensors,
};
use aloud_model::{Config, Container, load};
use aloud_ops::Executor;
use serde_json::{Value, json};
use std::path::Path;

/// Ids whose logits are known at every position.
pub const SHORT: [u32; 8] = [1, 17, 42, 99, 200, 3, 77, 255];
/// Positions of [`long`] whose logits are known: around the ends of cache blocks, and the last.
pub const ROWS: [usize; 8] = [30, 31, 32, 33, 63, 64, 65, 95];
/// Rows of the embedding.
pub const VOCAB: usize = 256;

/// More ids, over several cache blocks.
#[must_use]
pub fn long() -> Vec<u32> {
    (0..96).map(|i| (i * 37 + 11) % 256).collect()
}

/// FNV-1a over the bytes of `name`.
#[must_use]
pub fn fnv1a64(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// The values of a tensor by its name in Hugging Face's checkpoint.
#[must_use]
pub fn values(name: &str, shape: &[u64]) -> Vec<f32> {
    let fan_in = *shape.last().expect("not a scalar") as f64;
    let mut numbers = crate::Numbers::new(fnv1a64(name));
    (0..shape.iter().product())
        .map(|_| {
            let v = (numbers.bits() >> 40) as f64 / f64::from(1 << 23) - 1.0;
            let v = match name {
                _ if name.contains("norm") => 1.0 + 0.25 * v,
                _ if name.ends_with(".bias") => 0.1 * v,
                "model.embed_tokens.weight" => v,
                _ => v * 3f64.sqrt() / fan_in.sqrt(),
            };
            v as f32
        })
        .collect()
}

/// The families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// With llama3 scaling of the rotary frequencies.
    Llama,
    /// With biases on queries, keys and values.
    Qwen2,
    /// With norms on queries and keys, and YaRN.
    Qwen3,
}

/// A model.
#[derive(Clone, Copy, Debug)]
pub struct Tiny {
    /// Its family.
    pub family: Family,
    /// D.
    pub hidden: u64,
    /// F.
    pub intermediate: u64,
    /// C.
    pub head_dim: u64,
    /// The context that it was "trained" on, for scaled rotary frequencies.
    pub original_context: u32,
    /// Whether cos and sin are multiplied by 1 and not by YaRN's factor.
    pub plain_yarn: bool,
    /// Whether the head is the embedding.
    pub tied: bool,
}

const LAYERS: u64 = 2;
const HEADS: u64 = 4;
const KV_HEADS: u64 = 2;

/// How `config.json` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As published: `rope_theta` and `rope_scaling`.
    RopeScaling,
    /// As transformers 5 writes it: `rope_parameters`.
    RopeParameters,
}

impl Tiny {
    /// As the goldens have it.
    #[must_use]
    pub fn new(family: Family) -> Self {
        let (head_dim, original_context) = match family {
            Family::Llama => (32, 8192),
            Family::Qwen2 => (32, 0),
            Family::Qwen3 => (64, 32768),
        };
        Tiny { family, hidden: 128, intermediate: 256, head_dim, original_context, plain_yarn: true, tied: false }
    }

    /// "Trained" on 64 tokens, so that scaling matters to short tests.
    #[must_use]
    pub fn short(family: Family) -> Self {
        Tiny { original_context: 64, plain_yarn: false, ..Self::new(family) }
    }

    /// Large enough for super-blocks of 256.
    #[must_use]
    pub fn for_quants(family: Family) -> Self {
        Tiny { hidden: 256, intermediate: 512, head_dim: 64, ..Self::new(family) }
    }

    fn eps(&self) -> f32 {
        if self.family == Family::Llama { 1e-5 } else { 1e-6 }
    }

    fn theta(&self) -> f32 {
        match self.family {
            Family::Llama => 5e5,
            Family::Qwen2 => 1e4,
            Family::Qwen3 => 1e6,
        }
    }

    fn scaling(&self) -> Value {
        let original = self.original_context;
        match self.family {
            Family::Llama => json!({ "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": original }),
            Family::Qwen2 => Value::Null,
            Family::Qwen3 if self.plain_yarn => json!({ "rope_type": "yarn", "factor": 4.0,
                "original_max_position_embeddings": original, "attention_factor": 1.0 }),
            Family::Qwen3 => json!({ "rope_type": "yarn", "factor": 4.0,
                "original_max_position_embeddings": original }),
        }
    }

    /// `config.json`.
    #[must_use]
    pub fn config_json(&self, form: Form) -> Vec<u8> {
        let name = match self.family {
            Family::Llama => "LlamaForCausalLM",
            Family::Qwen2 => "Qwen2ForCausalLM",
            Family::Qwen3 => "Qwen3ForCausalLM",
        };
        let mut config = json!({ "architectures": [name], "vocab_size": VOCAB, "hidden_size": self.hidden,
            "intermediate_size": self.intermediate, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS, "rms_norm_eps": f64::from(self.eps()),
            "max_position_embeddings": 163_840, "tie_word_embeddings": self.tied });
        if self.family == Family::Qwen3 {
            config["head_dim"] = json!(self.head_dim);
        }
        let mut scaling = self.scaling();
        match form {
            Form::RopeScaling => {
                config["rope_theta"] = json!(self.theta());
                // Published configs of the time called it `type` as well.
                if scaling["rope_type"] == "yarn" {
                    scaling["type"] = scaling["rope_type"].take();
                }
                config["rope_scaling"] = scaling;
            }
            Form::RopeParameters => {
                if scaling.is_null() {
                    scaling = json!({ "rope_type": "default" });
                }
                scaling["rope_theta"] = json!(self.theta());
                config["rope_parameters"] = scaling;
            }
        }
        serde_json::to_vec_pretty(&config).expect("is JSON")
    }

    /// Name in Hugging Face's form, name in GGUF and shape of every tensor.
    fn tensors(&self) -> Vec<(String, String, Vec<u64>)> {
        let (d, f, v) = (self.hidden, self.intermediate, VOCAB as u64);
        let (h, k) = (HEADS * self.head_dim, KV_HEADS * self.head_dim);
        let mut all = vec![
            ("model.embed_tokens.weight".to_owned(), "token_embd.weight".to_owned(), vec![v, d]),
            ("model.norm.weight".to_owned(), "output_norm.weight".to_owned(), vec![d]),
        ];
        if !self.tied {
            all.push(("lm_head.weight".to_owned(), "output.weight".to_owned(), vec![v, d]));
        }
        for layer in 0..LAYERS {
            let mut push = |hf: &str, gguf: &str, shape: &[u64]| {
                all.push((format!("model.layers.{layer}.{hf}"), format!("blk.{layer}.{gguf}"), shape.to_vec()));
            };
            push("input_layernorm.weight", "attn_norm.weight", &[d]);
            push("post_attention_layernorm.weight", "ffn_norm.weight", &[d]);
            for (letter, width) in [("q", h), ("k", k), ("v", k)] {
                push(&format!("self_attn.{letter}_proj.weight"), &format!("attn_{letter}.weight"), &[width, d]);
                if self.family == Family::Qwen2 {
                    push(&format!("self_attn.{letter}_proj.bias"), &format!("attn_{letter}.bias"), &[width]);
                }
                if self.family == Family::Qwen3 && letter != "v" {
                    let (hf, gguf) = (format!("self_attn.{letter}_norm.weight"), format!("attn_{letter}_norm.weight"));
                    push(&hf, &gguf, &[self.head_dim]);
                }
            }
            push("self_attn.o_proj.weight", "attn_output.weight", &[d, h]);
            push("mlp.gate_proj.weight", "ffn_gate.weight", &[f, d]);
            push("mlp.up_proj.weight", "ffn_up.weight", &[f, d]);
            push("mlp.down_proj.weight", "ffn_down.weight", &[d, f]);
        }
        all
    }

    /// A folder of Hugging Face's in `n_shards` files; all tensors have `dtype`.
    #[must_use]
    pub fn safetensors(&self, form: Form, dtype: DType, n_shards: usize) -> Stored {
        let tensors: Vec<_> =
            self.tensors().into_iter().map(|(n, _, s)| (quantize(dtype, &values(&n, &s)), n, s)).collect();
        let mut files = Vec::new();
        let mut weight_map = serde_json::Map::new();
        for (i, shard) in tensors.chunks(tensors.len().div_ceil(n_shards)).enumerate() {
            let file = format!("model-{:05}-of-{n_shards:05}.safetensors", i + 1);
            weight_map.extend(shard.iter().map(|(_, name, _)| (name.clone(), json!(file))));
            let rows: Vec<_> = shard.iter().map(|(b, n, s)| (n.as_str(), dtype, s.as_slice(), b.as_slice())).collect();
            files.push((file.clone(), MemorySource::new(file, write_safetensors(&rows))));
        }
        let index = json!({ "metadata": {}, "weight_map": weight_map }).to_string();
        let opened = pollster::block_on(async {
            match files.as_slice() {
                [(_, single)] => Safetensors::open(single).await,
                _ => Safetensors::open_sharded(index.as_bytes(), &files).await,
            }
        });
        Stored {
            config: Config::from_json(&self.config_json(form)).expect("is a config"),
            tensors: opened.expect("opens").into(),
            sources: files.into_iter().map(|(_, source)| source).collect(),
        }
    }

    /// As llama.cpp's converter writes it, in `n_parts` files; all matrices have `dtype`.
    #[must_use]
    pub fn gguf(&self, dtype: DType, n_parts: usize) -> Stored {
        let mut tensors: Vec<(String, DType, Vec<u64>, Vec<u8>)> = Vec::new();
        for (hf, gguf, shape) in self.tensors() {
            let mut rows = values(&hf, &shape);
            if self.family == Family::Llama {
                let n_heads = if hf.contains("q_proj") { HEADS } else { KV_HEADS };
                if hf.contains("q_proj") || hf.contains("k_proj") {
                    rows = permuted(&rows, n_heads as usize, *shape.last().expect("a matrix") as usize);
                }
            }
            let dtype = if shape.len() == 1 { DType::F32 } else { dtype };
            tensors.push((gguf, dtype, shape, quantize(dtype, &rows)));
        }
        if self.family == Family::Llama {
            let divisors = quantize(DType::F32, &self.rope_divisors());
            tensors.push(("rope_freqs.weight".to_owned(), DType::F32, vec![self.head_dim / 2], divisors));
        }
        let parts = tensors.chunks(tensors.len().div_ceil(n_parts)).enumerate().map(|(i, part)| {
            let mut writer = if i == 0 { self.metadata() } else { GgufWriter::new() };
            if n_parts > 1 {
                writer = writer
                    .metadata("split.no", MetaValue::U16(i as u16))
                    .metadata("split.count", MetaValue::U16(n_parts as u16))
                    .metadata("split.tensors.count", MetaValue::I32(tensors.len() as i32));
            }
            let writer =
                part.iter().fold(writer, |w, (name, dtype, shape, bytes)| w.tensor(name, *dtype, shape, bytes));
            MemorySource::new(format!("tiny-{:05}-of-{n_parts:05}.gguf", i + 1), writer.finish())
        });
        let sources: Vec<MemorySource> = parts.collect();
        let gguf = pollster::block_on(async {
            if n_parts == 1 { Gguf::open(&sources[0]).await } else { Gguf::open_split(&sources).await }
        })
        .expect("opens");
        let metadata = gguf.metadata.clone();
        let tensors = TensorSet::from(gguf);
        Stored { config: Config::from_gguf(&metadata, &tensors).expect("is a config"), tensors, sources }
    }

    fn metadata(&self) -> GgufWriter {
        let name = match self.family {
            Family::Llama => "llama",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
        };
        let key = |k: &str| format!("{name}.{k}");
        let mut writer = GgufWriter::new().metadata("general.architecture", MetaValue::String(name.to_owned()));
        let counts = [
            ("block_count", LAYERS),
            ("context_length", 163_840),
            ("embedding_length", self.hidden),
            ("feed_forward_length", self.intermediate),
            ("attention.head_count", HEADS),
            ("attention.head_count_kv", KV_HEADS),
            ("attention.key_length", self.head_dim),
            ("attention.value_length", self.head_dim),
        ];
        for (k, n) in counts {
            writer = writer.metadata(&key(k), MetaValue::U32(n as u32));
        }
        writer = writer
            .metadata(&key("attention.layer_norm_rms_epsilon"), MetaValue::F32(self.eps()))
            .metadata(&key("rope.freq_base"), MetaValue::F32(self.theta()));
        if self.family == Family::Qwen3 {
            writer = writer
                .metadata(&key("rope.scaling.type"), MetaValue::String("yarn".to_owned()))
                .metadata(&key("rope.scaling.factor"), MetaValue::F32(4.0))
                .metadata(&key("rope.scaling.original_context_length"), MetaValue::U32(self.original_context));
            if self.plain_yarn {
                let factor = 1.0 / (0.1 * 4f64.ln() + 1.0);
                writer = writer.metadata(&key("rope.scaling.attn_factor"), MetaValue::F32(factor as f32));
            }
        }
        writer
    }

    /// What llama3 scaling divides each frequency by, as the converter computes it.
    fn rope_divisors(&self) -> Vec<f32> {
        let original = f64::from(self.original_context);
        (0..self.head_dim / 2)
            .map(|i| {
                let wavelength =
                    2.0 * std::f64::consts::PI * f64::from(self.theta()).powf(2.0 * i as f64 / self.head_dim as f64);
                if wavelength < original / 4.0 {
                    1.0
                } else if wavelength > original {
                    8.0
                } else {
                    let smooth = (original / wavelength - 1.0) / 3.0;
                    (1.0 / ((1.0 - smooth) / 8.0 + smooth)) as f32
                }
            })
            .collect()
    }
}

/// llama.cpp's order of the rows of queries and keys: row `2i + s` of a head was row `s * C/2 + i`.
#[must_use]
pub fn permuted(rows: &[f32], n_heads: usize, width: usize) -> Vec<f32> {
    let head_dim = rows.len() / width / n_heads;
    let from = |row: usize| {
        let (head, r) = (row / head_dim, row % head_dim);
        head * head_dim + r % 2 * (head_dim / 2) + r / 2
    };
    (0..rows.len() / width).flat_map(|row| rows[from(row) * width..][..width].to_vec()).collect()
}

/// A model in memory, as a loader finds it.
pub struct Stored {
    /// Its numbers.
    pub config: Config,
    /// Where its tensors are.
    pub tensors: TensorSet,
    /// Its files.
    pub sources: Vec<MemorySource>,
}

impl Stored {
    /// Loaded on an executor.
    ///
    /// # Panics
    /// If it does not load.
    pub fn engine<E: Executor>(&self, mut executor: E, options: EngineOptions) -> Engine<E> {
        let loading = load(&mut executor, &self.config, &self.tensors, &self.sources, options.n_ctx, |_| {});
        let weights = pollster::block_on(loading).expect("loads");
        Engine::new(executor, self.config.clone(), weights, options).expect("fits")
    }

    /// Bytes of the tensors.
    #[must_use]
    pub fn tensor_bytes(&self) -> u64 {
        let is_weight = |name: &str| self.config.container == Container::HuggingFace || name != "rope_freqs.weight";
        self.tensors.iter().filter(|t| is_weight(&t.name)).map(|t| t.n_bytes).sum()
    }
}

/// The logits that transformers computes: those of [`SHORT`], then those of [`long`] at [`ROWS`].
///
/// # Panics
/// If there is no such golden.
#[must_use]
pub fn golden(name: &str) -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/models").join(format!("{name}.f32"));
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (words, rest) = bytes.as_chunks();
    assert!(rest.is_empty() && words.len() == (SHORT.len() + ROWS.len()) * VOCAB, "{name}: 16 rows of 256");
    words.iter().map(|b| f32::from_le_bytes(*b)).collect()
}
