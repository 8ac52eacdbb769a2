//! `aloud inspect`: what a model file holds, and what it needs.

use crate::args::{InspectArgs, Talk};
use crate::commands::estimate;
use crate::open::{Source, Which};
use crate::text::{bytes, count, printable};
use crate::{failure, open};
use aloud::{
    ByteSource, Config, Header, MemoryNeed, MetaArray, MetaValue, ModelFiles, Sampling, TensorInfo, TensorSet,
};
use anyhow::{Context, Result, anyhow};
use pollster::block_on;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};

/// Elements of an array, and characters of a string, that are shown.
const SHOWN_ELEMS: usize = 4;
const SHOWN_CHARS: usize = 60;
/// The smallest context whose memory need is shown.
const FIRST_CTX: u32 = 2048;

/// Runs it.
pub fn run(args: &InspectArgs, talk: Talk) -> Result<()> {
    let which = open::which(args.model.as_ref(), talk);
    if let Which::At(path) = which
        && let Some(file) = estimate::config_alone(path)
    {
        let json = std::fs::read(&file).with_context(|| format!("`{}`", file.display()))?;
        let config = Config::from_json(&json).map_err(aloud::Error::from)?;
        return estimate::run(&file.display().to_string(), &config, &contexts(&config, args)?, args);
    }
    let report = match which.files()? {
        ModelFiles::Gguf(parts) => of_gguf(which.to_string(), &parts)?,
        folder => of_folder(which.to_string(), &folder)?,
    };
    if args.quant.is_some() {
        let config = report.config.as_ref().map_err(|problem| anyhow!("{problem}"))?;
        return estimate::run(&report.path, config, &contexts(config, args)?, args);
    }
    let needs = needs(&report, args)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if args.json {
        writeln!(out, "{:#}", as_json(&report, &needs))?;
    } else {
        print(&mut out, &report, &needs, args.tensors)?;
    }
    Ok(out.flush()?)
}

/// What is known of a model without its weights.
struct Report {
    path: String,
    format: String,
    /// Long values are cut already.
    metadata: Map<String, Value>,
    tensors: TensorSet,
    /// The config, or why this model cannot run here.
    config: Result<Config, String>,
    /// How tokens are drawn unless told otherwise, if this is an R1 model.
    r1: Option<Sampling>,
    found_bytes: u64,
    /// What the files would have if nothing were cut off.
    whole_bytes: u64,
}

fn of_gguf(path: String, parts: &[Source]) -> Result<Report> {
    let gguf = open::gguf(parts)?;
    let metadata = gguf.metadata.iter().map(|(key, value)| (key.to_owned(), short_meta(value))).collect();
    let format = format!("GGUF version {}", gguf.version);
    let tensors = TensorSet::from(gguf.tensors.clone());
    let known = match Header::of_gguf(gguf) {
        Ok(header) => (Ok(header.config.clone()), r1(&header)),
        Err(error) => (Err(failure::one_line(&error.into())), None),
    };
    let sources: Vec<&Source> = parts.iter().collect();
    Ok(report(path, format, metadata, tensors, known, &sources))
}

fn of_folder(path: String, files: &ModelFiles<Source>) -> Result<Report> {
    let header = block_on(Header::read(files))?;
    let ModelFiles::HuggingFace(folder) = files else { unreachable!("GGUF files have their own function") };
    let config: Value = serde_json::from_slice(&folder.config)?;
    let metadata = config.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), short_json(v))).collect();
    let sources: Vec<&Source> = folder.weights.iter().map(|(_, source)| source).collect();
    let known = (Ok(header.config.clone()), r1(&header));
    Ok(report(path, "safetensors".into(), metadata, header.tensors, known, &sources))
}

fn r1(header: &Header) -> Option<Sampling> {
    header.is_r1().then(|| header.recommended_sampling())
}

