//! `aloud completions`: the completion script of a shell.

use crate::args::{CompletionsArgs, command};
use anyhow::Result;
use std::io::Write;

/// Runs it.
pub fn run(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "aloud", &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}
