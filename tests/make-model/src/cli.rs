//! The command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use std::{fs, io};

use aloud_make_model::{Container, PRESETS, Plan, Quant, Shape, write_plan};
use anyhow::{Result, anyhow, bail};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

const EXAMPLES: &str = "\
Examples:
  A small DeepSeek-V3 with its layer for multi-token prediction, in one GGUF file
    cargo xtask make-model target/v3.gguf --arch deepseek_v3 --mtp

  DeepSeek-V2-Lite cut to 4 layers and 16 experts, quantised as published files are
    cargo xtask make-model target/lite.gguf --preset v2-lite --layers 4 --experts 16 --quant q4_k_m

  A folder as Hugging Face has it, in 3 shards
    cargo xtask make-model target/qwen --preset qwen-1.5b --layers 2 --quant bf16 --split 3

  DeepSeek-V3's layers in FP8 as published, but few and with few experts
    cargo xtask make-model target/v3 --preset v3 --layers 4 --experts 16 --quant fp8 --mtp

  Any number of config.json
    cargo xtask make-model target/odd.gguf --arch deepseek_v2 --set moe_intermediate_size=320 --set topk_group=1

The same arguments give the same bytes. Weights are random, scaled so that activations stay of order 1 in every layer;
the answers of such a model are gibberish. To write gigabytes in seconds, large tensors are put together from pieces of
256 values that are drawn from a pool of some 4,000: pieces recur, rows of a thousand values do not. The tokenizer is real
and small: 256 bytes, 16 merges and DeepSeek-R1's special tokens; other ids of the vocabulary are `[PAD…]`.
Rows that are no whole super-blocks of 256 fall back as in llama-quantize: Q4_K to Q5_0, Q5_K to Q5_1, Q6_K to Q8_0.";

/// Write a model of random weights: any architecture, any size, any format
#[derive(Parser)]
#[command(name = "make-model", bin_name = "cargo xtask make-model", after_help = EXAMPLES, max_term_width = 120)]
pub struct Cli {
    /// The GGUF file (`….gguf`), or the folder for safetensors
    out: PathBuf,
    /// llama, qwen2, qwen3, deepseek_v2 or deepseek_v3: a small model of it
    #[arg(long, required_unless_present = "preset", conflicts_with = "preset")]
    arch: Option<String>,
    /// A published model's numbers; an unknown name lists them
    #[arg(long)]
    preset: Option<String>,
    /// Layers
    #[arg(long)]
    layers: Option<u64>,
    /// Experts of a layer
    #[arg(long)]
    experts: Option<u64>,
    /// Width of the model
    #[arg(long)]
    hidden: Option<u64>,
    /// Another number by its name in config.json; can be given again
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Q4_K_M, Q5_K_M, or one format for all matrices: F32, BF16, F16, Q8_0, Q4_K …; in folders F32, BF16, F16 or FP8
    /// [default: Q8_0; in folders BF16]
    #[arg(long)]
    quant: Option<String>,
    /// Other numbers, other weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Add DeepSeek-V3's layer for multi-token prediction
    #[arg(long)]
    mtp: bool,
    /// Files to split the model into
    #[arg(long, default_value_t = 1, value_name = "N")]
    split: usize,
    /// Store keys and values as one tensor `attn_kv_b`, as GGUF files before 2025 do
    #[arg(long)]
    legacy_kv_b: bool,
    /// [default: gguf if OUT ends with .gguf, else safetensors]
    #[arg(long)]
    format: Option<Format>,
    /// Write over an older model
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Gguf,
    Safetensors,
}

