//! Chat templates: messages to a prompt.

mod budget;
mod environment;
mod python;

use crate::guard::{Guard, unmark};
use crate::{TextError, Tokenizer};
use budget::{Budget, Charged, charged};
use environment::{Trace, environment, syntax};
use minijinja::{ErrorKind, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions of the application.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool.
    Tool,
}

impl Role {
    /// The name that templates know.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who wrote it.
    pub role: Role,
    /// The text. Never becomes control tokens.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }
}

/// Whether the prompt opens the model's thought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThinkMode {
    /// Where DeepSeek asks for it: a DeepSeek reasoning template (it names `<｜Assistant｜>` and
    /// `</think>`) whose prompt ends with `<｜Assistant｜>` gets `<think>\n` appended. If
    /// [`RenderOptions::enable_thinking`] is false the thought is closed at once, as R1 itself does where it skips thinking:
    /// `<think>\n\n</think>\n\n`. Source: usage recommendations in the README of deepseek-ai/DeepSeek-R1.
    #[default]
    Auto,
    /// The prompt stays as the template made it.
    AsTemplate,
}

/// How far a template may go. Templates come out of downloaded files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateLimits {
    /// Steps of the template engine. A template that prints long texts gets fewer.
    pub steps: u64,
    /// Bytes of all values made on the way, beside the messages themselves.
    pub value_bytes: u64,
    /// Bytes of the prompt.
    pub output_bytes: u64,
}

impl Default for TemplateLimits {
    fn default() -> Self {
        Self { steps: 5_000_000, value_bytes: 128 << 20, output_bytes: 16 << 20 }
    }
}

/// The longest template source. The longest known one has 50 KB.
const MAX_SOURCE_BYTES: usize = 256 << 10;

/// How much raw text the steps of one render may print into captures, which no writer sees.
const MAX_RAW_BYTES: u64 = 512 << 20;

/// How a conversation is rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderOptions {
    /// End with the header of the model's reply.
    pub add_generation_prompt: bool,
    /// Passed to templates that can switch thinking off (Qwen3, DeepSeek-V3.1); see [`ThinkMode::Auto`] for R1, whose template
    /// cannot.
    pub enable_thinking: Option<bool>,
    /// Whether the prompt opens the thought.
    pub think: ThinkMode,
    /// The time for `strftime_now`, in seconds since 1970, in the time zone to show. By default
    /// the clock's, in UTC; there is none in `wasm32-unknown-unknown`.
    pub now_unix_seconds: Option<i64>,
    /// How far the template may go.
    pub limits: TemplateLimits,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self {
            add_generation_prompt: true,
            enable_thinking: None,
            think: ThinkMode::Auto,
            now_unix_seconds: None,
            limits: TemplateLimits::default(),
        }
    }
}

/// A prompt, to be passed to [`Tokenizer::encode_prompt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedPrompt {
    /// The prompt with marks (U+FDD0) in those control tokens that stand in the messages; they
    /// keep them text. To be shown, use [`plain_text`](Self::plain_text).
    pub text: String,
    /// Whether the model's reply begins inside a thought.
    pub opens_thought: bool,
}

impl RenderedPrompt {
    /// The prompt without marks. To tokenise it would let messages contain control tokens.
    pub fn plain_text(&self) -> String {
        unmark(&self.text).into_owned()
    }
}

impl AsRef<str> for RenderedPrompt {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

/// A chat template in Jinja, as models carry it in `tokenizer.chat_template`.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    charged: Arc<Charged>,
    bos: String,
    eos: String,
    guard: Guard,
    is_deepseek_reasoning: bool,
}

impl std::fmt::Debug for Charged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Charged")
    }
}

