//! What went wrong, as an `Error` of JavaScript with one of the package's codes in `code`.

use aloud::{EngineError, Error, FormatError, GpuError, ModelError};
use js_sys::Reflect;
use wasm_bindgen::JsValue;

/// An error of the engine.
#[must_use]
pub fn thrown(error: &Error) -> JsValue {
    coded(code(error), &error.to_string())
}

/// An error with a code.
#[must_use]
pub fn coded(code: &str, message: &str) -> JsValue {
    let thrown = js_sys::Error::new(message);
    Reflect::set(&thrown, &"code".into(), &code.into()).expect("a new object takes any property");
    thrown.into()
}

fn code(error: &Error) -> &'static str {
    match error {
        Error::Format(error) => of_format(error),
        Error::Model(ModelError::Format(error)) => of_format(error),
        Error::Model(ModelError::Executor(error)) | Error::Engine(EngineError::Executor(error)) => {
            error.downcast_ref().map_or("internal", of_gpu)
        }
        Error::Engine(EngineError::Model(_)) | Error::Model(_) | Error::Text(_) => "unsupported-model",
        Error::Gpu(error) => of_gpu(error),
        Error::Engine(EngineError::PromptTooLong { .. } | EngineError::Context { .. }) => "context-length",
        Error::Engine(EngineError::Sampling { .. } | EngineError::StopIds { .. } | EngineError::EmptyPrompt) => {
            "invalid-request"
        }
        Error::Path { .. } => "not-a-model",
        Error::NoDraftLayer { .. } => "invalid-request",
        Error::ContextTooLarge { .. } => "context-length",
        Error::TooLarge { .. } => "out-of-memory",
        _ => "internal",
    }
}

/// What a file's source threw is told by the one who read it.
fn of_format(error: &FormatError) -> &'static str {
    match error {
        FormatError::Read { .. } => "storage",
        _ => "not-a-model",
    }
}

fn of_gpu(error: &GpuError) -> &'static str {
    match error {
        GpuError::NoAdapter | GpuError::NoSuchAdapter { .. } | GpuError::DeviceRefused { .. } => "no-adapter",
        GpuError::DeviceLost { .. } => "device-lost",
        GpuError::OutOfMemory { .. } | GpuError::BindingTooLarge { .. } => "out-of-memory",
        GpuError::Unsupported { .. } | GpuError::RowLength { .. } | GpuError::StackRows { .. } => "unsupported-model",
        _ => "internal",
    }
}