fn report(
    path: String,
    format: String,
    metadata: Map<String, Value>,
    tensors: TensorSet,
    (config, r1): (Result<Config, String>, Option<Sampling>),
    sources: &[&Source],
) -> Report {
    let end = |file: usize| tensors.iter().filter(|t| t.file == file).map(|t| t.offset + t.n_bytes).max().unwrap_or(0);
    let whole_bytes = sources.iter().enumerate().map(|(i, s)| s.len().max(end(i))).sum();
    let found_bytes = sources.iter().map(|s| s.len()).sum();
    Report { path, format, metadata, tensors, config, r1, found_bytes, whole_bytes }
}

/// Memory needs by context; or why there are none.
fn needs(report: &Report, args: &InspectArgs) -> Result<Needs> {
    let config = match &report.config {
        Ok(config) => config,
        Err(problem) => return Ok(Err(problem.clone())),
    };
    let need = |n| MemoryNeed::of(config, &report.tensors, n, args.cache_type.elem()).map(|need| (n, need));
    let all: Result<_, _> = contexts(config, args)?.into_iter().map(need).collect();
    Ok(all.map_err(|e| e.to_string()))
}

/// The context that was asked for, or several up to what the model was made for.
fn contexts(config: &Config, args: &InspectArgs) -> Result<Vec<u32>> {
    if let Some(n_ctx) = args.ctx_size {
        aloud::check_context(n_ctx, config).map_err(aloud::Error::from)?;
        return Ok(vec![n_ctx]);
    }
    let most = config.max_position_embeddings;
    let sizes = std::iter::successors(Some(FIRST_CTX), |n| n.checked_mul(2)).take_while(|&n| n < most);
    Ok(sizes.chain([most]).collect())
}

fn short_meta(value: &MetaValue) -> Value {
    match value {
        MetaValue::U8(v) => json!(v),
        MetaValue::I8(v) => json!(v),
        MetaValue::U16(v) => json!(v),
        MetaValue::I16(v) => json!(v),
        MetaValue::U32(v) => json!(v),
        MetaValue::I32(v) => json!(v),
        MetaValue::F32(v) => short_float(*v),
        MetaValue::Bool(v) => json!(v),
        MetaValue::String(v) => short_string(v),
        MetaValue::Array(v) => short_array(v),
        MetaValue::U64(v) => json!(v),
        MetaValue::I64(v) => json!(v),
        MetaValue::F64(v) => json!(v),
    }
}

/// With the digits of its own type: 1e-6 and not 9.999999974752427e-7.
fn short_float(value: f32) -> Value {
    json!(value.to_string().parse::<f64>().ok())
}

fn short_array(array: &MetaArray) -> Value {
    fn first<T: serde::Serialize>(values: &[T]) -> Vec<Value> {
        values.iter().take(SHOWN_ELEMS).map(|v| json!(v)).collect()
    }
    let shown = match array {
        MetaArray::U8(a) => first(a),
        MetaArray::I8(a) => first(a),
        MetaArray::U16(a) => first(a),
        MetaArray::I16(a) => first(a),
        MetaArray::U32(a) => first(a),
        MetaArray::I32(a) => first(a),
        MetaArray::F32(a) => a.iter().take(SHOWN_ELEMS).copied().map(short_float).collect(),
        MetaArray::Bool(a) => first(a),
        MetaArray::String(a) => a.iter().take(SHOWN_ELEMS).map(short_string).collect(),
        MetaArray::U64(a) => first(a),
        MetaArray::I64(a) => first(a),
        MetaArray::F64(a) => first(a),
    };
    cut_list(shown, array.len())
}

fn short_json(value: &Value) -> Value {
    match value {
        Value::String(text) => short_string(text),
        Value::Array(all) => cut_list(all.iter().take(SHOWN_ELEMS).map(short_json).collect(), all.len()),
        other => other.clone(),
    }
}

fn short_string(text: &str) -> Value {
    match text.char_indices().nth(SHOWN_CHARS) {
        None => json!(text),
        Some((at, _)) => json!(format!("{}... ({} characters)", &text[..at], text.chars().count())),
    }
}

