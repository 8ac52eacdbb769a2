//! `cargo xtask reference`: the Python that goldens are made with.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::{run, training, workspace};

/// PyTorch's CPU build comes from its own index.
const TORCH_CPU_INDEX: &str = "https://download.pytorch.org/whl/cpu";

/// Makes `target/reference-venv` with the packages of `training/requirements.txt`, unless it is there with these very pins,
/// and returns its interpreter.
pub fn reference() -> Result<PathBuf> {
    let (torch, packages): (Vec<_>, Vec<_>) =
        training::requirements()?.into_iter().partition(|pin| pin.starts_with("torch=="));
    let venv = workspace::target_dir()?.join("reference-venv");
    let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let stamp = venv.join("pins.txt");
    let pins = [&torch[..], &packages[..]].concat().join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == pins) {
        eprintln!("{} is up to date", venv.display());
        return Ok(python);
    }
    if !run::exists("python3") {
        bail!(
            "python3 is missing; install Python 3.11 or newer with its venv module (Debian: apt-get install python3-venv)"
        );
    }
    run::run(
        "A Python of its own, so that nothing else on this machine changes",
        Command::new("python3").args(["-m", "venv"]).arg(&venv),
    )?;
    let pip = || {
        let mut command = Command::new(&python);
        command.args(["-m", "pip", "install"]);
        command
    };
    let cpu_build = run::run(
        "PyTorch in its CPU build, which is small",
        pip().args(["--retries", "1", "--timeout", "20", "--index-url", TORCH_CPU_INDEX]).args(&torch),
    );
    if cpu_build.is_err() {
        run::run("PyTorch from PyPI instead: its own index did not answer (several GB)", pip().args(&torch))?;
    }
    run::run("What the goldens are compared with, and what the training imports", pip().args(&packages))?;
    std::fs::write(&stamp, pins)?;
    Ok(python)
}
