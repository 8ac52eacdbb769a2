//! A conversation's answer, event by event.

use crate::errors::thrown;
use crate::model::{Model, json, parse};
use aloud::{ChatEvent, ChatOptions, Message, RenderOptions, Role, Sampling, TokenLogprob, Tokenizer};
use js_sys::Function;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use wasm_bindgen::prelude::*;

/// Reaches into an answer while it is made.
#[wasm_bindgen]
#[derive(Clone, Default)]
pub struct Control(aloud::Control);

#[wasm_bindgen]
impl Control {
    /// Of an answer to come.
    #[wasm_bindgen(constructor)]
    #[must_use]
    pub fn new() -> Control {
        Control::default()
    }

    /// Closes the thought, so that the answer begins.
    #[wasm_bindgen(js_name = answerNow)]
    pub fn answer_now(&self) {
        self.0.answer_now();
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    role: String,
    content: String,
}

/// What the package sends; it has checked names and kinds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    messages: Vec<Turn>,
    max_tokens: Option<u32>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<u32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    seed: u32,
    #[serde(default)]
    stop: Vec<String>,
    /// Tokens of thought at most.
    think_budget: Option<u32>,
    /// False answers without a thought.
    think: Option<bool>,
    /// How likely each token was, and so many of the likeliest.
    top_logprobs: Option<u32>,
    /// What an earlier run of this request drew.
    #[serde(default)]
    drawn: Vec<u32>,
}

#[wasm_bindgen]
impl Model {
    /// Answers a conversation; `request` is JSON. `on_event` is called with each event: `("prefill", done, total)`,
    /// `("token", id)`, `("logprob", json)`, `("reasoning", text)`, `("answer", text)`; if it returns false or throws, the answer ends. Returns how
    /// it ended, as JSON.
    ///
    /// # Errors
    /// If the conversation does not fit the context, or the device fails.
    pub async fn answer(&mut self, request: String, control: &Control, on_event: Function) -> Result<String, JsValue> {
        let request: Request = parse(&request)?;
        let messages: Vec<Message> = request.messages.iter().map(message).collect();
        let tokenizer = self.0.header().tokenizer.clone();
        let options = options(request, self.0.header().recommended_sampling(), control.0.clone());
        let tell = |kind: &str, value: JsValue, second: JsValue| match on_event.call3(
            &JsValue::NULL,
            &kind.into(),
            &value,
            &second,
        ) {
            Ok(returned) if !returned.is_falsy() || returned.is_undefined() => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        };
        let on_event = |event| match event {
            ChatEvent::Prefill { done, total } => tell("prefill", (done as u32).into(), (total as u32).into()),
            ChatEvent::Token(id) => tell("token", id.into(), JsValue::UNDEFINED),
            ChatEvent::Reasoning(text) => tell("reasoning", text.into(), JsValue::UNDEFINED),
            ChatEvent::Answer(text) => tell("answer", text.into(), JsValue::UNDEFINED),
            ChatEvent::Logprob { reasoning, logprob } => {
                tell("logprob", json(&told(&tokenizer, reasoning, &logprob)).into(), JsValue::UNDEFINED)
            }
            ChatEvent::Trace(_) => ControlFlow::Continue(()),
        };
        let ending = self.0.chat(&messages, &options, on_event).await.map_err(|error| thrown(&error))?;
        Ok(json(&ending))
    }
}

fn message(turn: &Turn) -> Message {
    let role = match turn.role.as_str() {
        "system" => Role::System,
        "assistant" => Role::Assistant,
        _ => Role::User,
    };
    Message::new(role, turn.content.clone())
}

fn options(request: Request, usual: Sampling, control: aloud::Control) -> ChatOptions {
    let sampling = Sampling {
        temperature: request.temperature.unwrap_or(usual.temperature),
        top_p: request.top_p.unwrap_or(usual.top_p),
        top_k: request.top_k.unwrap_or(usual.top_k),
        min_p: request.min_p.unwrap_or(usual.min_p),
        repetition_penalty: request.repetition_penalty.unwrap_or(usual.repetition_penalty),
        presence_penalty: request.presence_penalty.unwrap_or(usual.presence_penalty),
        frequency_penalty: request.frequency_penalty.unwrap_or(usual.frequency_penalty),
        seed: request.seed,
    };
    ChatOptions {
        sampling: Some(sampling),
        max_tokens: request.max_tokens,
        think_budget: request.think_budget,
        stop: request.stop,
        drawn: request.drawn,
        control,
        render: RenderOptions { enable_thinking: request.think, ..RenderOptions::default() },
        top_logprobs: request.top_logprobs,
        trace: false,
    }
}

/// A token with its probability, in OpenAI's shape.
#[derive(Serialize)]
struct Logprob {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

/// What JavaScript is told of a drawn token.
#[derive(Serialize)]
struct Told {
    part: &'static str,
    #[serde(flatten)]
    drawn: Logprob,
    top_logprobs: Vec<Logprob>,
}

fn told(tokenizer: &Tokenizer, reasoning: bool, logprob: &TokenLogprob) -> Told {
    let named = |id: u32, logprob: f32| {
        let bytes = tokenizer.piece(id).unwrap_or_default().to_vec();
        Logprob { token: String::from_utf8_lossy(&bytes).into_owned(), logprob, bytes }
    };
    Told {
        part: if reasoning { "reasoning" } else { "answer" },
        drawn: named(logprob.id, logprob.logprob),
        top_logprobs: logprob.top.iter().map(|&(id, logprob)| named(id, logprob)).collect(),
    }
}
