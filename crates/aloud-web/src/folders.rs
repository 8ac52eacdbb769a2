//! Folders as Hugging Face has them, behind URLs.

use crate::sources::{UrlSource, WebSource, fetch_whole};
use aloud::{FormatError, HuggingFaceFiles, ModelFiles, ShardIndex};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::Url;

/// Opens a folder, if this is a URL that ends with `/`.
///
/// # Errors
/// If a file that every model has is missing, or something cannot be read.
pub async fn open_folder(from: &JsValue) -> Result<Option<ModelFiles<WebSource>>, FormatError> {
    let url = from.as_string().or_else(|| from.dyn_ref::<Url>().map(Url::href));
    let Some(folder) = url.filter(|url| url.ends_with('/')) else { return Ok(None) };
    let (index, weights) = weights(&folder).await?;
    let chat_template = optional(&folder, "chat_template.jinja").await?;
    let files = HuggingFaceFiles {
        config: required(&folder, "config.json").await?,
        tokenizer: required(&folder, "tokenizer.json").await?,
        tokenizer_config: optional(&folder, "tokenizer_config.json").await?,
        chat_template: chat_template.and_then(|bytes| String::from_utf8(bytes).ok()),
        generation_config: optional(&folder, "generation_config.json").await?,
        index,
        weights,
        name: folder,
    };
    Ok(Some(ModelFiles::HuggingFace(files)))
}

/// The index, if there are shards, and the weight files by name.
async fn weights(folder: &str) -> Result<(Option<Vec<u8>>, Vec<(String, WebSource)>), FormatError> {
    let single = "model.safetensors";
    let missing = match UrlSource::open(&format!("{folder}{single}")).await {
        Ok(file) => return Ok((None, vec![(single.to_owned(), WebSource::Url(file))])),
        Err(missing) => missing,
    };
    let index = optional(folder, "model.safetensors.index.json").await?.ok_or(missing)?;
    let mut shards = Vec::new();
    for name in ShardIndex::parse(&index)?.files {
        let file = UrlSource::open(&format!("{folder}{name}")).await?;
        shards.push((name, WebSource::Url(file)));
    }
    Ok((Some(index), shards))
}

async fn optional(folder: &str, name: &str) -> Result<Option<Vec<u8>>, FormatError> {
    fetch_whole(&format!("{folder}{name}")).await
}

async fn required(folder: &str, name: &str) -> Result<Vec<u8>, FormatError> {
    let missing = || FormatError::read(&format!("{folder}{name}"), 0, 0, "there is no such file (status 404)");
    optional(folder, name).await?.ok_or_else(missing)
}
