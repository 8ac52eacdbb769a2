//! The `aloud` command.

mod args;
mod builtin;
mod commands;
mod drafts;
mod failure;
mod interrupt;
mod npy;
mod open;
mod print;
mod text;
mod trace;
mod tunings;

use args::Command;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

static START: OnceLock<Instant> = OnceLock::new();

/// How long the program has been running.
fn since_start() -> Duration {
    START.get_or_init(Instant::now).elapsed()
}

fn main() -> ExitCode {
    since_start();
    let cli = args::parse();
    let talk = cli.talk;
    let done = interrupt::listen().and_then(|()| match cli.command {
        Command::Ask(args) => commands::ask::run(args, talk),
        Command::Chat(args) => commands::chat::run(args, talk),
        Command::Inspect(args) => commands::inspect::run(&args, talk),
        Command::Devices(args) => commands::devices::run(&args),
        Command::Bench(args) => commands::bench::run(&args, talk),
        Command::Logits(args) => commands::logits::run(args, talk),
        Command::Tokenize(args) => commands::tokenize::run(args, talk),
        Command::Tune(args) => commands::tune::run(&args, talk),
        Command::Perplexity(args) => commands::perplexity::run(&args, talk),
        Command::Completions(args) => commands::completions::run(&args),
    });
    failure::exit_code(done)
}
