//! Questions and answers.

use crate::sources::WebSource;
use aloud::{ChatEvent, ChatOptions, LoadOptions, Message, Model, ModelFiles, Role};
use js_sys::Function;
use std::ops::ControlFlow;
use wasm_bindgen::prelude::*;

/// Loads a GGUF model, a URL, `Blob`, `File` or `FileSystemFileHandle`, and answers one question. `on_text` is called with
/// each piece of the answer; what it throws ends the answer.
///
/// # Errors
/// If the model cannot be read, is not supported, or does not fit the device.
#[wasm_bindgen]
pub async fn ask(model: JsValue, question: String, on_text: Function) -> Result<(), JsError> {
    let files = ModelFiles::Gguf(vec![WebSource::open(&model).await?]);
    let mut model = Model::load(files, &LoadOptions::default(), |_| {}).await?;
    let question = [Message::new(Role::User, question)];
    let on_event = |event| match event {
        ChatEvent::Answer(text) if on_text.call1(&JsValue::NULL, &JsValue::from(&text)).is_err() => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    };
    model.chat(&question, &ChatOptions::default(), on_event).await?;
    Ok(())
}
