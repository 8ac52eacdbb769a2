//! A model to be asked.

use crate::folders::open_folder;
use crate::sources::WebSource;
use aloud::{ChatEvent, ChatOptions, LoadOptions, Message, ModelFiles, Role, Sampling};
use js_sys::Function;
use std::ops::ControlFlow;
use wasm_bindgen::prelude::*;

/// A model on the browser's GPU.
#[wasm_bindgen]
pub struct Model(aloud::Model);

/// How an answer ended.
#[wasm_bindgen(getter_with_clone)]
pub struct Ending {
    /// `stop` if the model ended it, `length` if the context is full, `cancelled` if the listener threw.
    #[wasm_bindgen(readonly, js_name = finishReason)]
    pub finish_reason: String,
    /// Tokens of the prompt.
    #[wasm_bindgen(readonly, js_name = promptTokens)]
    pub prompt_tokens: usize,
    /// Tokens of thought and answer, the end token included.
    #[wasm_bindgen(readonly, js_name = completionTokens)]
    pub completion_tokens: usize,
    /// Of these, the thought.
    #[wasm_bindgen(readonly, js_name = reasoningTokens)]
    pub reasoning_tokens: usize,
    /// Tokens per second after the first.
    #[wasm_bindgen(readonly, js_name = tokensPerSecond)]
    pub tokens_per_second: f64,
}

#[wasm_bindgen]
impl Model {
    /// Loads a model: a GGUF file (a URL, `Blob`, `File` or `FileSystemFileHandle`), or a folder as Hugging Face has it (a URL
    /// that ends with `/`).
    ///
    /// # Errors
    /// If the model cannot be read, is not supported, or does not fit the device.
    pub async fn load(from: JsValue) -> Result<Model, JsError> {
        let files = match open_folder(&from).await? {
            Some(folder) => folder,
            None => ModelFiles::Gguf(vec![WebSource::open(&from).await?]),
        };
        Ok(Model(aloud::Model::load(files, &LoadOptions::default(), |_| {}).await?))
    }

    /// Answers one question. `on_text` is called with each piece of text as it comes, `(part, text)`, where `part` is
    /// `reasoning` or `answer`; what it throws ends the answer. `temperature` is what the model's makers recommend if none is
    /// given; 0 always takes the likeliest token.
    ///
    /// # Errors
    /// If the question does not fit the context, or the device fails.
    pub async fn ask(
        &mut self,
        question: String,
        on_text: Function,
        temperature: Option<f32>,
    ) -> Result<Ending, JsError> {
        let recommended = self.0.header().recommended_sampling();
        let sampling = Sampling { temperature: temperature.unwrap_or(recommended.temperature), ..recommended };
        let options = ChatOptions { sampling: Some(sampling), ..ChatOptions::default() };
        let question = [Message::new(Role::User, question)];
        let tell = |part: &str, text: &str| match on_text.call2(&JsValue::NULL, &part.into(), &text.into()) {
            Ok(_) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        let on_event = |event| match event {
            ChatEvent::Reasoning(text) => tell("reasoning", &text),
            ChatEvent::Answer(text) => tell("answer", &text),
            ChatEvent::Prefill { .. } | ChatEvent::Trace(_) => ControlFlow::Continue(()),
        };
        let ending = self.0.chat(&question, &options, on_event).await?;
        Ok(Ending {
            finish_reason: ending.finish_reason.to_string(),
            prompt_tokens: ending.usage.prompt_tokens,
            completion_tokens: ending.usage.completion_tokens,
            reasoning_tokens: ending.usage.reasoning_tokens,
            tokens_per_second: ending.timings.decode_tokens_per_second,
        })
    }
}
