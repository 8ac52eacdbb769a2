//! `aloud inspect` of a config without weights: what the model would need.

use crate::args::InspectArgs;
use crate::failure::Usage;
use crate::text::{bytes, count, printable};
use aloud::{Config, Estimate, GPU_RESERVE_BYTES, Mix};
use anyhow::Result;
use serde_json::{Value, json};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The format, if none is asked for.
const DEFAULT_QUANT: &str = "Q4_K_M";
/// Memory of the GPUs that are counted, in GB.
const GPUS_GB: [u64; 3] = [24, 80, 192];

/// The config at `path` if there is nothing beside it that could run: a JSON file, or a folder without weights.
pub fn config_alone(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return (path.extension()? == "json").then(|| path.to_owned());
    }
    let is_weights = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|e| e.path().extension().is_some_and(|ext| ext == "safetensors"))
    };
    let config = path.join("config.json");
    let has_weights = std::fs::read_dir(path).ok()?.any(is_weights) || path.join("tokenizer.json").is_file();
    (config.is_file() && !has_weights).then_some(config)
}

/// Shows what a model of `config` needs in the contexts `sizes`.
pub fn run(name: &str, config: &Config, sizes: &[u32], args: &InspectArgs) -> Result<()> {
    let quant = args.quant.as_deref().unwrap_or(DEFAULT_QUANT);
    let unknown = || {
        let all: Vec<&str> = Mix::names().collect();
        Usage(format!("--quant {quant}: expected one of {}", all.join(", ")))
    };
    let mix = Mix::find(quant).ok_or_else(unknown)?;
    let estimate = Estimate::of(config, mix, args.cache_type.elem());
    let mut out = BufWriter::new(std::io::stdout().lock());
    if args.json {
        writeln!(out, "{:#}", as_json(name, config, mix, &estimate, sizes))?;
    } else {
        print(&mut out, name, config, mix, &estimate)?;
        print_contexts(&mut out, &estimate, sizes)?;
    }
    Ok(out.flush()?)
}

/// Bytes read for a token, and its FLOPs, with so many tokens cached.
fn per_token(e: &Estimate, n_ctx: u32) -> (u64, u64) {
    let n = u64::from(n_ctx);
    (e.read_bytes + e.kv_bytes * n, e.flops + e.kv_flops * n)
}

fn as_json(name: &str, config: &Config, mix: Mix, e: &Estimate, sizes: &[u32]) -> Value {
    let row = |&n_ctx: &u32| {
        let (read_bytes, flops) = per_token(e, n_ctx);
        let gpu = |gb: u64| json!({"gpu_gb": gb, "count": e.gpus(gb * 1_000_000_000, n_ctx)});
        json!({
            "context_tokens": n_ctx,
            "cache_bytes": e.kv_bytes * u64::from(n_ctx),
            "total_bytes": e.total_bytes(n_ctx),
            "bytes_per_token": read_bytes,
            "flops_per_token": flops,
            "gpus": GPUS_GB.map(gpu),
        })
    };
    json!({
        "path": name,
        "architecture": config.architecture.hugging_face,
        "quant": mix.name(),
        "parameters": e.parameters,
        "active_parameters": e.active_parameters,
        "weight_bytes": e.weight_bytes,
        "weight_bytes_per_token": e.read_bytes,
        "cache_bytes_per_token": e.kv_bytes,
        "flops_per_token": e.flops,
        "flops_per_cached_token": e.kv_flops,
        "flops_per_cached_token_expanded": e.expanded_kv_flops,
        "largest_layer_bytes": e.layer_bytes.iter().max(),
        "gpu_reserve_bytes": GPU_RESERVE_BYTES,
        "contexts": sizes.iter().map(row).collect::<Vec<_>>(),
    })
}

fn print(out: &mut impl Write, name: &str, config: &Config, mix: Mix, e: &Estimate) -> Result<()> {
    let gib = e.weight_bytes as f64 / f64::from(1 << 30);
    let bits = e.weight_bytes as f64 * 8.0 / e.parameters as f64;
    writeln!(out, "{}", printable(name))?;
    let (all, active) = (count(e.parameters), count(e.active_parameters));
    let class = config.architecture.hugging_face;
    writeln!(out, "{class}: {all} parameters, {active} of them at work on a token (without the embedding)")?;
    writeln!(out, "\nIn {}", mix.name())?;
    writeln!(out, "  weights    {} ({gib:.1} GiB), {bits:.2} bits each", bytes(e.weight_bytes))?;
    writeln!(out, "  cache      {} per token", bytes(e.kv_bytes))?;
    writeln!(out, "  per token  {} of weights read, {}FLOP", bytes(e.read_bytes), count(e.flops))?;
    write!(out, "  and        {} read and {}FLOP per cached token", bytes(e.kv_bytes), count(e.kv_flops))?;
    match e.expanded_kv_flops {
        Some(flops) => writeln!(out, " ({}FLOP in long chunks of a prompt, where it is expanded)", count(flops))?,
        None => writeln!(out)?,
    }
    if config.num_nextn_predict_layers > 0 {
        writeln!(out, "  The layer for multi-token prediction, which most files leave out, is not counted.")?;
    }
    Ok(())
}

fn print_contexts(out: &mut impl Write, e: &Estimate, sizes: &[u32]) -> Result<()> {
    let heads = GPUS_GB.map(|gb| format!("{gb} GB"));
    writeln!(out, "\nMemory, work per token behind a full context, and GPUs needed")?;
    write!(out, "  {:>9}  {:>8}  {:>8}  {:>8}  {:>8}", "context", "cache", "total", "read", "FLOP")?;
    writeln!(out, "  {:>6}  {:>6}  {:>6}", heads[0], heads[1], heads[2])?;
    for &n_ctx in sizes {
        let (read, flops) = per_token(e, n_ctx);
        let cache = bytes(e.kv_bytes * u64::from(n_ctx));
        let total = bytes(e.total_bytes(n_ctx));
        write!(out, "  {n_ctx:>9}  {cache:>8}  {total:>8}  {:>8}  {:>8}", bytes(read), count(flops))?;
        for gb in GPUS_GB {
            let n = e.gpus(gb * 1_000_000_000, n_ctx).map_or("-".to_owned(), |n| n.to_string());
            write!(out, "  {n:>6}")?;
        }
        writeln!(out)?;
    }
    let reserve = bytes(GPU_RESERVE_BYTES);
    writeln!(
        out,
        "  Each GPU (1 GB is 10^9 bytes) holds whole layers with their cache, the first the embedding and the last the\n  \
         head too, and keeps {reserve} for activations; - where a single layer does not fit."
    )?;
    Ok(())
}
