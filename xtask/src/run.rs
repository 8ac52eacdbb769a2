//! Running other programs: each is announced with its reason before it starts.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Runs `command` in the foreground after printing `why` and the command line; an exit code other than 0 is an error.
pub fn run(why: &str, command: &mut Command) -> Result<()> {
    let start = Instant::now();
    run_last(why, command)?;
    eprintln!("    ({:.0} s)", start.elapsed().as_secs_f64());
    Ok(())
}

/// Like [`run`], but prints nothing after it: the command's own last lines are the last.
pub fn run_last(why: &str, command: &mut Command) -> Result<()> {
    let line = command_line(command);
    eprintln!("\n==> {why}\n    $ {line}");
    let status = command.status().with_context(|| format!("could not start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// The standard output of a quiet question such as `rustc --print sysroot`, or `None` if it fails.
pub fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether `program --version` runs.
pub fn exists(program: &str) -> bool {
    ask(Command::new(program).arg("--version")).is_some()
}

/// `cargo` as the one that started this program, run in the repository's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::workspace::root());
    command
}

/// The command as one would type it, with the environment variables that it adds.
fn command_line(command: &Command) -> String {
    let vars = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), quote(&value?.to_string_lossy()))));
    let program = std::path::Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let args = command.get_args().map(|arg| quote(&arg.to_string_lossy()));
    vars.chain([program]).chain(args).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    if word.is_empty() || word.contains(|c: char| c.is_whitespace() || "\"'$&|;<>*?()".contains(c)) {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        word.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_can_be_pasted() {
        let mut command = Command::new("/usr/bin/env");
        command.args(["-m", "What's this?"]).env("A", "b c");
        assert_eq!(command_line(&command), r"A='b c' env -m 'What'\''s this?'");
    }
}
