//! `cargo xtask test`: all that CI runs.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::{check, kernel_report, run, setup, training, vulkan, web};

/// A part of the whole, and what runs it.
type Stage = (&'static str, fn() -> Result<()>);

const STAGES: &[Stage] = &[
    ("setup", setup::everything),
    ("checks", check::check),
    ("tests on the host", host),
    ("tests of the questions", training::questions),
    ("kernels for GPUs that are not here", kernel_report::in_ci),
    // Last, because nothing is printed after its summary.
    ("tests in the browser", || web::test(&[])),
];

/// Sets everything up, then runs the checks, the native tests and the browser tests; the first failure stops it.
///
/// Nothing is printed after the last test runner's own summary.
pub fn all() -> Result<()> {
    let mut done: Vec<String> = Vec::new();
    for (index, (name, stage)) in STAGES.iter().enumerate() {
        eprintln!("\n=== Stage {} of {}: {name}", index + 1, STAGES.len());
        if !done.is_empty() {
            eprintln!("    done: {}", done.join(", "));
        }
        let start = Instant::now();
        stage().with_context(|| format!("stage {} of {}, {name}", index + 1, STAGES.len()))?;
        done.push(format!("{name} {:.0} s", start.elapsed().as_secs_f64()));
    }
    Ok(())
}

fn host() -> Result<()> {
    let mut command = run::cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    vulkan::set_env(&mut command, vulkan::CpuDrivers::All)?;
    run::run("Tests on the host, on every Vulkan adapter found", &mut command)
}
