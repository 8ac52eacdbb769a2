//! A conversation as typed events.

use crate::drafts::DraftReport;
use aloud_engine::{Control, Finish, Sampling, TokenLogprob, Trace};
use aloud_text::{Detokenizer, RenderOptions, StopStrings, TextEvent, ThinkSplitter, Tokenizer};
use serde::Serialize;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use web_time::Instant;

/// How an answer is made.
#[derive(Clone, Debug, Default)]
pub struct ChatOptions {
    /// How tokens are drawn; by default what the model's makers recommend.
    pub sampling: Option<Sampling>,
    /// Tokens to generate at most; by default what the context holds.
    pub max_tokens: Option<u32>,
    /// Tokens of thought after which the engine closes it.
    pub think_budget: Option<u32>,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Ids of the answer that an earlier run told of in [`ChatEvent::Token`]; this one goes on behind them with the
    /// same request, on another device say, and does not tell them again.
    pub drawn: Vec<u32>,
    /// Reaches into the answer while it is made.
    pub control: Control,
    /// How the conversation is rendered.
    pub render: RenderOptions,
    /// Whether [`ChatEvent::Logprob`] tells how likely each token was, with so many of the likeliest, at the price of time.
    pub top_logprobs: Option<u32>,
    /// Whether [`ChatEvent::Trace`] tells what goes on inside, at the price of time. The answer is the same.
    pub trace: bool,
}

/// What happens on the way to an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ChatEvent {
    /// So many tokens of the prompt are computed, out of so many.
    Prefill {
        /// Computed, or found in the cache.
        done: usize,
        /// Of the prompt.
        total: usize,
    },
    /// How likely the token was that is told of next.
    Logprob {
        /// Whether it is of the thought, its closing tag included.
        reasoning: bool,
        /// How likely.
        logprob: TokenLogprob,
    },
    /// A token was drawn; the text that it completes, if it does, follows.
    Token(u32),
    /// A piece of the thought.
    Reasoning(String),
    /// A piece of the answer.
    Answer(String),
    /// What went on inside, if the options ask for it; as JSON an object whose `type` is `step` or `layer`.
    Trace(Trace),
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended it, or a stop text came.
    Stop,
    /// The limit of tokens or the context was reached.
    Length,
    /// The listener asked for it.
    Cancelled,
}

impl std::fmt::Display for FinishReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::Cancelled => "cancelled",
        })
    }
}

/// What an answer took, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Of the prompt.
    pub prompt_tokens: usize,
    /// Of thought and answer, the end token included.
    pub completion_tokens: usize,
    /// Of these, the thought, its closing tag included.
    pub reasoning_tokens: usize,
    /// Tokens of the prompt that were in the cache already.
    pub cached_tokens: usize,
    /// Prompt and completion.
    pub total_tokens: usize,
}

/// What an answer took, in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Timings {
    /// From the question to the first token.
    pub time_to_first_token_ms: f64,
    /// From the first token to the last.
    pub decode_ms: f64,
    /// Prompt tokens computed per second.
    pub prefill_tokens_per_second: f64,
    /// Tokens per second after the first.
    pub decode_tokens_per_second: f64,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ending {
    /// Why.
    pub finish_reason: FinishReason,
    /// In tokens.
    pub usage: Usage,
    /// In time.
    pub timings: Timings,
    /// How drafting went, if there was any.
    pub drafts: Option<DraftReport>,
}

/// Turns tokens into events, and keeps count.
pub(crate) struct Listener<'a, F> {
    detokenizer: Detokenizer,
    splitter: ThinkSplitter,
    stops: StopStrings,
    think_close: Option<u32>,
    stop_ids: &'a [u32],
    on_event: F,
    started: Instant,
    first: Option<Instant>,
    last: Option<Instant>,
    n_tokens: usize,
    n_replayed: usize,
    n_reasoning: usize,
    thinking: bool,
    stopped: bool,
    cancelled: bool,
    /// Of tokens to come.
    logprobs: VecDeque<TokenLogprob>,
    /// While tokens go by that were told of before.
    silent: bool,
}

impl<'a, F: FnMut(ChatEvent) -> ControlFlow<()>> Listener<'a, F> {
    pub fn new(
        tokenizer: &'a Tokenizer,
        opens_thought: bool,
        think_close: Option<u32>,
        stop: Vec<String>,
        on_event: F,
    ) -> Self {
        Listener {
            detokenizer: Detokenizer::new(tokenizer),
            splitter: ThinkSplitter::new(opens_thought),
            stops: StopStrings::new(stop),
            think_close,
            stop_ids: tokenizer.stop_ids(),
            on_event,
            started: Instant::now(),
            first: None,
            last: None,
            n_tokens: 0,
            n_replayed: 0,
            n_reasoning: 0,
            thinking: opens_thought,
            stopped: false,
            cancelled: false,
            logprobs: VecDeque::new(),
            silent: false,
        }
    }

