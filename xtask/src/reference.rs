//! `cargo xtask reference`: the Python that goldens are made with.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{run, workspace};

/// PyTorch apart from the others, because its CPU build comes from its own index.
const TORCH: &str = "torch==2.15.0";
const TORCH_CPU_INDEX: &str = "https://download.pytorch.org/whl/cpu";
const PACKAGES: &[&str] =
    &["transformers==5.23.0", "tokenizers==0.23.3", "safetensors==0.8.0", "gguf==0.19.0", "numpy==2.4.6"];

/// Makes `target/reference-venv` with pinned packages, unless it is there with these very pins.
pub fn reference() -> Result<()> {
    let venv = workspace::target_dir()?.join("reference-venv");
    let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let stamp = venv.join("pins.txt");
    let pins = format!("{TORCH}\n{}\n", PACKAGES.join("\n"));
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == pins) {
        eprintln!("{} is up to date", venv.display());
        return Ok(());
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
        pip().args(["--retries", "1", "--timeout", "20", "--index-url", TORCH_CPU_INDEX, TORCH]),
    );
    if cpu_build.is_err() {
        run::run("PyTorch from PyPI instead: its own index did not answer (several GB)", pip().arg(TORCH))?;
    }
    run::run("What the goldens are compared with", pip().args(PACKAGES))?;
    std::fs::write(&stamp, pins)?;
    eprintln!("\nRun golden scripts with {}", python.display());
    Ok(())
}