/// Plans, says what is coming, and writes.
pub fn run(cli: &Cli) -> Result<()> {
    let (plan, shape, folder) = plan(cli)?;
    for name in plan.files.iter().map(|file| &file.name).chain(plan.texts.iter().map(|(name, _)| name)) {
        if !cli.force && folder.join(name).exists() {
            bail!("{} is there already; --force writes over it", folder.join(name).display());
        }
    }
    let total = plan.n_bytes();
    eprintln!(
        "{}: {} layers, {:.3} billion parameters, {} tensors in {} file(s), {:.2} GB",
        shape.arch.name(),
        shape.n_blocks(),
        shape.n_params() as f64 / 1e9,
        plan.files.iter().map(|file| file.tensors.len()).sum::<usize>(),
        plan.files.len(),
        total as f64 / 1e9
    );
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
    let bar = ProgressBar::new(total).with_style(ProgressStyle::with_template(
        "{wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}",
    )?);
    let start = Instant::now();
    let written = write_plan(&plan, cli.seed, &folder, |n_bytes| {
        bar.inc(n_bytes);
        if stopped.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "stopped"));
        }
        Ok(())
    });
    bar.finish_and_clear();
    match written {
        Err(_) if stopped.load(Ordering::Relaxed) => bail!("stopped; nothing was left behind"),
        Err(error) => bail!("could not write to {}: {error}", folder.display()),
        Ok(files) => files.iter().for_each(|file| println!("{}", file.display())),
    }
    eprintln!("written in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// What to write, and the folder to write to.
fn plan(cli: &Cli) -> Result<(Plan, Shape, PathBuf)> {
    let shape = shape(cli).map_err(|error| anyhow!(error))?;
    let is_gguf_name = cli.out.extension().is_some_and(|extension| extension == "gguf");
    let format = cli.format.unwrap_or(if is_gguf_name { Format::Gguf } else { Format::Safetensors });
    let default = if format == Format::Gguf { "Q8_0" } else { "BF16" };
    let quant = Quant::parse(cli.quant.as_deref().unwrap_or(default)).map_err(|error| anyhow!(error))?;
    let (container, stem, folder) = match format {
        Format::Safetensors if cli.legacy_kv_b => bail!("--legacy-kv-b is a form of GGUF files; safetensors have none"),
        Format::Safetensors if is_gguf_name => bail!("safetensors are written to a folder; take `.gguf` off OUT"),
        Format::Safetensors => {
            if cli.out.is_file() {
                bail!("{} is a file; safetensors are written to a folder", cli.out.display());
            }
            (Container::Safetensors, String::new(), cli.out.clone())
        }
        Format::Gguf => {
            if !is_gguf_name {
                bail!("OUT is {}; a GGUF file's name ends with `.gguf`", cli.out.display());
            }
            let stem = cli.out.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let folder = cli.out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (Container::Gguf { legacy_kv_b: cli.legacy_kv_b }, stem, folder.to_owned())
        }
    };
    if cli.legacy_kv_b && !shape.arch.is_deepseek() {
        bail!("--legacy-kv-b belongs to deepseek_v2 and deepseek_v3; {} has no attn_kv_b", shape.arch.name());
    }
    let plan = Plan::new(&shape, quant, container, &stem, cli.split).map_err(|error| anyhow!(error))?;
    if format == Format::Safetensors && cli.force && cli.out.is_dir() {
        // Shards of an older model would lie beside the new ones.
        for entry in fs::read_dir(&cli.out)? {
            let path = entry?.path();
            if path.to_string_lossy().contains(".safetensors") {
                fs::remove_file(path)?;
            }
        }
    }
    Ok((plan, shape, folder))
}

fn shape(cli: &Cli) -> Result<Shape, String> {
    let name = cli.preset.as_deref().or(cli.arch.as_deref()).unwrap_or_default();
    let n_archs = aloud_make_model::Arch::ALL.len();
    if cli.arch.is_some() && !PRESETS[..n_archs].iter().any(|(known, ..)| *known == name) {
        let names: Vec<&str> = PRESETS[..n_archs].iter().map(|(name, ..)| *name).collect();
        return Err(format!("there is no architecture `{name}`; there are {}", names.join(", ")));
    }
    let mut shape = Shape::preset(name)?;
    let flags = [("num_hidden_layers", cli.layers), ("n_routed_experts", cli.experts), ("hidden_size", cli.hidden)];
    for (key, value) in flags {
        if let Some(value) = value {
            shape.set(key, &value.to_string())?;
        }
    }
    if let Some(layers) = cli.layers.filter(|_| shape.arch.is_deepseek()) {
        // A model cut short keeps layers with experts.
        shape.first_k_dense_replace = shape.first_k_dense_replace.min(layers.saturating_sub(1));
    }
    for setting in &cli.settings {
        let (key, value) = setting.split_once('=').ok_or(format!("`{setting}`: expected key=value"))?;
        shape.set(key, value)?;
    }
    if cli.mtp {
        if shape.arch != aloud_make_model::Arch::DeepseekV3 {
            return Err(format!("--mtp belongs to deepseek_v3; {} has no such layer", shape.arch.name()));
        }
        shape.num_nextn_predict_layers = 1;
    }
    if shape.arch.is_deepseek() {
        shape.num_key_value_heads = shape.num_attention_heads;
    }
    Ok(shape)
}
