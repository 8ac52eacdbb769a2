//! Loading a model, and what it is.

use crate::errors::{coded, thrown};
use crate::sources::{JsFiles, model_files};
use aloud::{Drafts, GpuOptions, LoadOptions};
use js_sys::Function;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use wasm_bindgen::prelude::*;

/// How long is measured which kernels are fastest, as natively.
const TUNE: Duration = Duration::from_millis(200);

/// A model on the browser's GPU.
#[wasm_bindgen]
pub struct Model(pub(crate) aloud::Model);

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Options {
    context_length: Option<u32>,
    drafts: Option<String>,
    /// The smallest size of subgroups, if the browser grants them.
    subgroup_size: Option<u32>,
    /// What was measured before, as [`Info`] gave it: by key.
    tunings: BTreeMap<String, String>,
    /// Whether what is not known is measured.
    tune: bool,
}

/// What a loaded model is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info<'a> {
    name: &'a str,
    architecture: &'a str,
    parameters: u64,
    quantization: String,
    context_length: u32,
    gpu_bytes: u64,
    adapter: &'a str,
    /// What is known of the device's kernels, and the key to keep it under.
    tuning: String,
    tuning_key: String,
    /// Whether some of it is new.
    measured: bool,
}

#[wasm_bindgen]
impl Model {
    /// Loads a model. `options` is JSON: `contextLength`, `drafts`, `subgroupSize`, `tunings`, `tune`. `on_progress` hears
    /// of bytes that the GPU has and of bytes in all.
    ///
    /// # Errors
    /// If the model cannot be read, is not supported, or does not fit the device.
    pub async fn load(files: JsFiles, options: String, on_progress: Function) -> Result<Model, JsValue> {
        let options: Options = parse(&options)?;
        let gpu = GpuOptions { granted_subgroups: options.subgroup_size, ..GpuOptions::default() };
        let drafts = drafts(options.drafts.as_deref())?;
        let options = LoadOptions {
            n_ctx: options.context_length,
            gpu,
            drafts,
            tunings: options.tunings,
            tune: options.tune.then_some(TUNE),
            ..LoadOptions::default()
        };
        let tell = |progress: aloud::Progress| {
            let (loaded, total) = (progress.loaded_bytes as f64, progress.total_bytes as f64);
            // What a listener throws does not concern loading.
            let _ = on_progress.call2(&JsValue::NULL, &loaded.into(), &total.into());
        };
        let load = async { aloud::Model::load(model_files(&files)?, &options, tell).await };
        load.await.map(Model).map_err(|error: aloud::Error| thrown(&error))
    }

    /// What it is, as JSON.
    #[must_use]
    pub fn info(&self) -> String {
        let (model, header) = (&self.0, self.0.header());
        let resident = model.resident();
        let (tuning_key, tuning) = model.tuning();
        json(&Info {
            name: model.name(),
            architecture: header.config.architecture.hugging_face,
            parameters: header.parameters(),
            quantization: header.quantization(),
            context_length: model.n_ctx(),
            gpu_bytes: resident.held_bytes + resident.activation_bytes,
            adapter: &model.gpu().adapter.name,
            tuning,
            tuning_key,
            measured: !model.tuned().is_empty(),
        })
    }
}

fn drafts(wanted: Option<&str>) -> Result<Drafts, JsValue> {
    match wanted {
        None | Some("auto") => Ok(Drafts::Auto),
        Some("off") => Ok(Drafts::Off),
        Some("mtp") => Ok(Drafts::NextToken),
        Some("lookup") => Ok(Drafts::Lookup),
        Some(found) => {
            Err(coded("invalid-request", &format!("`drafts`: expected auto, off, mtp or lookup, found `{found}`")))
        }
    }
}

pub(crate) fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, JsValue> {
    serde_json::from_str(text).map_err(|error| coded("invalid-request", &error.to_string()))
}

pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain values become JSON")
}
