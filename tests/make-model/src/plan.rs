//! The files of a model before any is written.

use crate::{Form, Fp8Scales, Quant, Shape, Spread, fp8_scales, hf_dtype, tokenizer};
use aloud_format::{DType, GgufWriter, MetaValue, quantize, safetensors_header};
use serde_json::json;

/// What a model is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// One file, or several parts.
    Gguf {
        /// Whether `attn_kv_b` is one tensor, as before 2025.
        legacy_kv_b: bool,
    },
    /// A folder as Hugging Face has it.
    Safetensors,
}

/// A tensor that is to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedTensor {
    /// Its name in the file.
    pub name: String,
    /// Its format.
    pub dtype: DType,
    /// Its shape, outermost axis first.
    pub shape: Vec<u64>,
    /// Bytes of its data.
    pub n_bytes: u64,
    /// Where its random values lie.
    pub spread: Spread,
    /// Its data if it is not random.
    pub known: Option<Vec<u8>>,
    /// The name that its random values follow from: that of another tensor if it repeats it.
    pub values_of: String,
}

/// A file that is to be written: a header, then tensors.
#[derive(Clone, Debug)]
pub struct PlannedFile {
    /// Its name.
    pub name: String,
    /// What stands before the tensors.
    pub header: Vec<u8>,
    /// The tensors in order.
    pub tensors: Vec<PlannedTensor>,
    /// Each tensor is padded to a multiple of this many bytes.
    pub alignment: u64,
}

impl PlannedFile {
    /// Its bytes.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        let padded = self.tensors.iter().map(|tensor| tensor.n_bytes.next_multiple_of(self.alignment));
        self.header.len() as u64 + padded.sum::<u64>()
    }
}

/// All files of a model.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Those with tensors.
    pub files: Vec<PlannedFile>,
    /// Small ones by name, with what they hold.
    pub texts: Vec<(String, Vec<u8>)>,
}

impl Plan {
    /// Plans a model in `n_files` files. GGUF files are named `stem.gguf`, or `stem-00001-of-00003.gguf` and so on.
    ///
    /// # Errors
    /// A sentence that names what is impossible.
    pub fn new(shape: &Shape, quant: Quant, container: Container, stem: &str, n_files: usize) -> Result<Plan, String> {
        shape.check()?;
        let least = tokenizer::n_tokens();
        if shape.vocab_size < least {
            return Err(format!("`vocab_size` is {}, the tokenizer needs at least {least}", shape.vocab_size));
        }
        let tensors = match container {
            Container::Gguf { legacy_kv_b } => gguf_tensors(shape, quant, legacy_kv_b)?,
            Container::Safetensors => hf_tensors(shape, quant)?,
        };
        if n_files == 0 || n_files > tensors.len() {
            return Err(format!("cannot split {} tensors into {n_files} files", tensors.len()));
        }
        let groups = split(tensors, n_files);
        Ok(match container {
            Container::Gguf { legacy_kv_b } => {
                let mut metadata = shape.metadata(legacy_kv_b);
                metadata.extend([
                    ("general.name".to_owned(), MetaValue::String(stem.to_owned())),
                    ("general.file_type".to_owned(), MetaValue::U32(quant.file_type())),
                    ("general.quantization_version".to_owned(), MetaValue::U32(2)),
                ]);
                metadata.extend(tokenizer::metadata(shape.arch, shape.vocab_size));
                Plan { files: gguf_files(stem, metadata, groups), texts: Vec::new() }
            }
            Container::Safetensors => folder(shape, quant, groups),
        })
    }

    /// Bytes of all files.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        let texts = self.texts.iter().map(|(_, bytes)| bytes.len() as u64);
        self.files.iter().map(PlannedFile::n_bytes).chain(texts).sum()
    }
}

fn planned(name: String, dtype: DType, shape: Vec<u64>) -> Result<PlannedTensor, String> {
    let n_bytes = dtype.bytes_for(shape.iter().product());
    let n_bytes = n_bytes.ok_or_else(|| format!("`{name}` with shape {shape:?} does not fit {dtype}"))?;
    let spread = Spread::of(&name, shape.last().copied().unwrap_or(1));
    Ok(PlannedTensor { values_of: name.clone(), name, dtype, shape, n_bytes, spread, known: None })
}

fn gguf_tensors(shape: &Shape, quant: Quant, legacy_kv_b: bool) -> Result<Vec<PlannedTensor>, String> {
    if quant == Quant::Single(DType::F8_E4M3) {
        return Err("GGUF has no FP8; use --format safetensors, or another --quant".to_owned());
    }
    let mut all = Vec::new();
    for part in shape.parts(legacy_kv_b) {
        for (name, make) in &part.gguf {
            let extents = shape.gguf_shape(&part, *make);
            all.push(planned(name.clone(), quant.of(shape, name, &extents), extents)?);
        }
    }
    if let Some(divisors) = shape.rope_divisors() {
        let tensor = planned("rope_freqs.weight".to_owned(), DType::F32, vec![divisors.len() as u64])?;
        all.push(PlannedTensor { known: Some(quantize(DType::F32, &divisors)), ..tensor });
    }
    Ok(all)
}

