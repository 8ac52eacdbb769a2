//! All automation of this repository: `cargo xtask --help`.
//!
//! Every verb prints what it runs and why, can be run again at any time, and skips what is already done.

mod aside;
mod assets;
mod bench_peers;
mod check;
mod demo;
mod kernel_report;
mod lavapipe_chromium;
mod make_model;
mod reference;
mod run;
mod setup;
mod test;
mod training;
mod vulkan;
mod web;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "All automation of this repository",
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Set up what is missing, then answer a question with the built-in model
    Demo {
        /// What to ask
        #[arg(default_value = demo::QUESTION)]
        question: String,
    },
    /// Set up everything, then run every check and every test (what CI runs)
    Test,
    /// Install what is missing: Vulkan driver, wasm target, Chromium, npm packages, test assets
    Setup,
    /// Fetch the test assets into assets/, checked by hash
    Assets,
    /// Formatting, lints on the host and on wasm32, documentation, tidy
    Check,
    /// Build every library crate for wasm32-unknown-unknown
    Wasm32,
    /// Build the npm package into web/dist/
    Web,
    /// Build the npm package and test it in headless Chromium
    TestWeb {
        /// Only these files of web/test, without their ending: `kernels` for `kernels.test.mjs`
        only: Vec<String>,
    },
    /// Build the demo page into web/dist-page/ and serve it on this machine until Ctrl-C
    Page,
    /// Write a model of random weights, any architecture and size, for tests and measurements
    #[command(disable_help_flag = true)]
    MakeModel {
        /// As `cargo xtask make-model --help` explains them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Train tiny-r1 from nothing: hours; `--smoke` runs a little of every stage in minutes
    #[command(disable_help_flag = true)]
    Train {
        /// As `cargo xtask train --help` explains them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Compile every kernel for GPUs that are not here, and write docs/kernels.md
    #[command(disable_help_flag = true)]
    KernelReport {
        /// As `cargo xtask kernel-report --help` explains them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Compare Aloud with other engines on this machine, and write the table into docs/performance.md
    #[command(after_help = bench_peers::MORE)]
    BenchPeers(bench_peers::Options),
    /// Make target/reference-venv, the pinned Python that regenerates goldens (tests do not need it)
    Reference,
}

fn main() -> ExitCode {
    // `{:#}`: the whole chain of causes on one line; a backtrace of this program would help nobody.
    match act(Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Demo { question } => demo::demo(&question),
        Verb::Test => test::all(),
        Verb::Setup => setup::everything(),
        Verb::Assets => assets::fetch_all(),
        Verb::Check => check::check(),
        Verb::Wasm32 => check::wasm32(),
        Verb::Web => {
            setup::for_web()?;
            web::package()
        }
        Verb::TestWeb { only } => {
            setup::for_web()?;
            web::test(&only)
        }
        Verb::Page => {
            setup::for_web()?;
            web::page()
        }
        Verb::MakeModel { args } => make_model::make_model(&args),
        Verb::Train { args } => training::train(&args),
        Verb::KernelReport { args } => kernel_report::kernel_report(&args),
        Verb::BenchPeers(options) => bench_peers::bench_peers(&options),
        Verb::Reference => {
            let python = reference::reference()?;
            eprintln!("\nRun golden scripts with {}", python.display());
            Ok(())
        }
    }
}
