//! What a model consists of, as it lies on disk or behind URLs.

use aloud_format::ByteSource;

/// The files of a model.
#[derive(Debug)]
pub enum ModelFiles<S> {
    /// A GGUF file, or all parts of a split one in order.
    Gguf(Vec<S>),
    /// A folder as Hugging Face has it.
    HuggingFace(HuggingFaceFiles<S>),
}

/// A folder as Hugging Face has it.
#[derive(Debug)]
pub struct HuggingFaceFiles<S> {
    /// What messages call it.
    pub name: String,
    /// `config.json`.
    pub config: Vec<u8>,
    /// `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<Vec<u8>>,
    /// `chat_template.jinja`.
    pub chat_template: Option<String>,
    /// `generation_config.json`: how the model's makers recommend to draw tokens.
    pub generation_config: Option<Vec<u8>>,
    /// `model.safetensors.index.json`, if the weights are sharded.
    pub index: Option<Vec<u8>>,
    /// The weight files by name.
    pub weights: Vec<(String, S)>,
}

impl<S> ModelFiles<S> {
    /// The same files out of other sources.
    #[must_use]
    pub fn map<T>(self, mut source: impl FnMut(S) -> T) -> ModelFiles<T> {
        match self {
            ModelFiles::Gguf(parts) => ModelFiles::Gguf(parts.into_iter().map(source).collect()),
            ModelFiles::HuggingFace(folder) => ModelFiles::HuggingFace(HuggingFaceFiles {
                name: folder.name,
                config: folder.config,
                tokenizer: folder.tokenizer,
                tokenizer_config: folder.tokenizer_config,
                chat_template: folder.chat_template,
                generation_config: folder.generation_config,
                index: folder.index,
                weights: folder.weights.into_iter().map(|(name, weights)| (name, source(weights))).collect(),
            }),
        }
    }

    /// The sources of the weights, in order.
    #[must_use]
    pub fn into_weights(self) -> Vec<S> {
        match self {
            ModelFiles::Gguf(parts) => parts,
            ModelFiles::HuggingFace(folder) => folder.weights.into_iter().map(|(_, source)| source).collect(),
        }
    }
}

impl<S: ByteSource> ModelFiles<S> {
    /// What messages call the model.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            ModelFiles::Gguf(parts) => parts.first().map_or("", ByteSource::name),
            ModelFiles::HuggingFace(folder) => &folder.name,
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use super::{HuggingFaceFiles, ModelFiles};
    use crate::error::Error;
    use crate::file::FileSource;
    use aloud_format::ShardIndex;
    use std::fs;
    use std::path::Path;

    impl ModelFiles<FileSource> {
        /// Opens a GGUF file (the first part of a split one brings the others), or a folder with `config.json`.
        ///
        /// # Errors
        /// If a file is missing or unreadable, or the path is neither.
        pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
            let path = path.as_ref();
            if path.is_dir() { folder(path).map(ModelFiles::HuggingFace) } else { gguf(path).map(ModelFiles::Gguf) }
        }
    }

    fn gguf(path: &Path) -> Result<Vec<FileSource>, Error> {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        match aloud_format::split_names(name) {
            Some(names) => names.iter().map(|n| FileSource::open(path.with_file_name(n))).collect(),
            None => Ok(vec![FileSource::open(path)?]),
        }
    }

    fn folder(path: &Path) -> Result<HuggingFaceFiles<FileSource>, Error> {
        let optional = |name: &str| fs::read(path.join(name)).ok();
        let required = |name: &str, expected| {
            fs::read(path.join(name)).map_err(|e| Error::Path {
                path: path.join(name).display().to_string(),
                expected,
                found: e.to_string(),
            })
        };
        let index = optional("model.safetensors.index.json");
        let names = match &index {
            Some(json) => ShardIndex::parse(json)?.files,
            None => vec!["model.safetensors".to_owned()],
        };
        let open = |name: String| FileSource::open(path.join(&name)).map(|source| (name, source));
        Ok(HuggingFaceFiles {
            name: path.display().to_string(),
            config: required("config.json", "a folder with config.json, tokenizer.json and safetensors")?,
            tokenizer: required("tokenizer.json", "a tokenizer beside the weights")?,
            tokenizer_config: optional("tokenizer_config.json"),
            chat_template: optional("chat_template.jinja").and_then(|bytes| String::from_utf8(bytes).ok()),
            generation_config: optional("generation_config.json"),
            index,
            weights: names.into_iter().map(open).collect::<Result<_, Error>>()?,
        })
    }
}
