//! Errors to one line and an exit code.

use aloud::{EngineError, FormatError, GpuError, ModelError, TextError};
use std::io;
use std::process::ExitCode;

/// What a person typed cannot be done.
pub const USAGE: u8 = 2;
/// The model, its context or the prompt does not fit.
pub const TOO_LARGE: u8 = 3;
/// A file is missing, unreadable, damaged or of a kind that is not supported.
pub const FILE: u8 = 4;
/// There is no device, or it failed.
pub const DEVICE: u8 = 5;
/// Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// An error in what was typed that the parser cannot see.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The answer was stopped by Ctrl-C. Nothing is printed: who pressed it knows.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Reports an error on stderr; returns what the process ends with. A reader that went away is no error.
pub fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let code = code_of(&error);
            if code != INTERRUPTED {
                eprintln!("error: {}", one_line(&error));
            }
            ExitCode::from(code)
        }
    }
}

/// The whole chain of causes in one line.
pub fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|e| e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}

fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<Usage>() {
        return USAGE;
    }
    if error.is::<Interrupted>() {
        return INTERRUPTED;
    }
    error.chain().find_map(code_of_cause).unwrap_or(1)
}

fn code_of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    let is_file = cause.is::<FormatError>() || cause.is::<TextError>() || cause.is::<io::Error>();
    cause.downcast_ref::<aloud::Error>().map(library).or(is_file.then_some(FILE))
}

fn library(error: &aloud::Error) -> u8 {
    match error {
        aloud::Error::TooLarge { .. } | aloud::Error::ContextTooLarge { .. } => TOO_LARGE,
        aloud::Error::NoDraftLayer { .. } => USAGE,
        aloud::Error::Gpu(e) => gpu(e),
        aloud::Error::Engine(EngineError::Model(e)) | aloud::Error::Model(e) => model(e),
        aloud::Error::Engine(e) => engine(e),
        _ => FILE,
    }
}

fn model(error: &ModelError) -> u8 {
    match error {
        ModelError::Executor(e) => e.downcast_ref().map_or(DEVICE, gpu),
        _ => FILE,
    }
}

fn engine(error: &EngineError) -> u8 {
    match error {
        EngineError::PromptTooLong { .. } | EngineError::Context { .. } => TOO_LARGE,
        EngineError::Executor(e) => e.downcast_ref().map_or(DEVICE, gpu),
        _ => USAGE,
    }
}

fn gpu(error: &GpuError) -> u8 {
    match error {
        GpuError::BindingTooLarge { .. } => TOO_LARGE,
        GpuError::Unsupported { .. } | GpuError::RowLength { .. } => FILE,
        _ => DEVICE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn codes_are_distinct_and_found_below_context() {
        let lost = || GpuError::DeviceLost { reason: "x".into() };
        let binding =
            GpuError::BindingTooLarge { name: "w".into(), need_bytes: 2, limit_bytes: 1, way_out: "a smaller one" };
        let engine = |e: GpuError| aloud::Error::Engine(EngineError::Executor(Box::new(e)));
        for (error, code) in [
            (anyhow::Error::new(Usage("x".into())), USAGE),
            (aloud::Error::Engine(EngineError::PromptTooLong { n_prompt: 9, n_ctx: 8 }).into(), TOO_LARGE),
            (engine(binding).into(), TOO_LARGE),
            (engine(lost()).into(), DEVICE),
            (aloud::Error::Model(ModelError::Executor(Box::new(lost()))).into(), DEVICE),
            (aloud::Error::Gpu(GpuError::NoAdapter).into(), DEVICE),
            (io::Error::from(io::ErrorKind::NotFound).into(), FILE),
            (Interrupted.into(), INTERRUPTED),
            (anyhow::anyhow!("x"), 1),
        ] {
            assert_eq!(code_of(&error), code, "{error:?}");
            assert_eq!(code_of(&Err::<(), _>(error).context("while").unwrap_err()), code);
        }
    }

    #[test]
    fn a_message_is_one_line() {
        let error = anyhow::anyhow!("two\nlines").context("outer");
        assert_eq!(one_line(&error), "outer: two lines");
    }
}
