//! What all tests of the command share.

use assert_cmd::Command;
use std::path::PathBuf;

/// The command, deaf to the flags of whoever runs the tests.
pub fn aloud() -> Command {
    let mut command = Command::cargo_bin("aloud").expect("the binary is built with its tests");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ALOUD_") {
            command.env_remove(name);
        }
    }
    command.env_remove("COLUMNS");
    // What is measured differs from run to run, and what is known on this machine is none of the tests' business.
    command.env("ALOUD_TUNE", "off");
    command
}

/// A file of `assets/`, by its absolute path.
pub fn asset(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../assets").join(name);
    assert!(path.exists(), "assets/{name} is missing: run `cargo xtask assets`");
    path
}

/// The chat model.
pub fn smollm2() -> PathBuf {
    asset("SmolLM2-135M-Instruct.Q4_1.gguf")
}

/// An R1 distill without its weights.
pub fn r1_header() -> PathBuf {
    asset("r1-distill-qwen-7b-header.gguf")
}

/// What a run wrote and ended with.
#[derive(Debug)]
pub struct Run {
    /// Exit code.
    pub code: i32,
    /// stdout.
    pub out: String,
    /// stderr.
    pub err: String,
}

/// Runs to the end.
pub fn run(command: &mut Command) -> Run {
    let output = command.output().expect("the command runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
    Run { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// Runs to the end, which has to be a good one.
pub fn good(command: &mut Command) -> String {
    let run = run(command);
    assert_eq!(run.code, 0, "{}", run.err);
    run.out
}
