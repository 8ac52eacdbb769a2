//! What `--help` teaches.

use crate::common::{aloud, good};

#[test]
fn help_of_every_command() {
    insta::assert_snapshot!("aloud", good(aloud().arg("--help")));
    for command in
        ["ask", "chat", "inspect", "devices", "bench", "logits", "tokenize", "tune", "perplexity", "completions"]
    {
        insta::assert_snapshot!(command, good(aloud().args([command, "--help"])));
    }
}

#[test]
fn values_of_the_environment_are_not_in_the_help() {
    let help = good(aloud().args(["ask", "--help"]).env("ALOUD_SYSTEM", "my secret"));
    assert!(help.contains("ALOUD_SYSTEM") && !help.contains("my secret"), "{help}");
}

#[test]
fn completions_of_every_shell_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = good(aloud().args(["completions", shell]));
        assert!(script.contains("tokenize") && script.contains("think-budget"), "{shell}");
    }
}
