//! `cargo xtask bench-peers`: Aloud beside other engines, on one machine and one adapter.
//!
//! What every engine is asked stands in `tests/peers/task.json`; each script there measures one round of one engine.

mod engines;
mod idle;
mod install;
mod table;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use engines::{Engine, Round};
use install::Place;

use crate::{run, web, workspace};

/// What `--help` says at its end.
pub const MORE: &str = "\
Natively: llama.cpp's Vulkan backend. In headless Chromium: wllama, onnxruntime-web and transformers.js, on \
WebGPU. All run SmolLM2-135M in 4 bits on Mesa's lavapipe, a Vulkan driver for the CPU, which a copy of \
Chromium is made to take for its own. tiny-r1 is measured in Chromium as it is, on SwiftShader.

Every round measures each engine once, in turn and in a process of its own: after a warm-up, a prompt of 128 \
tokens with nothing cached, then 32 tokens of an answer. Medians and ranges go to docs/performance.md, beside \
the bars. Leave the machine alone meanwhile: before each engine it waits a minute for other programs, and says \
in the table when they were busy all the same.

The first run builds llama.cpp (7 minutes on 2 cores) and fetches PyTorch to make an ONNX graph; later runs \
take some 4 minutes a round. Everything lies in target/peers, target/reference-venv and \
tests/peers/node_modules, and can be deleted.

Examples:
  cargo xtask bench-peers
  cargo xtask bench-peers --only native --rounds 1";

const DOCUMENT: &str = "docs/performance.md";
/// Between these lines the document is written by this program.
const MARKS: [&str; 2] =
    ["<!-- written by cargo xtask bench-peers: begin -->", "<!-- written by cargo xtask bench-peers: end -->"];

/// How to compare.
#[derive(clap::Args)]
pub struct Options {
    /// How often every engine is measured, by turns
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Compare a part; then the table is printed and not written
    #[arg(long, value_enum)]
    only: Option<Part>,
}

/// What can be compared alone. Aloud itself is always measured natively, for the ratios.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    Native,
    Browser,
}

/// Sets up what is missing, measures, and writes the table.
pub fn bench_peers(options: &Options) -> Result<()> {
    let wanted = |engine: &Engine| match options.only {
        None => true,
        Some(part) => *engine == Engine::Native || engine.is_in_browser() == (part == Part::Browser),
    };
    let engines: Vec<Engine> = Engine::ALL.into_iter().filter(wanted).collect();
    let place = Place::set_up(&engines)?;
    let Measured { of_engines, failures, n_disturbed } = measure(&place, &engines, options.rounds);
    let mut about = about(options.rounds, &of_engines)?;
    if n_disturbed > 0 {
        about += &format!(" **Other programs were busy when {n_disturbed} measurements began.**");
    }
    let text = table::markdown(&of_engines, &about);
    println!("\n{text}");
    ensure!(
        failures.is_empty(),
        "not every engine could be measured, so nothing was written:\n{}",
        failures.join("\n")
    );
    if options.only.is_none() {
        write(&text)?;
    }
    Ok(())
}

/// What came of all rounds.
struct Measured {
    /// Of every engine that could be measured.
    of_engines: Vec<(Engine, Vec<Round>)>,
    /// What went wrong.
    failures: Vec<String>,
    /// How often other programs were busy.
    n_disturbed: usize,
}

fn measure(place: &Place, engines: &[Engine], rounds: u32) -> Measured {
    let mut of_engines: Vec<(Engine, Vec<Round>)> = engines.iter().map(|&engine| (engine, Vec::new())).collect();
    let (mut failures, mut n_disturbed) = (Vec::new(), 0);
    for round in 1..=rounds {
        eprintln!("\n==> Round {round} of {rounds}: tokens/s of the prompt, of the answer, and how the answer begins");
        for (engine, of_engine) in &mut of_engines {
            n_disturbed += usize::from(!idle::wait());
            match engine.measure(place) {
                Ok(round) => {
                    let Round { prefill, decode, text, .. } = &round;
                    eprintln!("    {:<44}{prefill:8.2} {decode:8.2}  {}", engine.name(), table::beginning(text));
                    of_engine.push(round);
                }
                Err(error) => {
                    eprintln!("    {:<44} failed", engine.name());
                    failures.push(format!("{}, round {round}: {error:#}", engine.name()));
                }
            }
        }
    }
    of_engines.retain(|(_, rounds)| !rounds.is_empty());
    Measured { of_engines, failures, n_disturbed }
}

/// Where and when, in a sentence.
fn about(rounds: u32, measured: &[(Engine, Vec<Round>)]) -> Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of_cpu = |key: &str| {
        let line = cpu.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key));
        line.and_then(|line| line.split(':').nth(1)).map_or("unknown", str::trim)
    };
    let cores = std::thread::available_parallelism()?;
    let native = measured.iter().find(|(engine, _)| *engine == Engine::Native);
    let driver = native.map_or("lavapipe", |(_, rounds)| &rounds[0].device);
    let ask = |command: &mut Command| run::ask(command).unwrap_or_else(|| "unknown".into());
    let chromium = ask(Command::new(web::chromium()).arg("--version"));
    let chromium: Vec<&str> = chromium.split(' ').take(2).collect();
    let commit = ask(Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(workspace::root()));
    Ok(format!(
        "{cores} cores of {} (family {}, model {}), {driver}, {}; {}, commit {commit}; rounds: {rounds}, medians.",
        of_cpu("model name"),
        of_cpu("cpu family"),
        of_cpu("model"),
        chromium.join(" "),
        ask(Command::new("date").arg("+%F")),
    ))
}

/// Puts the table between the document's marks.
fn write(text: &str) -> Result<()> {
    let path = workspace::root().join(DOCUMENT);
    let document = fs::read_to_string(&path).with_context(|| DOCUMENT)?;
    let replaced = between(&document, text).with_context(|| format!("{DOCUMENT} lacks the lines {MARKS:?}"))?;
    fs::write(&path, replaced)?;
    eprintln!("wrote {DOCUMENT}");
    Ok(())
}

fn between(document: &str, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(MARKS[0])?;
    let (_, after) = rest.split_once(MARKS[1])?;
    Some(format!("{before}{}\n\n{}\n\n{}{after}", MARKS[0], text.trim_end(), MARKS[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_keeps_what_is_around_the_table() {
        let [begin, end] = MARKS;
        let once = between(&format!("# A\n\n{begin}\nold\n{end}\n\nB\n"), "new\n").unwrap();
        assert_eq!(once, format!("# A\n\n{begin}\n\nnew\n\n{end}\n\nB\n"));
        assert_eq!(between(&once, "new").unwrap(), once);
        assert_eq!(between("no marks", "new"), None);
    }

    #[test]
    fn the_document_has_a_place_for_the_table() {
        let document = fs::read_to_string(workspace::root().join(DOCUMENT)).unwrap();
        assert!(between(&document, "new").is_some());
    }
}
