//! A look into model files.

use crate::sources::WebSource;
use aloud::{ByteSource, Gguf, MetaValue};
use js_sys::{Map, Object, Reflect};
use wasm_bindgen::prelude::*;

/// What a GGUF file says of itself.
#[wasm_bindgen(getter_with_clone)]
pub struct GgufSummary {
    /// Its name or URL.
    #[wasm_bindgen(readonly)]
    pub name: String,
    /// Its length.
    #[wasm_bindgen(readonly, js_name = lenBytes)]
    pub len_bytes: f64,
    /// Key to value; an array is told by its `length` alone, because vocabularies are long.
    #[wasm_bindgen(readonly)]
    pub metadata: Map,
    /// All tensors in file order.
    #[wasm_bindgen(readonly)]
    pub tensors: Vec<TensorSummary>,
}

/// A tensor of a file.
#[derive(Clone)]
#[wasm_bindgen(getter_with_clone)]
pub struct TensorSummary {
    /// Its name.
    #[wasm_bindgen(readonly)]
    pub name: String,
    /// Its element type or block format.
    #[wasm_bindgen(readonly)]
    pub dtype: String,
    /// Row-major, outermost axis first.
    #[wasm_bindgen(readonly)]
    pub shape: Vec<f64>,
    /// Where its data begins.
    #[wasm_bindgen(readonly)]
    pub offset: f64,
    /// Length of its data.
    #[wasm_bindgen(readonly, js_name = lenBytes)]
    pub len_bytes: f64,
}

/// Reads the header of a GGUF file: a URL, `Blob`, `File` or `FileSystemFileHandle`.
///
/// # Errors
/// If the file cannot be read, or is hostile.
#[wasm_bindgen]
pub async fn inspect(file: JsValue) -> Result<GgufSummary, JsError> {
    let source = WebSource::open(&file).await?;
    let gguf = Gguf::open(&source).await?;
    let metadata = Map::new();
    for (key, value) in gguf.metadata.iter() {
        metadata.set(&key.into(), &js_value(value));
    }
    let tensors = gguf.tensors.iter().map(|info| TensorSummary {
        name: info.name.clone(),
        dtype: info.dtype.to_string(),
        shape: info.shape.iter().map(|&extent| extent as f64).collect(),
        offset: info.offset as f64,
        len_bytes: info.n_bytes as f64,
    });
    Ok(GgufSummary {
        name: source.name().to_owned(),
        len_bytes: source.len() as f64,
        metadata,
        tensors: tensors.collect(),
    })
}

/// The bytes of a file from `offset` on: a URL, `Blob`, `File` or `FileSystemFileHandle`.
///
/// # Errors
/// If they cannot be read, all of them.
#[wasm_bindgen(js_name = readRange)]
pub async fn read_range(file: JsValue, offset: f64, len_bytes: u32) -> Result<Vec<u8>, JsError> {
    let source = WebSource::open(&file).await?;
    let mut bytes = vec![0; len_bytes as usize];
    source.read_at(offset as u64, &mut bytes).await?;
    Ok(bytes)
}

fn js_value(value: &MetaValue) -> JsValue {
    match value {
        MetaValue::U8(v) => (*v).into(),
        MetaValue::I8(v) => (*v).into(),
        MetaValue::U16(v) => (*v).into(),
        MetaValue::I16(v) => (*v).into(),
        MetaValue::U32(v) => (*v).into(),
        MetaValue::I32(v) => (*v).into(),
        MetaValue::F32(v) => (*v).into(),
        MetaValue::U64(v) => (*v).into(),
        MetaValue::I64(v) => (*v).into(),
        MetaValue::F64(v) => (*v).into(),
        MetaValue::Bool(v) => (*v).into(),
        MetaValue::String(v) => v.into(),
        MetaValue::Array(v) => {
            let array = Object::new();
            let set = Reflect::set(&array, &"length".into(), &(v.len() as f64).into());
            set.expect("a new object takes any property");
            array.into()
        }
    }
}
