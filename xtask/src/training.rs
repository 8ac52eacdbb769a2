//! `cargo xtask train`: how tiny-r1 was made, and the tests of its questions.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{reference, run, setup, workspace};

/// What the tests of the generator import; PyTorch, which is large, they do not.
const FOR_QUESTIONS: &[&str] = &["tokenizers", "jinja2", "pytest"];

/// The pinned packages of `training/requirements.txt`, one a line.
pub fn requirements() -> Result<Vec<String>> {
    let path = folder().join("requirements.txt");
    let text = std::fs::read_to_string(&path).with_context(|| format!("`{}`", path.display()))?;
    Ok(text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect())
}

/// Runs the recipe with these arguments, in the Python of `cargo xtask reference`.
pub fn train(args: &[String]) -> Result<()> {
    let python = reference::reference()?;
    run::run("The recipe of tiny-r1", Command::new(python).arg("run.py").args(args).current_dir(folder()))
}

/// The generator of the questions against an independent solver.
pub fn questions() -> Result<()> {
    setup::pip()?;
    let packages = workspace::target_dir()?.join("training-python");
    let pins: Vec<String> =
        requirements()?.into_iter().filter(|pin| FOR_QUESTIONS.iter().any(|name| is_pin_of(pin, name))).collect();
    let stamp = packages.join("pins.txt");
    if std::fs::read_to_string(&stamp).ok() != Some(pins.join("\n")) {
        run::run(
            "What the generator of questions and its tests import",
            Command::new("python3")
                .args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"])
                .arg(&packages)
                .args(&pins),
        )?;
        std::fs::write(&stamp, pins.join("\n"))?;
    }
    run::run(
        "The questions that tiny-r1 is trained on, against a solver that reads their English",
        Command::new("python3")
            .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_tasks.py"])
            .env("PYTHONPATH", std::env::join_paths([packages, folder()])?)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(folder()),
    )
}

fn is_pin_of(pin: &str, name: &str) -> bool {
    pin.strip_prefix(name).is_some_and(|rest| rest.starts_with("=="))
}

fn folder() -> PathBuf {
    workspace::root().join("training")
}
