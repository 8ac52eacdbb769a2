//! Text in, and numbers as people read them.

use crate::failure::Usage;
use anyhow::{Context, Result};
use std::io::{IsTerminal, Read};

/// The argument, or all of stdin. A terminal is not waited for.
pub fn argument_or_stdin(argument: Option<String>, what: &str) -> Result<String> {
    match argument {
        Some(text) => Ok(text),
        None if std::io::stdin().is_terminal() => {
            Err(Usage(format!("no {what}: give one as argument or on stdin")).into())
        }
        None => stdin(),
    }
}

/// All of stdin.
pub fn stdin() -> Result<String> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("stdin")?;
    String::from_utf8(bytes).map_err(|e| {
        Usage(format!("stdin: expected UTF-8, found a bad byte at {}", e.utf8_error().valid_up_to())).into()
    })
}

/// What a terminal may be handed of text that a model or a file made: no control characters but tab and newline.
pub fn printable(text: &str) -> String {
    text.chars().filter(|&c| c == '\n' || c == '\t' || !c.is_control()).collect()
}

/// `1234567` as `1.2 MB`.
pub fn bytes(n: u64) -> String {
    scaled(n as f64, &["B", "kB", "MB", "GB", "TB"])
}

/// `1234567` as `1.2 M`.
pub fn count(n: u64) -> String {
    scaled(n as f64, &["", "k", "M", "G", "T"])
}

fn scaled(mut value: f64, units: &[&str]) -> String {
    let mut at = 0;
    while value >= 999.5 && at + 1 < units.len() {
        value /= 1000.0;
        at += 1;
    }
    let digits = usize::from(at > 0 && value < 99.95);
    format!("{value:.digits$} {}", units[at]).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown: Vec<String> =
            [0, 999, 1000, 98_362_432, 123_456_789, 4_700_000_000].into_iter().map(bytes).collect();
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "98.4 MB", "123 MB", "4.7 GB"]);
        assert_eq!(count(134_515_008), "135 M");
    }

    #[test]
    fn escapes_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}]52;c;x\u{7}\tb\r\n\u{9b}2Jé"), "a]52;c;x\tb\n2Jé");
    }
}
