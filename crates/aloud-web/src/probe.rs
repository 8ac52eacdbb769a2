//! How fast the browser's GPU is, and what a model would need of it.

use crate::errors::{coded, thrown};
use crate::model::json;
use crate::sources::{JsFiles, model_files};
use aloud::{Choice, DType, Elem, GpuOptions, Header, MemoryNeed, Speed};
use serde::Serialize;
use wasm_bindgen::prelude::*;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Measured {
    bytes_per_second: f64,
    dispatch_seconds: f64,
    readback_seconds: f64,
}

/// What a model would need, by its header alone.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Need {
    architecture: &'static str,
    parameters: u64,
    quantization: String,
    /// The longest context that it was made for.
    max_context_length: u32,
    context_length: u32,
    weight_bytes: u64,
    kv_bytes: u64,
    /// Bytes of the largest buffer of the cache.
    kv_binding_bytes: u64,
    /// Bytes of weights that a token reads.
    read_bytes: u64,
    /// Dispatches of a decode step, about.
    dispatches: u32,
}

/// Measures the GPU with weights of a format, by its name; as JSON.
///
/// # Errors
/// If there is no such format, or no GPU.
#[wasm_bindgen]
pub async fn speed(quantization: String, subgroup_size: Option<u32>) -> Result<String, JsValue> {
    let Some(dtype) = DType::all().find(|dtype| dtype.name() == quantization) else {
        return Err(coded("invalid-request", &format!("`{quantization}` is no format of weights")));
    };
    let gpu = GpuOptions { granted_subgroups: subgroup_size, ..GpuOptions::default() };
    let speed = Speed::measure(&Choice::Best, gpu, dtype).await.map_err(|error| thrown(&error))?;
    let Speed { bytes_per_second, dispatch_seconds, readback_seconds } = speed;
    Ok(json(&Measured { bytes_per_second, dispatch_seconds, readback_seconds }))
}

/// What a model would need at a context length, as JSON, by its header alone.
///
/// # Errors
/// If the header cannot be read, or is not one of a supported model.
#[wasm_bindgen]
pub async fn need(files: JsFiles, context_length: Option<u32>) -> Result<String, JsValue> {
    let read = async {
        let header = Header::read(&model_files(&files)?).await?;
        let config = &header.config;
        let n_ctx = context_length.unwrap_or(config.max_position_embeddings.min(aloud::DEFAULT_CTX));
        let need = MemoryNeed::of(config, &header.tensors, n_ctx, Elem::F16)?;
        Ok(json(&Need {
            architecture: config.architecture.hugging_face,
            parameters: header.parameters(),
            quantization: header.quantization(),
            max_context_length: config.max_position_embeddings,
            context_length: n_ctx,
            weight_bytes: need.weight_bytes,
            kv_bytes: need.kv_bytes,
            kv_binding_bytes: need.kv_binding_bytes,
            read_bytes: aloud::read_bytes(config, &header.tensors)?,
            dispatches: config.decode_dispatches(),
        }))
    };
    read.await.map_err(|error: aloud::Error| thrown(&error))
}
