//! `cargo xtask demo`: from a fresh clone to an answer.

use anyhow::Result;

use crate::{run, setup, vulkan};

/// What is asked if nothing else is.
pub const QUESTION: &str = "A red box is on the bottom, a blue one on top of it, a yellow one on top of that. \
    Take the blue box out and put it on top. Describe the stack.";

/// Sets up the Vulkan driver that a native answer needs, and asks the built-in model `question`.
pub fn demo(question: &str) -> Result<()> {
    setup::vulkan_driver()?;
    if !vulkan::has_gpu() {
        eprintln!("\nNo GPU here: the model runs on lavapipe, Mesa's CPU driver for Vulkan, and is slow.");
    }
    let mut command = run::cargo();
    command.args(["run", "--release", "-p", "aloud-cli", "--bin", "aloud", "--", "ask"]).arg(question);
    // Whatever is in the environment: the demo shows the built-in model.
    command.env_remove("ALOUD_MODEL");
    // A pipe that stays open would be waited for as a part of the question.
    command.stdin(std::process::Stdio::null());
    vulkan::set_env(&mut command, vulkan::CpuDrivers::Lavapipe)?;
    run::run(
        "Build the engine with optimisation and ask its built-in model (the first build takes minutes)",
        &mut command,
    )
}
