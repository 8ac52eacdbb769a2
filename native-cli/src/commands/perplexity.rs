//! `aloud perplexity`: how well a model predicts a text.

use crate::args::{PerplexityArgs, Talk};
use crate::failure::Usage;
use crate::open;
use aloud::{LoadOptions, Model, Special};
use anyhow::{Context, Result};
use serde_json::json;
use std::io::Write;

/// Tokens per chunk if none are asked for; what llama.cpp takes too.
const DEFAULT_CTX: u32 = 512;

/// Runs it.
pub fn run(args: &PerplexityArgs, talk: Talk) -> Result<()> {
    let which = open::which(args.model.model.as_ref(), talk);
    let header = open::header(which)?;
    let text = std::fs::read_to_string(&args.file).with_context(|| format!("`{}`", args.file.display()))?;
    let ids = header.tokenizer.encode(&text, Special::AsText)?;
    let most = header.config.max_position_embeddings;
    let size = args.model.ctx_size.unwrap_or(DEFAULT_CTX.min(most)) as usize;
    // A text shorter than one chunk is a chunk of its own.
    let size = size.min(ids.len());
    if size < 4 {
        return Err(Usage(format!("`{}` has {} tokens: expected at least 4", args.file.display(), ids.len())).into());
    }
    let n_chunks = (ids.len() / size).min(args.chunks.map_or(usize::MAX, |n| n as usize));
    let options = LoadOptions { n_ctx: Some(size as u32), ..args.model.load_options() };
    let mut model = open::model(which, &args.model, &options, talk)?;
    let bos = header.tokenizer.bos().filter(|_| header.tokenizer.adds_bos());
    let bar = open::bar(talk, "chunk {pos}/{len} {wide_bar} {msg}");
    bar.set_length(n_chunks as u64);
    let mut sum = Losses::default();
    for chunk in ids.chunks_exact(size).take(n_chunks) {
        score(&mut model, chunk, bos, &mut sum)?;
        bar.inc(1);
        bar.set_message(format!("{:.4}", sum.perplexity().0));
    }
    bar.finish_and_clear();
    report(&sum, n_chunks, size, ids.len(), args.json)
}

fn report(sum: &Losses, n_chunks: usize, size: usize, n_tokens: usize, as_json: bool) -> Result<()> {
    let (perplexity, error) = sum.perplexity();
    let mut out = std::io::stdout().lock();
    if as_json {
        let scored = sum.n;
        writeln!(
            out,
            "{}",
            json!({
                "perplexity": perplexity,
                "error": error,
                "chunks": n_chunks,
                "chunk_tokens": size,
                "scored_tokens": scored,
                "text_tokens": n_tokens,
            })
        )?;
    } else {
        writeln!(out, "perplexity {perplexity:.4} ± {error:.4}")?;
        writeln!(out, "{} of {n_tokens} tokens predicted, in {n_chunks} chunks of {size}", sum.n)?;
    }
    Ok(())
}

/// Predicts the second half of a chunk. As llama.cpp does, BOS takes the place of the first token if the model wants one.
fn score(model: &mut Model, chunk: &[u32], bos: Option<u32>, sum: &mut Losses) -> Result<()> {
    let first = chunk.len() / 2;
    let mut ids = chunk.to_vec();
    if let Some(bos) = bos {
        ids[0] = bos;
    }
    pollster::block_on(model.logits(&ids, |position, row| {
        if position >= first && position + 1 < chunk.len() {
            sum.add(negative_log_likelihood(row, chunk[position + 1]));
        }
    }))?;
    Ok(())
}

/// -log softmax(row)[id].
fn negative_log_likelihood(row: &[f32], id: u32) -> f64 {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&v| f64::from(v - most).exp()).sum();
    sum.ln() - f64::from(row[id as usize] - most)
}

#[derive(Default)]
struct Losses {
    n: usize,
    sum: f64,
    sum_of_squares: f64,
}

impl Losses {
    fn add(&mut self, loss: f64) {
        self.n += 1;
        self.sum += loss;
        self.sum_of_squares += loss * loss;
    }

    /// Perplexity and its standard error, propagated from that of the mean loss.
    fn perplexity(&self) -> (f64, f64) {
        let n = self.n as f64;
        let mean = self.sum / n;
        let variance = (self.sum_of_squares / n - mean * mean).max(0.0);
        let perplexity = mean.exp();
        (perplexity, perplexity * (variance / (n - 1.0).max(1.0)).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_odds_of_four_are_a_perplexity_of_four() {
        let mut sum = Losses::default();
        for id in 0..4 {
            sum.add(negative_log_likelihood(&[80.0; 4], id));
        }
        let (perplexity, error) = sum.perplexity();
        assert!((perplexity - 4.0).abs() < 1e-12 && error < 1e-6, "{perplexity} {error}");
    }
}