fn hf_tensors(shape: &Shape, quant: Quant) -> Result<Vec<PlannedTensor>, String> {
    let Quant::Single(dtype @ (DType::F32 | DType::F16 | DType::BF16 | DType::F8_E4M3)) = quant else {
        return Err("safetensors hold F32, F16, BF16 or FP8; use --format gguf for other formats".to_owned());
    };
    let mut all = Vec::new();
    for part in shape.parts(false) {
        for name in &part.hf {
            let tensor = planned(name.clone(), hf_dtype(dtype, name), part.shape.clone())?;
            let values_of = part.copy_of.unwrap_or(name).to_owned();
            if tensor.dtype == DType::F8_E4M3 {
                all.extend(fp8(tensor)?);
            } else {
                all.push(PlannedTensor { values_of, ..tensor });
            }
        }
    }
    Ok(all)
}

/// An 8-bit weight, whose codes reach up to 448, and the scales that bring it down to where it would lie else.
fn fp8(weight: PlannedTensor) -> Result<[PlannedTensor; 2], String> {
    const MOST: f64 = 448.0;
    let (name, shape) = fp8_scales(&weight.name, &weight.shape);
    let scale = weight.spread.width / MOST;
    let spread = Spread { centre: scale, width: scale / 4.0 };
    let scales = PlannedTensor { spread, ..planned(name, DType::F32, shape)? };
    Ok([PlannedTensor { spread: Spread { centre: 0.0, width: MOST }, ..weight }, scales])
}

/// Into `n_files` runs of about as many bytes each, none of them empty.
fn split(tensors: Vec<PlannedTensor>, n_files: usize) -> Vec<Vec<PlannedTensor>> {
    let share = tensors.iter().map(|t| t.n_bytes).sum::<u64>() / n_files as u64;
    let mut groups: Vec<Vec<PlannedTensor>> = Vec::new();
    let (mut left, mut written) = (tensors.len(), 0);
    for tensor in tensors {
        let n = groups.len();
        let full = n == 0 || written >= share * n as u64 || left <= n_files - n;
        if full && n < n_files {
            groups.push(Vec::new());
        }
        written += tensor.n_bytes;
        left -= 1;
        if let Some(last) = groups.last_mut() {
            last.push(tensor);
        }
    }
    groups
}

fn gguf_files(stem: &str, metadata: Vec<(String, MetaValue)>, groups: Vec<Vec<PlannedTensor>>) -> Vec<PlannedFile> {
    let (n_files, n_tensors) = (groups.len(), groups.iter().map(Vec::len).sum::<usize>());
    let mut metadata = Some(metadata);
    let file = |(i, tensors): (usize, Vec<PlannedTensor>)| {
        let own = metadata.take().unwrap_or_default();
        let mut writer = own.into_iter().fold(GgufWriter::new(), |w, (key, value)| w.metadata(&key, value));
        if n_files > 1 {
            writer = writer
                .metadata("split.no", MetaValue::U16(i as u16))
                .metadata("split.count", MetaValue::U16(n_files as u16))
                .metadata("split.tensors.count", MetaValue::I32(n_tensors as i32));
        }
        let declare = |w: GgufWriter, t: &PlannedTensor| w.declare(&t.name, t.dtype, &t.shape, t.n_bytes);
        let header = tensors.iter().fold(writer, declare).header();
        let name = match n_files {
            1 => format!("{stem}.gguf"),
            _ => format!("{stem}-{:05}-of-{n_files:05}.gguf", i + 1),
        };
        PlannedFile { name, header, tensors, alignment: 32 }
    };
    groups.into_iter().enumerate().map(file).collect()
}

fn folder(shape: &Shape, quant: Quant, groups: Vec<Vec<PlannedTensor>>) -> Plan {
    let n_files = groups.len();
    let mut weight_map = serde_json::Map::new();
    let mut files = Vec::new();
    for (i, tensors) in groups.into_iter().enumerate() {
        let name = match n_files {
            1 => "model.safetensors".to_owned(),
            _ => format!("model-{:05}-of-{n_files:05}.safetensors", i + 1),
        };
        weight_map.extend(tensors.iter().map(|tensor| (tensor.name.clone(), json!(name))));
        let table: Vec<_> = tensors.iter().map(|t| (t.name.as_str(), t.dtype, t.shape.as_slice(), t.n_bytes)).collect();
        files.push(PlannedFile { name, header: safetensors_header(&table), tensors, alignment: 1 });
    }
    let mut config = shape.config_json(Form::RopeScaling);
    config["torch_dtype"] = json!("bfloat16");
    if quant == Quant::Single(DType::F8_E4M3) {
        config["quantization_config"] = Fp8Scales::F32.config_json();
    }
    config["bos_token_id"] = json!(0);
    config["eos_token_id"] = json!(1);
    let mut texts = vec![
        ("config.json", config),
        ("tokenizer.json", tokenizer::json()),
        ("tokenizer_config.json", tokenizer::config_json()),
    ];
    if n_files > 1 {
        let total: u64 = files.iter().flat_map(|file| &file.tensors).map(|tensor| tensor.n_bytes).sum();
        let index = json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
        texts.push(("model.safetensors.index.json", index));
    }
    let pretty = |(name, json): (&str, serde_json::Value)| (name.to_owned(), format!("{json:#}\n").into_bytes());
    Plan { files, texts: texts.into_iter().map(pretty).collect() }
}