impl ChatTemplate {
    /// A template for a vocabulary that is not at hand: guards messages against the texts of BOS
    /// and EOS and against everything that begins like `<|` or `<｜`. Prefer
    /// [`for_tokenizer`](Self::for_tokenizer), which knows all control tokens.
    ///
    /// # Errors
    /// If the source is not a template, or is too long.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self, TextError> {
        let guard = Guard::new(["<|", "<｜", bos, eos]);
        Self::with_guard(source, bos, eos, guard)
    }

    /// A template for a tokenizer: takes BOS and EOS from it, and guards messages against all its
    /// control tokens.
    ///
    /// # Errors
    /// If the source is not a template, or is too long.
    pub fn for_tokenizer(source: &str, tokenizer: &Tokenizer) -> Result<Self, TextError> {
        let text = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id)).unwrap_or("");
        let (bos, eos) = (text(tokenizer.bos()), text(tokenizer.eos()));
        Self::with_guard(source, bos, eos, tokenizer.guard().clone())
    }

    fn with_guard(source: &str, bos: &str, eos: &str, guard: Guard) -> Result<Self, TextError> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(TextError::TemplateLimit { what: "bytes of source", limit: MAX_SOURCE_BYTES as u64 });
        }
        let invalid = |error: minijinja::Error| TextError::TemplateInvalid { reason: error.to_string() };
        let charged = charged(source, syntax()).map_err(invalid)?;
        let trace = Arc::new(Trace::new(0));
        environment(&trace, None).template_from_named_str("chat_template", &charged.source).map_err(invalid)?;
        Ok(Self {
            charged: Arc::new(charged),
            bos: bos.to_owned(),
            eos: eos.to_owned(),
            guard,
            is_deepseek_reasoning: source.contains("<｜Assistant｜>") && source.contains("</think>"),
        })
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// If the template fails, refuses the messages, or exceeds a limit.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<RenderedPrompt, TextError> {
        let limits = &options.limits;
        let trace = Arc::new(Trace::new(limits.value_bytes));
        let mut env = environment(&trace, options.now_unix_seconds.or_else(clock));
        let steps = (MAX_RAW_BYTES / self.charged.longest_raw_bytes.max(1)).min(limits.steps);
        env.set_fuel(Some(steps));
        let mut output = Limited::new(limits.output_bytes);
        let context = self.context(messages, options);
        let rendered = env
            .template_from_named_str("chat_template", &self.charged.source)
            .and_then(|template| template.render_captured_to(context, &mut output).map(drop));
        let limit = |what, limit| Err(TextError::TemplateLimit { what, limit });
        match rendered {
            Ok(()) => {}
            Err(_) if output.exceeded => return limit("bytes of output", limits.output_bytes),
            Err(_) if trace.budget.exceeded() => return limit("bytes of values", limits.value_bytes),
            Err(error) if is_out_of_fuel(&error) => return limit("steps", steps),
            Err(error) => return Err(failed(&trace, messages.len(), &error)),
        }
        let text = String::from_utf8_lossy(&output.bytes).into_owned();
        Ok(self.finish(text, options))
    }

    /// Everything that a template may ask for, as `apply_chat_template` passes it.
    fn context(&self, messages: &[Message], options: &RenderOptions) -> Value {
        let message = |message: &Message| {
            let content = self.guard.protect(&message.content);
            let role = Value::from(message.role.name());
            Value::from_pairs([("role", role), ("content", Value::from(content.as_ref()))])
        };
        let messages: Vec<Value> = messages.iter().map(message).collect();
        let mut context = BTreeMap::from([
            ("messages", Value::from(messages)),
            ("bos_token", Value::from(self.bos.as_str())),
            ("eos_token", Value::from(self.eos.as_str())),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
            ("add_generation_prompt", Value::from(options.add_generation_prompt)),
        ]);
        if let Some(enabled) = options.enable_thinking {
            // Qwen3 asks for the first name, DeepSeek-V3.1 for the second.
            context.insert("enable_thinking", Value::from(enabled));
            context.insert("thinking", Value::from(enabled));
        }
        Value::from_pairs(context)
    }

    fn finish(&self, mut text: String, options: &RenderOptions) -> RenderedPrompt {
        if self.is_deepseek_reasoning && options.add_generation_prompt && options.think == ThinkMode::Auto {
            if text.ends_with("<｜Assistant｜>") {
                text.push_str("<think>\n");
            }
            if options.enable_thinking == Some(false) && text.ends_with("<｜Assistant｜><think>\n") {
                text.push_str("\n</think>\n\n");
            }
        }
        RenderedPrompt { opens_thought: options.add_generation_prompt && text.trim_end().ends_with("<think>"), text }
    }
}

impl Trace {
    fn new(value_bytes: u64) -> Self {
        Self { budget: Budget::new(value_bytes), refusal: Mutex::new(None) }
    }
}

fn is_out_of_fuel(error: &minijinja::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<minijinja::Error>();
        if inner.is_some_and(|error| error.kind() == ErrorKind::OutOfFuel) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn failed(trace: &Trace, messages: usize, error: &minijinja::Error) -> TextError {
    let refusal = trace.refusal.lock().ok().and_then(|mut said| said.take());
    match refusal {
        Some(reason) => TextError::TemplateRefused { messages, reason },
        None => TextError::TemplateFailed { messages, reason: error.to_string() },
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn clock() -> Option<i64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.ok().and_then(|now| i64::try_from(now.as_secs()).ok())
}

#[cfg(target_arch = "wasm32")]
fn clock() -> Option<i64> {
    None
}

/// Collects output up to a limit.
struct Limited {
    bytes: Vec<u8>,
    limit: u64,
    exceeded: bool,
}

impl Limited {
    fn new(limit: u64) -> Self {
        Self { bytes: Vec::new(), limit, exceeded: false }
    }
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.bytes.len() + bytes.len()) as u64 > self.limit {
            self.exceeded = true;
            return Err(io::Error::other("output is too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