fn cut_list(mut shown: Vec<Value>, len: usize) -> Value {
    if len > shown.len() {
        shown.push(json!(format!("... ({len} in all)")));
    }
    Value::Array(shown)
}

/// Tensors, elements and bytes by element type, the largest first.
fn mix(tensors: &TensorSet) -> Vec<(&'static str, usize, u64, u64)> {
    let mut by_type: BTreeMap<&str, (usize, u64, u64)> = BTreeMap::new();
    for t in tensors {
        let sum = by_type.entry(t.dtype.name()).or_default();
        *sum = (sum.0 + 1, sum.1 + t.n_elems(), sum.2 + t.n_bytes);
    }
    let mut mix: Vec<_> = by_type.into_iter().map(|(name, (n, elems, bytes))| (name, n, elems, bytes)).collect();
    mix.sort_by_key(|&(.., bytes)| std::cmp::Reverse(bytes));
    mix
}

fn totals(tensors: &TensorSet) -> (u64, u64) {
    tensors.iter().fold((0, 0), |(elems, bytes), t| (elems + t.n_elems(), bytes + t.n_bytes))
}

type Needs = Result<Vec<(u32, MemoryNeed)>, String>;

fn as_json(report: &Report, needs: &Needs) -> Value {
    let (parameters, tensor_bytes) = totals(&report.tensors);
    let types: Vec<Value> = mix(&report.tensors)
        .into_iter()
        .map(|(name, n, elems, bytes)| json!({"type": name, "tensors": n, "elements": elems, "bytes": bytes}))
        .collect();
    let tensor = |t: &TensorInfo| json!({"name": t.name, "type": t.dtype.name(), "shape": t.shape, "file": t.file, "offset": t.offset, "bytes": t.n_bytes});
    let memory = needs.as_ref().ok().map(|all| {
        let row = |(n_ctx, need): &(u32, MemoryNeed)| {
            json!({
                "context_tokens": n_ctx,
                "weight_bytes": need.weight_bytes,
                "cache_bytes": need.kv_bytes,
                "total_bytes": need.weight_bytes + need.kv_bytes,
            })
        };
        all.iter().map(row).collect::<Vec<_>>()
    });
    json!({
        "path": report.path,
        "format": report.format,
        "file_bytes": report.found_bytes,
        "complete": report.found_bytes == report.whole_bytes,
        "architecture": report.config.as_ref().ok().map(|c| c.architecture.gguf),
        "is_r1": report.r1.is_some(),
        "problem": needs.as_ref().err(),
        "parameters": parameters,
        "tensor_bytes": tensor_bytes,
        "metadata": report.metadata,
        "types": types,
        "memory": memory,
        "tensors": report.tensors.iter().map(tensor).collect::<Vec<_>>(),
    })
}

fn print(out: &mut impl Write, report: &Report, needs: &Needs, every_tensor: bool) -> Result<()> {
    let (parameters, tensor_bytes) = totals(&report.tensors);
    let bits = if parameters > 0 { tensor_bytes as f64 * 8.0 / parameters as f64 } else { 0.0 };
    writeln!(out, "{}", printable(&report.path))?;
    let n = report.tensors.len();
    writeln!(out, "{}: {} parameters in {n} tensors, {bits:.2} bits each", report.format, count(parameters))?;
    if report.found_bytes < report.whole_bytes {
        let [found, whole] = [report.found_bytes, report.whole_bytes].map(bytes);
        writeln!(out, "incomplete: {found} of {whole} are there; it can be looked at, not run")?;
    }
    if let Some(Sampling { temperature, top_p, .. }) = report.r1 {
        let drawn = format!("sampled with temperature {temperature} and top-p {top_p}");
        let drawn = if temperature > 0.0 { drawn } else { "takes the likeliest token".into() };
        writeln!(out, "a DeepSeek-R1 model: thinks first, {drawn} unless told otherwise")?;
    }
    writeln!(out, "\nMetadata")?;
    let width = report.metadata.keys().map(|k| k.chars().count()).max().unwrap_or(0).min(44);
    for (key, value) in &report.metadata {
        writeln!(out, "  {:<width$}  {}", printable(key), printable(&value.to_string()))?;
    }
    writeln!(out, "\nTensors")?;
    if every_tensor {
        print_tensors(out, &report.tensors)?
    } else {
        print_kinds(out, &report.tensors)?
    }
    writeln!(out, "\nFormats")?;
    for (name, n, elems, size) in mix(&report.tensors) {
        let share = size as f64 / tensor_bytes.max(1) as f64 * 100.0;
        writeln!(out, "  {name:<8} {n:>5} tensors  {:>7} elements  {:>8}  {share:>5.1} %", count(elems), bytes(size))?;
    }
    print_needs(out, needs)
}