    /// Takes note of tokens that an earlier run told of.
    pub fn replay(&mut self, drawn: &[u32]) {
        self.silent = true;
        for &id in drawn {
            // A token after which that run would have ended is its last.
            let _ = self.token(id);
        }
        self.silent = false;
        (self.first, self.last) = (None, None);
        self.n_replayed = drawn.len();
    }

    pub fn event(&mut self, event: aloud_engine::Event) -> ControlFlow<()> {
        match event {
            aloud_engine::Event::Prefill { done, total } => self.emit(ChatEvent::Prefill { done, total }),
            aloud_engine::Event::Logprob(logprob) => {
                self.logprobs.push_back(logprob);
                ControlFlow::Continue(())
            }
            aloud_engine::Event::Token(id) => self.token(id),
            aloud_engine::Event::Trace(trace) => self.emit(ChatEvent::Trace(trace)),
        }
    }

    fn emit(&mut self, event: ChatEvent) -> ControlFlow<()> {
        if self.silent {
            return ControlFlow::Continue(());
        }
        let flow = (self.on_event)(event);
        self.cancelled |= flow.is_break();
        flow
    }

    fn token(&mut self, id: u32) -> ControlFlow<()> {
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.n_tokens += 1;
        let was_thinking = self.thinking;
        if Some(id) == self.think_close {
            self.thinking = false;
        }
        if let Some(logprob) = self.logprobs.pop_front() {
            self.emit(ChatEvent::Logprob { reasoning: was_thinking, logprob })?;
        }
        self.emit(ChatEvent::Token(id))?;
        if self.stop_ids.contains(&id) {
            return ControlFlow::Continue(());
        }
        let piece = self.detokenizer.push(id);
        let events = self.splitter.push(&piece);
        // A model that opens its thought itself is inside from its first tag on.
        self.thinking |= self.splitter.is_reasoning() && Some(id) != self.think_close;
        self.n_reasoning += usize::from(was_thinking || self.thinking);
        self.deliver(events)
    }

    fn deliver(&mut self, events: Vec<TextEvent>) -> ControlFlow<()> {
        for event in events {
            match event {
                TextEvent::Reasoning(text) => self.emit(ChatEvent::Reasoning(text))?,
                TextEvent::Answer(text) => {
                    let (text, stopped) = self.stops.push(&text);
                    if !text.is_empty() {
                        self.emit(ChatEvent::Answer(text))?;
                    }
                    if stopped {
                        self.stopped = true;
                        return ControlFlow::Break(());
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Emits what was held back and sums up.
    pub fn finish(mut self, generation: aloud_engine::Generation, drafts: Option<DraftReport>) -> Ending {
        if !self.stopped && !self.cancelled {
            let rest = self.detokenizer.finish();
            let mut events = self.splitter.push(&rest);
            events.extend(self.splitter.finish());
            let held = |listener: &mut Self| {
                listener.deliver(events)?;
                let text = listener.stops.finish();
                if text.is_empty() { ControlFlow::Continue(()) } else { listener.emit(ChatEvent::Answer(text)) }
            };
            // The answer is over: a listener that breaks now changes nothing.
            let _ = held(&mut self);
        }
        let finish_reason = match generation.finish {
            _ if self.stopped => FinishReason::Stop,
            Finish::Stop => FinishReason::Stop,
            Finish::Length => FinishReason::Length,
            Finish::Cancelled => FinishReason::Cancelled,
        };
        let ms = |from: Instant, to: Option<Instant>| to.map_or(0.0, |to| (to - from).as_secs_f64() * 1e3);
        let first_ms = ms(self.started, self.first);
        let decode_ms = self.first.map_or(0.0, |first| ms(first, self.last));
        let per_second = |n: usize, ms: f64| if ms > 0.0 { n as f64 / ms * 1e3 } else { 0.0 };
        let computed = generation.n_prompt - generation.n_reused;
        Ending {
            finish_reason,
            usage: Usage {
                prompt_tokens: generation.n_prompt,
                completion_tokens: self.n_tokens,
                reasoning_tokens: self.n_reasoning,
                cached_tokens: generation.n_reused,
                total_tokens: generation.n_prompt + self.n_tokens,
            },
            timings: Timings {
                time_to_first_token_ms: first_ms,
                decode_ms,
                prefill_tokens_per_second: per_second(computed, first_ms),
                decode_tokens_per_second: per_second((self.n_tokens - self.n_replayed).saturating_sub(1), decode_ms),
            },
            drafts,
        }
    }
}
