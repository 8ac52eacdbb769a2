//! `aloud tokenize`: a text's token ids.

use crate::args::{Talk, TokenizeArgs};
use crate::{open, text};
use aloud::{Detokenizer, Special, Tokenizer};
use anyhow::Result;
use serde_json::json;
use std::io::Write;

/// Runs it.
pub fn run(args: TokenizeArgs, talk: Talk) -> Result<()> {
    let text = text::argument_or_stdin(args.text, "text")?;
    let tokenizer = open::header(open::which(args.model.as_ref(), talk))?.tokenizer;
    let ids = tokenizer.encode(&text, special(args.special))?;
    let pieces = pieces(&tokenizer, &ids);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if args.json {
        writeln!(out, "{}", json!({ "ids": ids, "pieces": pieces }))?;
    } else {
        for (id, piece) in ids.iter().zip(&pieces) {
            writeln!(out, "{id:>7}  {piece:?}")?;
        }
    }
    Ok(out.flush()?)
}

/// What the flag means.
pub fn special(parse: bool) -> Special {
    if parse { Special::Parse } else { Special::AsText }
}

/// The text that each token completes; the name of a token that prints nothing.
fn pieces(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    let mut detokenizer = Detokenizer::new(tokenizer);
    let mut pieces: Vec<String> = ids
        .iter()
        .map(|&id| match tokenizer.token_text(id) {
            Some(name) if tokenizer.is_control(id) => name.to_owned(),
            _ => detokenizer.push(id),
        })
        .collect();
    if let Some(last) = pieces.last_mut() {
        last.push_str(&detokenizer.finish());
    }
    pieces
}