fn print_tensors(out: &mut impl Write, tensors: &TensorSet) -> Result<()> {
    for t in tensors {
        let shape = format!("{:?}", t.shape);
        writeln!(out, "  {:<40} {shape:<18} {:<8} {:>8}", printable(&t.name), t.dtype.name(), bytes(t.n_bytes))?;
    }
    Ok(())
}

/// One line per name, shape and format, with `*` for the number of a layer.
fn print_kinds(out: &mut impl Write, tensors: &TensorSet) -> Result<()> {
    let mut kinds: BTreeMap<(String, String, &str), (usize, u64)> = BTreeMap::new();
    for t in tensors {
        let key = (without_layer(&t.name), format!("{:?}", t.shape), t.dtype.name());
        let sum = kinds.entry(key).or_default();
        *sum = (sum.0 + 1, sum.1 + t.n_bytes);
    }
    for ((name, shape, dtype), (n, size)) in kinds {
        writeln!(out, "  {:<40} {shape:<18} {dtype:<8} {n:>3} x  {:>8}", printable(&name), bytes(size))?;
    }
    Ok(())
}

fn without_layer(name: &str) -> String {
    let star = |part| if str::parse::<u32>(part).is_ok() { "*" } else { part };
    name.split('.').map(star).collect::<Vec<_>>().join(".")
}

fn print_needs(out: &mut impl Write, needs: &Needs) -> Result<()> {
    writeln!(out, "\nMemory needed, besides activations")?;
    match needs {
        Err(problem) => writeln!(out, "  unknown: {}", printable(problem))?,
        Ok(all) => {
            writeln!(out, "  {:>9}  {:>8}  {:>8}  {:>8}", "context", "weights", "cache", "total")?;
            for (n_ctx, need) in all {
                let [weights, cache] = [need.weight_bytes, need.kv_bytes].map(bytes);
                let total = bytes(need.weight_bytes + need.kv_bytes);
                writeln!(out, "  {n_ctx:>9}  {weights:>8}  {cache:>8}  {total:>8}")?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut() {
        let tokens = MetaValue::strings((0..9).map(|n| n.to_string()));
        assert_eq!(short_meta(&tokens), json!(["0", "1", "2", "3", "... (9 in all)"]));
        assert_eq!(short_meta(&MetaValue::strings(["a"])), json!(["a"]));
        let long = short_string(&"é".repeat(100));
        assert_eq!(long, json!(format!("{}... (100 characters)", "é".repeat(60))));
    }

    #[test]
    fn floats_keep_their_digits() {
        assert_eq!(short_meta(&MetaValue::F32(1e-6)).to_string(), "1e-6");
    }

    #[test]
    fn layers_fold() {
        assert_eq!(without_layer("blk.12.attn_q.weight"), "blk.*.attn_q.weight");
        assert_eq!(without_layer("model.layers.0.mlp.up_proj.weight"), "model.layers.*.mlp.up_proj.weight");
        assert_eq!(without_layer("output_norm.weight"), "output_norm.weight");
    }
}
