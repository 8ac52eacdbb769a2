//! `aloud logits`: what one compares engines by.

use crate::args::{LogitsArgs, Talk};
use crate::commands::tokenize::special;
use crate::failure::Usage;
use crate::npy::NpyWriter;
use crate::{open, text};
use aloud::Model;
use anyhow::Result;
use std::io::{BufWriter, Write};

/// Runs it.
pub fn run(mut args: LogitsArgs, talk: Talk) -> Result<()> {
    let which = open::which(args.model.model.as_ref(), talk);
    let ids = match args.ids.take() {
        Some(ids) => ids,
        None => {
            let text = text::argument_or_stdin(args.text.take(), "text, and no --ids")?;
            open::header(which)?.tokenizer.encode(&text, special(args.special))?
        }
    };
    if ids.is_empty() {
        return Err(Usage("no tokens: give a text that is not empty, or --ids 1,2,3".into()).into());
    }
    let mut model = open::model(which, &args.model, &args.model.load_options(), talk)?;
    match &args.output {
        Some(path) => {
            let n_vocab = model.header().config.vocab_size as usize;
            let shape = if args.all { vec![ids.len(), n_vocab] } else { vec![n_vocab] };
            let mut file = NpyWriter::create(path, &shape)?;
            each_row(&mut model, &ids, args.all, |_, row| file.write(row))?;
            file.finish()
        }
        None => json(&mut model, &ids, args.all),
    }
}

/// Row by row: all of them together may be large.
fn json(model: &mut Model, ids: &[u32], all: bool) -> Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    write!(out, "{{\"ids\":{},\"logits\":", serde_json::to_string(ids)?)?;
    each_row(model, ids, all, |position, row| {
        if all {
            out.write_all(if position == 0 { b"[" } else { b"," })?;
        }
        serde_json::to_writer(&mut out, row).map_err(std::io::Error::from)
    })?;
    writeln!(out, "{}}}", if all { "]" } else { "" })?;
    Ok(out.flush()?)
}

fn each_row(
    model: &mut Model,
    ids: &[u32],
    all: bool,
    mut write: impl FnMut(usize, &[f32]) -> std::io::Result<()>,
) -> Result<()> {
    let mut written = Ok(());
    pollster::block_on(model.logits(ids, |position, row| {
        if written.is_ok() && (all || position + 1 == ids.len()) {
            written = write(position, row);
        }
    }))?;
    Ok(written?)
}
