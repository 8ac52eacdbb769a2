//! Time from the program's start to its first token, against what of it cannot be saved: reading the files, and the prompt.

use super::bench::{Spread, prompt, spread};
use crate::args::ModelArgs;
use crate::open::Which;
use aloud::{ByteSource, ChatOptions, Message, Model, Role};
use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use pollster::block_on;
use serde::Serialize;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What is asked, as often as it takes.
const QUESTION: &str = "A train leaves at nine and arrives at noon. How long is it under way?";
/// Bytes read at once, as loading does.
const READ_BYTES: usize = 4 << 20;

/// Starts by turns with what they are compared with.
#[derive(Serialize)]
pub struct Starts {
    runs: u32,
    prompt_tokens: u32,
    /// From the start of the process to its first output.
    first_token_ms: Spread,
    /// When loading had what.
    loading_ms: Vec<(String, Spread)>,
    /// All files of weights, which the system still had in memory.
    read_ms: Spread,
    /// As many tokens by a model that has been running.
    prefill_ms: Spread,
    /// Of the medians, first token to reading and prefill together.
    ratio: f64,
}

/// Starts the program so many times, with a prompt of as many tokens, or some fewer.
pub fn measure(
    model: &mut Model,
    which: Which<'_>,
    args: &ModelArgs,
    (runs, n_tokens): (u32, u32),
    bar: &ProgressBar,
) -> Result<Starts> {
    let question = question(model, n_tokens)?;
    let (mut first, mut read, mut prefill) = (Vec::new(), Vec::new(), Vec::new());
    let mut loading: Vec<(String, Vec<f64>)> = Vec::new();
    let mut prompt_tokens = 0;
    for run in 0..=runs {
        let started = start(which, args, &question)?;
        prompt_tokens = started.prompt_tokens;
        let read_ms = read_all(which)?;
        let prefill_ms = block_on(model.bench(&prompt(model, prompt_tokens), 1))?.prefill_ms;
        bar.inc(1);
        if run == 0 {
            continue;
        }
        first.push(started.first_token_ms);
        read.push(read_ms);
        prefill.push(prefill_ms);
        for (part, ms) in started.loading_ms {
            match loading.iter_mut().find(|(known, _)| *known == part) {
                Some((_, all)) => all.push(ms),
                None => loading.push((part, vec![ms])),
            }
        }
    }
    let of = |all: Vec<f64>| Spread::of(all.into_iter());
    let (first_token_ms, read_ms, prefill_ms) = (of(first), of(read), of(prefill));
    let ratio = first_token_ms.median / (read_ms.median + prefill_ms.median);
    let loading_ms = loading.into_iter().map(|(part, all)| (part, of(all))).collect();
    Ok(Starts { runs, prompt_tokens, first_token_ms, loading_ms, read_ms, prefill_ms, ratio })
}

/// A question that is asked in so many tokens, template included, or some fewer.
fn question(model: &Model, n_tokens: u32) -> Result<String> {
    let words: Vec<&str> = QUESTION.split(' ').collect();
    let mut question = String::new();
    for word in words.iter().cycle() {
        let longer = if question.is_empty() { (*word).to_owned() } else { format!("{question} {word}") };
        let (ids, _) = model.render(&[Message::new(Role::User, &longer)], &ChatOptions::default())?;
        if !question.is_empty() && ids.len() > n_tokens as usize {
            break;
        }
        question = longer;
    }
    Ok(question)
}

struct Started {
    first_token_ms: f64,
    prompt_tokens: u32,
    loading_ms: Vec<(String, f64)>,
}

/// Runs `aloud ask` for one token, from nothing.
fn start(which: Which<'_>, args: &ModelArgs, question: &str) -> Result<Started> {
    let mut command = Command::new(std::env::current_exe().context("the program's own file")?);
    command.args(["ask", "--json", "--quiet", "--predict", "1", "--temp", "0", "--draft", "off"]);
    command.arg("--model").arg(which.to_string()).args(args.flags()).arg(question);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let begun = Instant::now();
    let mut child = command.spawn().context("starting the program again")?;
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let first_token_ms = begun.elapsed().as_secs_f64() * 1e3;
    let last = lines.last().transpose()?.unwrap_or(first);
    if !child.wait()?.success() {
        bail!("the program that was started to be measured failed");
    }
    let done: Value = serde_json::from_str(&last).context("what `ask --json` printed last")?;
    let prompt_tokens = done["usage"]["prompt_tokens"].as_u64().context("tokens of the prompt")? as u32;
    let loading = done["loading"].as_object().context("what loading took")?;
    let loading_ms =
        loading.iter().filter_map(|(part, ms)| Some((part.trim_end_matches("_ms").to_owned(), ms.as_f64()?))).collect();
    Ok(Started { first_token_ms, prompt_tokens, loading_ms })
}

/// Milliseconds that reading all weights takes.
fn read_all(which: Which<'_>) -> Result<f64> {
    let begun = Instant::now();
    let sources = which.files()?.into_weights();
    let mut buffer = vec![0; READ_BYTES];
    for source in &sources {
        for offset in (0..source.len()).step_by(READ_BYTES) {
            let n = (source.len() - offset).min(READ_BYTES as u64) as usize;
            block_on(source.read_at(offset, &mut buffer[..n]))?;
        }
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

impl Starts {
    /// For people.
    pub fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let name = format!("start, pp{}", self.prompt_tokens);
        let Starts { runs, ratio, .. } = self;
        writeln!(
            out,
            "{name:<16} {} ms from the start of the program to the first token",
            spread(self.first_token_ms, 0)
        )?;
        for (part, ms) in &self.loading_ms {
            writeln!(out, "{:<16} {} ms of loading until it had: {part}", "", spread(*ms, 0))?;
        }
        writeln!(out, "{:<16} {} ms to read the files", "", spread(self.read_ms, 0))?;
        writeln!(out, "{:<16} {} ms for the prompt when all is warm", "", spread(self.prefill_ms, 0))?;
        writeln!(out, "{:<16} {ratio:.2} times reading and prompt, by medians of {runs} starts", "")
    }
}
