//! `cargo xtask demo`: from a fresh clone to an answer.

use anyhow::Result;

use crate::{assets, run, setup, vulkan};

/// Sets up what a native answer needs (a Vulkan driver and a model) and asks `question`.
pub fn demo(question: &str) -> Result<()> {
    setup::vulkan_driver()?;
    let model = assets::fetch(&assets::SMOLLM2)?;
    if !vulkan::has_gpu() {
        eprintln!("\nNo GPU here: the model runs on lavapipe, Mesa's CPU driver for Vulkan, and is slow.");
    }
    let mut command = run::cargo();
    command.args(["run", "--release", "-p", "aloud-cli", "--bin", "aloud", "--", "ask", "-m"]).arg(model).arg(question);
    // A pipe that stays open would be waited for as a part of the question.
    command.stdin(std::process::Stdio::null());
    vulkan::set_env(&mut command, vulkan::CpuDrivers::Lavapipe)?;
    run::run("Build the engine with optimisation and ask the model (the first build takes minutes)", &mut command)
}
