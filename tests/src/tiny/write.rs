//! Tiny models as files in memory.

use super::{Form, Tiny, values};
use aloud_engine::{Engine, EngineOptions};
use aloud_format::{
    DType, Gguf, GgufWriter, MemorySource, MetaValue, Safetensors, TensorSet, quantize, quantize_fp8, write_safetensors,
};
use aloud_make_model::{Fp8Scales, Part, Quant, fp8_scales, hf_dtype};
use aloud_model::{Config, Container, Weights, load};
use aloud_ops::Executor;
use serde_json::json;

/// A tensor: name, format, shape with the outermost axis first, bytes.
type Tensor = (String, DType, Vec<u64>, Vec<u8>);

/// The files of a model in memory.
#[derive(Debug)]
pub enum Written {
    /// A GGUF file, or all parts of a split one.
    Gguf(Vec<MemorySource>),
    /// A folder as Hugging Face has it.
    HuggingFace {
        /// `config.json`.
        config: Vec<u8>,
        /// `model.safetensors.index.json`; for one file there is none.
        index: Option<Vec<u8>>,
        /// The weight files by name.
        files: Vec<(String, MemorySource)>,
    },
}

impl Written {
    /// Its tensors.
    ///
    /// # Panics
    /// If they cannot be read.
    #[must_use]
    pub fn tensors(&self) -> TensorSet {
        match self {
            Written::Gguf(parts) => gguf(parts).into(),
            Written::HuggingFace { index: None, files, .. } => {
                pollster::block_on(Safetensors::open(&files[0].1)).expect("opens").into()
            }
            Written::HuggingFace { index: Some(index), files, .. } => {
                pollster::block_on(Safetensors::open_sharded(index, files)).expect("opens").into()
            }
        }
    }

    /// As a loader finds it.
    ///
    /// # Panics
    /// If the configuration cannot be read.
    #[must_use]
    pub fn store(self) -> Stored {
        let tensors = self.tensors();
        match self {
            Written::Gguf(sources) => {
                let config = Config::from_gguf(&gguf(&sources).metadata, &tensors).expect("is a config");
                Stored { config, tensors, sources }
            }
            Written::HuggingFace { config, files, .. } => Stored {
                config: Config::from_json(&config).expect("is a config"),
                tensors,
                sources: files.into_iter().map(|(_, source)| source).collect(),
            },
        }
    }
}

fn gguf(parts: &[MemorySource]) -> Gguf {
    let opened = match parts {
        [single] => pollster::block_on(Gguf::open(single)),
        _ => pollster::block_on(Gguf::open_split(parts)),
    };
    opened.expect("opens")
}

impl Tiny {
    /// A folder of Hugging Face's in `n_shards` files; all tensors have `dtype`, but for the bias that chooses experts,
    /// which is F32.
    #[must_use]
    pub fn safetensors(&self, form: Form, dtype: DType, n_shards: usize) -> Stored {
        self.write_safetensors(form, dtype, n_shards).store()
    }

    /// A folder of Hugging Face's with the linear layers of attention and feed-forward in FP8, as DeepSeek publishes its
    /// models; the rest is BF16.
    #[must_use]
    pub fn safetensors_fp8(&self, form: Form, scales: Fp8Scales, n_shards: usize) -> Stored {
        self.write_fp8(form, scales, n_shards).store()
    }

    /// As llama.cpp's converter writes it, in `n_parts` files; all matrices have `dtype`, or what llama.cpp takes instead
    /// for short rows.
    #[must_use]
    pub fn gguf(&self, dtype: DType, n_parts: usize) -> Stored {
        self.write_gguf(dtype, n_parts).store()
    }

    /// The files of [`Tiny::safetensors`].
    #[must_use]
    pub fn write_safetensors(&self, form: Form, dtype: DType, n_shards: usize) -> Written {
        let tensors = self.checkpoint(|name, shape, values| {
            let dtype = hf_dtype(dtype, name);
            vec![(name.to_owned(), dtype, shape.to_vec(), quantize(dtype, &values))]
        });
        let config = self.shape().config_json(form);
        folder(&config, &tensors, n_shards)
    }

