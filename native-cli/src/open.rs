//! From the flags to a loaded model, or to its header alone.

use crate::args::{ModelArgs, Talk};
use crate::{builtin, tunings};
use aloud::{
    ByteSource, FileSource, FormatError, Gguf, Header, LoadOptions, MemorySource, Model, ModelFiles, Progress,
};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use pollster::block_on;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which model a command works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// The one that the program brings along.
    BuiltIn,
    /// A file or folder.
    At(&'a Path),
}

/// The model that was named; if none was, the built-in one, of which a line on stderr tells.
pub fn which(named: Option<&PathBuf>, talk: Talk) -> Which<'_> {
    match named {
        Some(path) if path.as_os_str() == builtin::NAME && !path.exists() => Which::BuiltIn,
        Some(path) => Which::At(path),
        None => {
            if !talk.quiet {
                eprintln!("{}", builtin::line());
            }
            Which::BuiltIn
        }
    }
}

impl Which<'_> {
    /// Its files, opened.
    pub fn files(self) -> Result<ModelFiles<Source>> {
        Ok(match self {
            Which::BuiltIn => builtin::files().map(Source::BuiltIn),
            Which::At(path) => ModelFiles::open(path)?.map(Source::File),
        })
    }
}

impl std::fmt::Display for Which<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Which::BuiltIn => f.write_str(builtin::NAME),
            Which::At(path) => path.display().fmt(f),
        }
    }
}

/// Where a model's bytes come from.
#[derive(Debug)]
pub enum Source {
    /// The disk.
    File(FileSource),
    /// The program itself.
    BuiltIn(MemorySource<&'static [u8]>),
}

impl ByteSource for Source {
    fn len(&self) -> u64 {
        match self {
            Source::File(file) => file.len(),
            Source::BuiltIn(bytes) => bytes.len(),
        }
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        match self {
            Source::File(file) => file.read_at(offset, buf).await,
            Source::BuiltIn(bytes) => bytes.read_at(offset, buf).await,
        }
    }

    fn name(&self) -> &str {
        match self {
            Source::File(file) => file.name(),
            Source::BuiltIn(bytes) => bytes.name(),
        }
    }
}

/// Loads the model with a progress bar, knowing what was measured before.
pub fn model(which: Which<'_>, args: &ModelArgs, options: &LoadOptions, talk: Talk) -> Result<Model> {
    let tunings = if options.tune.is_some() { tunings::read() } else { BTreeMap::new() };
    model_as_told(which, args, &LoadOptions { tunings, ..options.clone() }, talk)
}

/// Loads the model with a progress bar.
pub fn model_as_told(which: Which<'_>, args: &ModelArgs, options: &LoadOptions, talk: Talk) -> Result<Model> {
    let bar = bar(talk, "loading {wide_bar} {bytes}/{total_bytes}");
    let options = LoadOptions { available_bytes: available_bytes(), ..options.clone() };
    let files = which.files()?;
    let loaded = block_on(Model::load(files, &options, |Progress { loaded_bytes, total_bytes }| {
        bar.set_length(total_bytes);
        bar.set_position(loaded_bytes);
        if loaded_bytes == total_bytes {
            bar.set_style(style("compiling kernels"));
            bar.tick();
        }
    }));
    bar.finish_and_clear();
    let model = loaded?;
    if let (false, Err(error)) = (model.tuned().is_empty(), tunings::keep(model.tuning())) {
        // The next run measures again; nobody has to know, unless they ask.
        if talk.verbose {
            eprintln!("not kept what was measured: {error:#}");
        }
    }
    if talk.verbose {
        describe(&model, args);
    }
    Ok(model)
}

fn describe(model: &Model, args: &ModelArgs) {
    let (adapter, resident) = (&model.gpu().adapter, model.resident());
    let subgroups = if uses_subgroups(model, args) { "with subgroups" } else { "without subgroups" };
    eprintln!("device: {} ({}, {}), {subgroups}", adapter.name, adapter.kind, adapter.backend);
    let [held, activations] = [resident.held_bytes, resident.activation_bytes].map(crate::text::bytes);
    eprintln!("memory: {held} of weights and cache, {activations} of activations");
    eprintln!("context: {} tokens", model.n_ctx());
}

/// Whether kernels with subgroup operations may run.
pub fn uses_subgroups(model: &Model, args: &ModelArgs) -> bool {
    !args.no_subgroups && model.gpu().adapter.subgroup_sizes.is_some()
}

/// A bar on stderr, if that is a terminal and progress is wanted.
pub fn bar(talk: Talk, template: &str) -> ProgressBar {
    if talk.quiet { ProgressBar::hidden() } else { ProgressBar::new(0).with_style(style(template)) }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("templates are constants")
}

/// Main memory that a new program can have, where the system says so.
fn available_bytes() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The header of a model whose weights may be missing.
pub fn header(which: Which<'_>) -> Result<Header> {
    match which.files()? {
        ModelFiles::Gguf(parts) => Ok(Header::of_gguf(gguf(&parts)?)?),
        folder => Ok(block_on(Header::read(&folder))?),
    }
}

/// The joined headers of all parts of a GGUF model whose weights may be missing.
pub fn gguf(parts: &[Source]) -> Result<Gguf> {
    let (first, rest) = parts.split_first().expect("an opened model has a file");
    let mut whole = block_on(Gguf::open_header(first))?;
    for (i, part) in rest.iter().enumerate() {
        let tensors = block_on(Gguf::open_header(part))?.tensors;
        whole.tensors.extend(tensors.into_iter().map(|t| aloud::TensorInfo { file: i + 1, ..t }));
    }
    Ok(whole)
}
