//! Files that JavaScript reads for us: out of the network, out of the browser's storage, or from a disk.

use aloud::{ByteSource, FormatError, HuggingFaceFiles, ModelFiles};
use js_sys::{Array, Map, Promise, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** A file of known length. `read` gives all of the bytes that were asked for, or fails. */
export interface ByteSource {
  readonly name: string;
  readonly size: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}
/** A GGUF file or the parts of one; or the weights of a folder as Hugging Face has it, with its small files by name. */
export interface ModelFiles {
  readonly kind: "gguf" | "folder";
  readonly name: string;
  readonly files: ByteSource[];
  readonly small?: Map<string, Uint8Array>;
}
"#;

#[wasm_bindgen]
extern "C" {
    /// `ByteSource` of TypeScript.
    #[wasm_bindgen(typescript_type = "ByteSource")]
    #[derive(Debug)]
    pub type JsFile;
    #[wasm_bindgen(method, getter)]
    fn name(this: &JsFile) -> String;
    #[wasm_bindgen(method, getter)]
    fn size(this: &JsFile) -> f64;
    #[wasm_bindgen(method, catch)]
    fn read(this: &JsFile, offset: f64, length: f64) -> Result<Promise, JsValue>;

    /// `ModelFiles` of TypeScript.
    #[wasm_bindgen(typescript_type = "ModelFiles")]
    pub type JsFiles;
    #[wasm_bindgen(method, getter)]
    fn kind(this: &JsFiles) -> String;
    #[wasm_bindgen(method, getter, js_name = name)]
    fn model_name(this: &JsFiles) -> String;
    #[wasm_bindgen(method, getter)]
    fn files(this: &JsFiles) -> Array;
    #[wasm_bindgen(method, getter)]
    fn small(this: &JsFiles) -> Option<Map>;
}

/// A file that JavaScript reads.
#[derive(Debug)]
pub struct JsSource {
    file: JsFile,
    name: String,
    size: u64,
}

impl JsSource {
    fn new(file: JsFile) -> JsSource {
        // Lengths of files lie far below 2^53, up to which f64 is exact.
        JsSource { name: file.name(), size: file.size() as u64, file }
    }
}

impl ByteSource for JsSource {
    fn len(&self) -> u64 {
        self.size
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        let read = async {
            let bytes = self.file.read(offset as f64, buf.len() as f64).map_err(|e| reason_of(&e))?;
            let bytes = JsFuture::from(bytes).await.map_err(|e| reason_of(&e))?;
            let bytes =
                bytes.dyn_into::<Uint8Array>().map_err(|found| format!("expected a Uint8Array, found {found:?}"))?;
            if bytes.length() as usize != buf.len() {
                return Err(format!("expected {} bytes, found {}", buf.len(), bytes.length()));
            }
            bytes.copy_to(buf);
            Ok(())
        };
        read.await.map_err(|reason| FormatError::read(&self.name, offset, buf.len(), reason))
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// The files of a model.
///
/// # Errors
/// If a file that every folder has is missing.
pub fn model_files(files: &JsFiles) -> Result<ModelFiles<JsSource>, FormatError> {
    let sources = files.files().to_vec().into_iter().map(|file| JsSource::new(file.unchecked_into()));
    if files.kind() == "gguf" {
        return Ok(ModelFiles::Gguf(sources.collect()));
    }
    let name = files.model_name();
    let small = files.small().unwrap_or_default();
    let optional = |file: &str| small.get(&file.into()).dyn_into::<Uint8Array>().ok().map(|bytes| bytes.to_vec());
    let required = |file: &str| {
        let path = format!("{name}/{file}");
        optional(file).ok_or_else(|| FormatError::read(&path, 0, 0, "there is no such file".to_owned()))
    };
    Ok(ModelFiles::HuggingFace(HuggingFaceFiles {
        config: required("config.json")?,
        tokenizer: required("tokenizer.json")?,
        tokenizer_config: optional("tokenizer_config.json"),
        chat_template: optional("chat_template.jinja").and_then(|bytes| String::from_utf8(bytes).ok()),
        generation_config: optional("generation_config.json"),
        index: optional("model.safetensors.index.json"),
        weights: sources.map(|source| (source.name.clone(), source)).collect(),
        name,
    }))
}

fn reason_of(thrown: &JsValue) -> String {
    match thrown.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => format!("{thrown:?}"),
    }
}
