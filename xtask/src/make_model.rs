//! `cargo xtask make-model`: a program of its own, because it has to be fast and this one has to build quickly.

use anyhow::Result;

use crate::run;

/// Builds `aloud-make-model` with optimisation and runs it with `args`, paths relative to where the caller stands.
pub fn make_model(args: &[String]) -> Result<()> {
    let mut command = run::cargo();
    command.args(["run", "--quiet", "--release", "-p", "aloud-make-model", "--manifest-path"]);
    command.arg(crate::workspace::root().join("Cargo.toml")).arg("--").args(args);
    command.current_dir(std::env::current_dir()?);
    run::run_last("Write the model (the first build takes half a minute)", &mut command)
}
