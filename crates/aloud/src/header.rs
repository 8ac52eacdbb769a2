//! All of a model but its weights.

use crate::aside::Aside;
use crate::error::Error;
use crate::files::{HuggingFaceFiles, ModelFiles};
use crate::recommended::of_generation_config;
use aloud_engine::Sampling;
use aloud_format::{ByteSource, Gguf, Metadata, Safetensors, TensorInfo, TensorSet};
use aloud_model::Config;
use aloud_text::{ChatTemplate, GgufTokenizer, Tokenizer};
use std::collections::BTreeMap;

/// All of a model but its weights: numbers, tensor table, tokenizer, template.
#[derive(Debug)]
pub struct Header {
    /// The model's numbers.
    pub config: Config,
    /// Where each tensor lies.
    pub tensors: TensorSet,
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// Messages to a prompt, if the model brings a template.
    pub template: Option<ChatTemplate>,
    /// The template's source.
    pub template_source: Option<String>,
    /// How the files say that tokens are to be drawn, if they do.
    pub sampling: Option<Sampling>,
}

impl Header {
    /// Reads it.
    ///
    /// # Errors
    /// If a file is hostile, or not a model that is supported.
    pub async fn read<S: ByteSource>(files: &ModelFiles<S>) -> Result<Header, Error> {
        let (numbers, text) = Numbers::read(files).await?;
        Ok(numbers.with(text.join().await?))
    }

    /// From an opened GGUF file.
    ///
    /// # Errors
    /// If it is not a model that is supported.
    pub fn of_gguf(gguf: Gguf) -> Result<Header, Error> {
        let (numbers, metadata) = Numbers::of_gguf(gguf)?;
        Ok(numbers.with(Text::of_gguf(&metadata)?))
    }

    /// Whether this is a DeepSeek-R1 model or distill: its template speaks DeepSeek's format and knows thoughts.
    #[must_use]
    pub fn is_r1(&self) -> bool {
        let knows = |text| self.template_source.as_ref().is_some_and(|s| s.contains(text));
        knows("<｜Assistant｜>") && knows("</think>")
    }

    /// The sampling that the model's makers recommend: as its files say, else what DeepSeek recommends for R1 if it is one,
    /// else greedy.
    #[must_use]
    pub fn recommended_sampling(&self) -> Sampling {
        self.sampling.unwrap_or(if self.is_r1() { Sampling::r1() } else { Sampling::default() })
    }

    /// The format that most bytes of the weights are in, as `Q4_K`.
    #[must_use]
    pub fn quantization(&self) -> String {
        let mut bytes: BTreeMap<String, u64> = BTreeMap::new();
        for tensor in self.tensors.iter() {
            *bytes.entry(tensor.dtype.to_string()).or_default() += tensor.n_bytes;
        }
        bytes.into_iter().max_by_key(|(_, n_bytes)| *n_bytes).map_or_else(String::new, |(dtype, _)| dtype)
    }

    /// Values of all tensors, scales not counted.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let is_scale = |tensor: &&TensorInfo| tensor.name.ends_with("_scale_inv");
        self.tensors.iter().filter(|tensor| !is_scale(tensor)).map(TensorInfo::n_elems).sum()
    }

    /// Ids of `<think>` and `</think>`, if the vocabulary has them as tokens.
    #[must_use]
    pub fn think_ids(&self) -> Option<(u32, u32)> {
        Some((self.tokenizer.id("<think>")?, self.tokenizer.id("</think>")?))
    }
}

/// What the device needs to know of a model.
pub(crate) struct Numbers {
    pub config: Config,
    pub tensors: TensorSet,
    sampling: Option<Sampling>,
}

impl Numbers {
    /// Reads them. Text, which takes some tenths of a second, comes later.
    pub async fn read<S: ByteSource>(files: &ModelFiles<S>) -> Result<(Numbers, Aside<Result<Text, Error>>), Error> {
        match files {
            ModelFiles::Gguf(parts) => {
                let gguf = match parts.as_slice() {
                    [whole] => Gguf::open(whole).await?,
                    parts => Gguf::open_split(parts).await?,
                };
                let (numbers, metadata) = Numbers::of_gguf(gguf)?;
                Ok((numbers, Aside::begin(async move || Text::of_gguf(&metadata))))
            }
            ModelFiles::HuggingFace(folder) => {
                let numbers = Numbers::of_folder(folder).await?;
                let (tokenizer, config) = (folder.tokenizer.clone(), folder.tokenizer_config.clone());
                let template = folder.chat_template.clone();
                Ok((numbers, Aside::begin(async move || Text::of_folder(&tokenizer, config.as_deref(), template))))
            }
        }
    }