    /// The files of [`Tiny::safetensors_fp8`].
    #[must_use]
    pub fn write_fp8(&self, form: Form, scales: Fp8Scales, n_shards: usize) -> Written {
        let scale_dtype = if scales == Fp8Scales::E8M0 { DType::F8_E8M0 } else { DType::F32 };
        let tensors = self.checkpoint(|name, shape, values| {
            let dtype = hf_dtype(DType::F8_E4M3, name);
            if dtype != DType::F8_E4M3 {
                return vec![(name.to_owned(), dtype, shape.to_vec(), quantize(dtype, &values))];
            }
            let (rows, cols) = (shape[0] as usize, shape[1] as usize);
            let (codes, tile_scales) = quantize_fp8(&values, rows, cols, scales != Fp8Scales::F32);
            let (scale_name, grid) = fp8_scales(name, shape);
            let tile_scales = quantize(scale_dtype, &tile_scales);
            vec![(name.to_owned(), dtype, shape.to_vec(), codes), (scale_name, scale_dtype, grid, tile_scales)]
        });
        let mut config = self.shape().config_json(form);
        config["quantization_config"] = scales.config_json();
        folder(&config, &tensors, n_shards)
    }

    /// The files of [`Tiny::gguf`].
    #[must_use]
    pub fn write_gguf(&self, dtype: DType, n_parts: usize) -> Written {
        let shape = self.shape();
        let mut tensors: Vec<Tensor> = Vec::new();
        for part in shape.parts(self.legacy_kv_b) {
            for (name, make) in &part.gguf {
                let sources = part.hf.iter().flat_map(|hf| values(hf, &part.shape)).collect();
                let extents = shape.gguf_shape(&part, *make);
                let dtype = Quant::Single(dtype).of(&shape, name, &extents);
                let bytes = quantize(dtype, &shape.gguf_values(&part, *make, sources));
                tensors.push((name.clone(), dtype, extents, bytes));
            }
        }
        if let Some(divisors) = shape.rope_divisors() {
            let (n, bytes) = (divisors.len() as u64, quantize(DType::F32, &divisors));
            tensors.push(("rope_freqs.weight".to_owned(), DType::F32, vec![n], bytes));
        }
        let parts = tensors.chunks(tensors.len().div_ceil(n_parts)).enumerate().map(|(i, part)| {
            let metadata = if i == 0 { shape.metadata(self.legacy_kv_b) } else { Vec::new() };
            let mut writer = metadata.into_iter().fold(GgufWriter::new(), |w, (key, value)| w.metadata(&key, value));
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
        Written::Gguf(parts.collect())
    }

    /// `encode` of every tensor of the checkpoint: its name, shape and values.
    fn checkpoint(&self, encode: impl Fn(&str, &[u64], Vec<f32>) -> Vec<Tensor>) -> Vec<Tensor> {
        let source = |part: &Part, name: &str| values(part.copy_of.unwrap_or(name), &part.shape);
        let parts = self.shape().parts(false);
        let encoded = |part: &Part| -> Vec<Tensor> {
            part.hf.iter().flat_map(|name| encode(name, &part.shape, source(part, name))).collect()
        };
        parts.iter().flat_map(encoded).collect()
    }
}

/// A folder in `n_shards` files.
fn folder(config: &serde_json::Value, tensors: &[Tensor], n_shards: usize) -> Written {
    let mut files = Vec::new();
    let mut weight_map = serde_json::Map::new();
    for (i, shard) in tensors.chunks(tensors.len().div_ceil(n_shards)).enumerate() {
        let file = format!("model-{:05}-of-{n_shards:05}.safetensors", i + 1);
        weight_map.extend(shard.iter().map(|(name, ..)| (name.clone(), json!(file))));
        let rows: Vec<_> = shard.iter().map(|(n, d, s, b)| (n.as_str(), *d, s.as_slice(), b.as_slice())).collect();
        files.push((file.clone(), MemorySource::new(file, write_safetensors(&rows))));
    }
    let index = json!({ "metadata": {}, "weight_map": weight_map });
    let pretty = |json: &serde_json::Value| serde_json::to_vec_pretty(json).expect("is JSON");
    Written::HuggingFace { config: pretty(config), index: (files.len() > 1).then(|| pretty(&index)), files }
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
        let weights = pollster::block_on(self.load(&mut executor, options.n_ctx));
        Engine::new(executor, self.config.clone(), weights, options).expect("fits")
    }

    /// Its weights, for contexts of up to `n_ctx` tokens.
    ///
    /// # Panics
    /// If they do not load.
    pub async fn load<E: Executor>(&self, executor: &mut E, n_ctx: u32) -> Weights {
        load(executor, &self.config, &self.tensors, &self.sources, n_ctx, |_| {}).await.expect("loads")
    }

    /// Bytes of the tensors.
    #[must_use]
    pub fn tensor_bytes(&self) -> u64 {
        let is_weight = |name: &str| self.config.container == Container::HuggingFace || name != "rope_freqs.weight";
        self.tensors.iter().filter(|t| is_weight(&t.name)).map(|t| t.n_bytes).sum()
    }
}
