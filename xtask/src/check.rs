//! `cargo xtask check`: everything that can be said without running a kernel.

use anyhow::Result;

use crate::{run, setup, workspace};

/// Formatting, lints on the host and on wasm32, documentation, tidy.
pub fn check() -> Result<()> {
    setup::wasm_target()?;
    run::run("Formatting", run::cargo().args(["fmt", "--all", "--check"]))?;
    run::run(
        "Structure: imports, file sizes, leftovers, changelog",
        // Of the workspace: one package alone is built with other features, and so all that it needs is built twice.
        run::cargo().args(["test", "--workspace", "--test", "tidy", "--", "--show-output"]),
    )?;
    run::run(
        "Lints on the host",
        run::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    )?;
    run::run(
        "Lints of all that reaches the browser, as wasm32",
        wasm32_cargo("clippy")?.args(["--", "-D", "warnings"]),
    )?;
    run::run(
        "Documentation: builds, and no link is broken",
        run::cargo().args(["doc", "--workspace", "--lib", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// Builds every library crate for the browser's target.
pub fn wasm32() -> Result<()> {
    setup::wasm_target()?;
    run::run("Every library crate builds for the browser", &mut wasm32_cargo("build")?)
}

fn wasm32_cargo(verb: &str) -> Result<std::process::Command> {
    let mut command = run::cargo();
    command.args([verb, "--target", setup::WASM_TARGET]);
    for name in workspace::wasm32_crates()? {
        command.args(["-p", &name]);
    }
    Ok(command)
}