    fn of_gguf(gguf: Gguf) -> Result<(Numbers, Metadata), Error> {
        let tensors = TensorSet::from(gguf.tensors);
        let config = Config::from_gguf(&gguf.metadata, &tensors)?;
        Ok((Numbers { config, tensors, sampling: None }, gguf.metadata))
    }

    async fn of_folder<S: ByteSource>(folder: &HuggingFaceFiles<S>) -> Result<Numbers, Error> {
        let config = Config::from_json(&folder.config)?;
        let safetensors = match (&folder.index, folder.weights.as_slice()) {
            (Some(index), files) => {
                let by_reference: Vec<(String, &S)> = files.iter().map(|(n, s)| (n.clone(), s)).collect();
                Safetensors::open_sharded(index, &by_reference).await?
            }
            (None, [(_, single)]) => Safetensors::open(single).await?,
            (None, files) => {
                return Err(Error::Path {
                    path: folder.name.clone(),
                    expected: "one safetensors file, or several with model.safetensors.index.json",
                    found: format!("{} files without an index", files.len()),
                });
            }
        };
        let tensors = TensorSet::from(safetensors);
        let sampling = folder.generation_config.as_deref().map(of_generation_config).transpose()?.flatten();
        Ok(Numbers { config, tensors, sampling })
    }

    pub fn with(self, text: Text) -> Header {
        let Numbers { config, tensors, sampling } = self;
        let Text { tokenizer, template, template_source } = text;
        Header { config, tensors, tokenizer, template, template_source, sampling }
    }
}

/// Text to ids, and messages to text.
pub(crate) struct Text {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    template_source: Option<String>,
}

impl Text {
    fn of_gguf(metadata: &Metadata) -> Result<Text, Error> {
        let tokenizer = gguf_tokenizer(metadata)?;
        Text::new(tokenizer, metadata.opt_str("tokenizer.chat_template")?.map(str::to_owned))
    }

    fn of_folder(tokenizer: &[u8], config: Option<&[u8]>, template: Option<String>) -> Result<Text, Error> {
        let tokenizer = Tokenizer::from_json(tokenizer, config)?;
        Text::new(tokenizer, template.or_else(|| config.and_then(template_of_config)))
    }

    fn new(tokenizer: Tokenizer, template_source: Option<String>) -> Result<Text, Error> {
        let source = template_source.as_deref();
        let template = source.map(|source| ChatTemplate::for_tokenizer(source, &tokenizer)).transpose()?;
        Ok(Text { tokenizer, template, template_source })
    }
}

fn template_of_config(json: &[u8]) -> Option<String> {
    let config: serde_json::Value = serde_json::from_slice(json).ok()?;
    match &config["chat_template"] {
        serde_json::Value::String(source) => Some(source.clone()),
        // Several by name: the default one.
        serde_json::Value::Array(named) => {
            let default = named.iter().find(|t| t["name"] == "default")?;
            default["template"].as_str().map(str::to_owned)
        }
        _ => None,
    }
}

fn gguf_tokenizer(metadata: &Metadata) -> Result<Tokenizer, Error> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let strings = |name: &str| Ok::<_, Error>(metadata.str_array(&key(name))?.iter().collect::<Vec<&str>>());
    let id = |name: &str| metadata.opt_u32(&key(&format!("{name}_token_id")));
    let flag = |name: &str| metadata.opt_bool(&key(name));
    Ok(Tokenizer::from_gguf(&GgufTokenizer {
        model: metadata.str(&key("model"))?,
        pre: metadata.opt_str(&key("pre"))?.unwrap_or("default"),
        tokens: strings("tokens")?,
        token_types: metadata.opt_i32_array(&key("token_type"))?.map(<[i32]>::to_vec).unwrap_or_default(),
        merges: strings("merges")?,
        bos: id("bos")?,
        eos: id("eos")?,
        eot: id("eot")?,
        eom: id("eom")?,
        pad: id("padding")?,
        unk: id("unknown")?,
        add_bos: flag("add_bos_token")?,
        add_eos: flag("add_eos_token")?,
        add_space_prefix: flag("add_space_prefix")?,
    })?)
}
