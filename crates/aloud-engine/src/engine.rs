//! Prefill and decode.

mod decode;
mod traced;

use crate::control::Control;
use crate::drafting::{DraftStats, Pace};
use crate::error::EngineError;
use crate::logprobs::TokenLogprob;
use crate::options::{EngineOptions, check_context};
use crate::pages::Pages;
use crate::plans::{Drafting, PlanSet, Sizes, State, decoder, record_logits};
use crate::sampling::{Sampling, Thought, sampler_state};
use crate::trace::{Trace, Traced};
use aloud_model::{Config, Weights};
use aloud_ops::{Elem, Executor, Recording, Step, Tensor};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use traced::Look;

/// What to generate.
#[derive(Clone, Debug)]
pub struct Request {
    /// The prompt.
    pub prompt: Vec<u32>,
    /// Tokens to generate at most; the context ends it in any case.
    pub max_tokens: u32,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Ids that end the answer.
    pub stop_ids: Vec<u32>,
    /// Ids from here on are padding of the embedding.
    pub n_vocab: u32,
    /// The thought, for models that have one.
    pub thought: Option<Thought>,
    /// Tokens of the answer that an earlier run drew, on this device or another; this run goes on behind them as that one
    /// would have.
    pub drawn: Vec<u32>,
    /// Reaches into the generation while it is under way.
    pub control: Control,
    /// Whether [`Event::Trace`] tells what goes on inside. Each step is then waited for and read out; the first such request
    /// compiles plans of its own. The tokens are the same.
    pub trace: bool,
    /// Whether [`Event::Logprob`] tells how likely each token was, with so many of the likeliest. The price is that of tracing.
    pub top_logprobs: Option<u32>,
}

/// A decode step that can be run.
pub struct PreparedStep<'e, E: Executor> {
    /// Where.
    pub executor: &'e mut E,
    /// Its plan.
    pub plan: &'e E::Plan,
    /// Cached positions after it.
    pub n_kv: u32,
    /// Its state.
    pub step: Tensor,
}

/// What happens on the way.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// So many tokens of the prompt are computed, out of so many; the first count is what could be reused.
    Prefill {
        /// Computed or reused.
        done: usize,
        /// Of the prompt.
        total: usize,
    },
    /// How likely a token was that is told of next, or after others of its step.
    Logprob(TokenLogprob),
    /// A token was drawn.
    Token(u32),
    /// What went on inside, if the request asked for it: first the step, then its layers with experts, row by row. The tokens
    /// that a step drew follow it.
    Trace(Trace),
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A stop id was drawn.
    Stop,
    /// `max_tokens`, or the end of the context.
    Length,
    /// The listener asked for it.
    Cancelled,
}

/// How a generation went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Generation {
    /// Why it ended.
    pub finish: Finish,
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// Of these, found in the cache.
    pub n_reused: usize,
    /// Tokens drawn, a stop id and those of an earlier run included.
    pub n_generated: usize,
    /// How drafting went, if there was any.
    pub drafts: Option<DraftStats>,
}

/// A model on an executor, ready to generate.
pub struct Engine<E: Executor> {
    executor: E,
    config: Config,
    weights: Weights,
    state: State,
    plans: PlanSet<E::Plan>,
    traced: Option<PlanSet<Traced<E::Plan>>>,
    logits: Option<(E::Plan, Tensor)>,
    pages: Pages,
    options: EngineOptions,
    pace: Pace,
}

/// Where the tokens that are computed end.
#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    /// Tokens of the answer among them.
    n_generated: u32,
    /// What [`Step::thinking`] is behind them.
    thinking: u32,
}

/// What [`Step::thinking`] is behind a prompt and these tokens of the answer.
fn thinking(thought: Option<Thought>, drawn: &[u32]) -> u32 {
    let Some(thought) = thought else { return 0 };
    drawn.iter().fold(u32::from(thought.open_at_start), |thinking, &id| match thinking {
        _ if id == thought.close => 0,
        0 => u32::from(id == thought.open),
        n => n + 1,
    })
}

/// A chunk of a prompt, placed where its plan reads it.
struct Chunk<'p> {
    rows: &'p [u32],
    /// Rows that its plan has at most.
    size: usize,
    /// Whether it ends the prompt.
    last: bool,
    /// Cached positions after it.
    n_kv: u32,
}

impl<E: Executor> Engine<E> {
    /// Creates the cache and compiles all plans: nothing compiles later, but for the first request that is traced. The weights
    /// may be filled after it.
    ///
    /// # Errors
    /// If the context is impossible, or the executor cannot hold cache or activations.
    pub fn new(mut executor: E, config: Config, weights: Weights, options: EngineOptions) -> Result<Self, EngineError> {
        let n_ctx = options.n_ctx;
        check_context(n_ctx, &config)?;
        options.check()?;
        if let Some(draft) = &options.draft {
            draft.check(weights.next_token.is_some())?;
        }
        let n_blocks = n_ctx.div_ceil(options.block_tokens);
        let chunks = options.chunks();
        let max_chunk = chunks.iter().copied().max().expect("the options were checked");
        let (block_tokens, cache, draft) = (options.block_tokens, options.cache, options.draft);
        let sizes = Sizes { n_blocks, block_tokens, cache, max_chunk, draft };
        let mtp = weights.next_token.is_some();
        let state = State::create(&mut executor, &config, mtp, &sizes).map_err(EngineError::executor)?;
        let decoder = decoder(&config, &weights, &state, options.expand_from);
        let compile = |rec: Recording, _| executor.compile(&rec).map_err(EngineError::executor);
        let plans = PlanSet::compile(&decoder, &state, &chunks, compile)?;
        let pages = Pages::new(n_blocks as usize, block_tokens as usize);
        let pace = Pace::new(draft.is_some_and(|d| d.adaptive));
        Ok(Engine { executor, config, weights, state, plans, traced: None, logits: None, pages, options, pace })
    }

    /// The executor.
    pub fn executor(&self) -> &E {
        &self.executor
    }

    /// The executor, for filling the weights.
    pub fn executor_mut(&mut self) -> &mut E {
        &mut self.executor
    }

    /// The executor, with all that was created on it; another engine on it can take clones of the same weights.
    pub fn into_executor(self) -> E {
        self.executor
    }

    /// The model's numbers.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Tokens of context.
    pub fn n_ctx(&self) -> u32 {
        self.options.n_ctx
    }

    /// The compiled recordings.
    pub fn plans(&self) -> &PlanSet<E::Plan> {
        &self.plans
    }

    /// Goes on without drafts, or with those that the options ask for.
    pub fn set_drafting(&mut self, on: bool) {
        self.pace.set_on(on);
    }

    /// Forgets all cached tokens.
    pub fn clear_cache(&mut self) {
        self.pages =
            Pages::new(self.pages.capacity() / self.options.block_tokens as usize, self.options.block_tokens as usize);
    }

    /// At most `most` ids, each of which the model has.
    fn check_prompt(&self, prompt: &[u32], most: usize) -> Result<(), EngineError> {
        if prompt.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        if prompt.len() > most {
            return Err(EngineError::PromptTooLong { n_prompt: prompt.len(), n_ctx: self.options.n_ctx });
        }
        let n_vocab = self.config.vocab_size;
        match prompt.iter().find(|&&id| id >= n_vocab) {
            Some(&id) => Err(EngineError::TokenId { id, n_vocab }),
            None => Ok(()),
        }
    }

    /// Runs something of every kernel with no rows, and waits: drivers compile when they like, but at the latest now.
    ///
    /// # Errors
    /// If the device fails.
    pub async fn warm_up(&mut self) -> Result<(), EngineError> {
        self.executor.write_state(self.state.step, 0, bytemuck::bytes_of(&Step::default()));
        if let Some(Drafting::NextToken { step, .. }) = self.state.drafting {
            self.executor.write_state(step, 0, bytemuck::bytes_of(&Step::default()));
        }
        self.executor.warm_up(self.plans.all()).map_err(EngineError::executor)?;
        self.executor.read_state(self.state.step).await.map_err(EngineError::executor)?;
        Ok(())
    }

    /// Generates until a stop id, `max_tokens`, the end of the context, or until `on_event` breaks.
    ///
    /// # Errors
    /// If the request is impossible or the device fails.
    pub async fn generate(
        &mut self,
        request: &Request,
        mut on_event: impl FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Generation, EngineError> {
        let sequence = [&request.prompt[..], &request.drawn].concat();
        self.check_prompt(&sequence, self.options.n_ctx as usize - 1)?;
        let n_prompt = request.prompt.len();
        let max_tokens = request.max_tokens.min(self.options.n_ctx - n_prompt as u32).max(1);
        let n_vocab = request.n_vocab.min(self.config.vocab_size);
        let sampler = sampler_state(&request.sampling, &request.stop_ids, request.thought, n_vocab, max_tokens)?;
        self.executor.write_state(self.state.sampler.sampler, 0, bytemuck::bytes_of(&sampler));
        self.write_counts(&request.prompt, &request.drawn);
        let n_reused = self.begin(&sequence);
        let drafts = self.state.drafting.filter(|_| self.pace.is_on()).map(|_| DraftStats::default());
        let n_generated = request.drawn.len();
        let mut ending = Generation { finish: Finish::Cancelled, n_prompt, n_reused, n_generated, drafts };
        let reached = Reached { n_generated: n_generated as u32, thinking: thinking(request.thought, &request.drawn) };
        if request.trace || request.top_logprobs.is_some() {
            let look = Look { trace: request.trace, top_logprobs: request.top_logprobs };
            self.generate_traced(&sequence, reached, look, &request.control, &mut ending, &mut on_event).await?;
            return Ok(ending);
        }
        let Some(first) = self.prefill(&sequence, n_reused, reached, &mut on_event).await? else {
            return Ok(ending);
        };
        self.pace.begin_answer();
        self.decode(first, sequence.len(), max_tokens, &request.control, &mut ending, &mut on_event).await?;
        if let Some(stats) = &mut ending.drafts {
            self.pace.report(stats);
        }
        Ok(ending)
    }

    /// Places the last token of `prompt` behind what is cached of the rest, to be followed by one that is drawn as `sampling`
    /// says: for measuring a step. What runs of it leave behind counts for nothing.
    ///
    /// # Errors
    /// If the request is impossible.
    pub fn prepare_step(&mut self, prompt: &[u32], sampling: &Sampling) -> Result<PreparedStep<'_, E>, EngineError> {
        self.check_prompt(prompt, self.options.n_ctx as usize - 1)?;
        let sampler = sampler_state(sampling, &[], None, self.config.vocab_size, u32::MAX)?;
        self.executor.write_state(self.state.sampler.sampler, 0, bytemuck::bytes_of(&sampler));
        self.write_counts(prompt, &[]);
        let cached = self.begin(prompt);
        self.reserve(cached + 1);
        let n_kv = self.write_rows(&prompt[prompt.len() - 1..], Reached { n_generated: 0, thinking: 0 });
        Ok(PreparedStep { executor: &mut self.executor, plan: &self.plans.decode, n_kv, step: self.state.step })
    }

    /// Marks the prompt's tokens for the repetition penalty and counts those that this answer has already.
    fn write_counts(&mut self, prompt: &[u32], drawn: &[u32]) {
        let mut counts = vec![0u32; self.config.vocab_size as usize];
        for &id in prompt {
            counts[id as usize] = 1 << 31;
        }
        for &id in drawn {
            counts[id as usize] += 1;
        }
        self.executor.write_state(self.state.sampler.counts, 0, bytemuck::cast_slice(&counts));
    }

    /// Finds what of the prompt is in the cache, and writes the block table for it.
    fn begin(&mut self, prompt: &[u32]) -> usize {
        let reused = self.pages.begin(prompt);
        self.executor.write_state(self.state.block_table, 0, bytemuck::cast_slice(&self.pages.table()));
        if let Some(Drafting::Lookup { history, .. }) = self.state.drafting {
            self.executor.write_state(history, 0, bytemuck::cast_slice(prompt));
        }
        reused
    }

    /// Makes room in the cache for `n_tokens` tokens of the sequence.
    fn reserve(&mut self, n_tokens: usize) {
        let added = self.pages.reserve(n_tokens).expect("the cache holds a whole context");
        for (place, block) in added {
            self.executor.write_state(self.state.block_table, place as u64 * 4, bytemuck::bytes_of(&block));
        }
    }

    /// Places the next rows of the sequence behind what is cached. Returns the cached positions after them.
    fn write_rows(&mut self, rows: &[u32], reached: Reached) -> u32 {
        let Reached { n_generated, thinking } = reached;
        let step = Step { pos: self.pages.n_tokens() as u32, n_tokens: rows.len() as u32, n_generated, thinking };
        self.executor.write_state(self.state.step, 0, bytemuck::bytes_of(&step));
        self.executor.write_state(self.state.sampler.tokens, 0, bytemuck::cast_slice(rows));
        step.pos + step.n_tokens
    }

    /// Places the next chunk of a prompt, of which so much is cached as the sequence has.
    fn write_chunk<'p>(&mut self, prompt: &'p [u32], reached: Reached) -> Chunk<'p> {
        let rest = &prompt[self.pages.n_tokens()..];
        let (size, last) = self.plans.chunk_for(rest.len());
        let rows = &rest[..size.min(rest.len())];
        let n_kv = self.write_rows(rows, reached);
        if let Some(Drafting::NextToken { next, .. }) = self.state.drafting {
            // Behind the prompt's last token stands one that is not known yet; its place is written again when it is.
            let behind: Vec<u32> = rest[1..].iter().copied().chain([0]).take(rows.len()).collect();
            self.executor.write_state(next, 0, bytemuck::cast_slice(&behind));
        }
        Chunk { rows, size, last, n_kv }
    }

    /// Computes the prompt from `done` on, chunk by chunk, and draws the first token. `None` if the listener broke.
    async fn prefill(
        &mut self,
        prompt: &[u32],
        mut done: usize,
        reached: Reached,
        on_event: &mut impl FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Option<E::Ticket>, EngineError> {
        let total = prompt.len();
        self.reserve(total);
        let mut under_way: VecDeque<(usize, E::Ticket)> = VecDeque::new();
        loop {
            if on_event(Event::Prefill { done, total }).is_break() {
                self.drain(under_way.into_iter().map(|(_, ticket)| ticket)).await?;
                return Ok(None);
            }
            let Chunk { rows, size, last, n_kv } = self.write_chunk(prompt, reached);
            let report = Some(if last { self.state.sampler.result } else { self.state.step });
            let plan = self.plans.chunk(size, last);
            let ticket = self.executor.submit(plan, n_kv, report).map_err(EngineError::executor)?;
            let ticket = ticket.expect("a result was asked for");
            self.pages.append(rows);
            if last {
                self.predict(n_kv)?;
                self.drain(under_way.into_iter().map(|(_, ticket)| ticket)).await?;
                return Ok(Some(ticket));
            }
            under_way.push_back((n_kv as usize, ticket));
            // One chunk runs while the next is prepared; more would only delay a cancellation.
            if under_way.len() > 1 {
                let (computed, ticket) = under_way.pop_front().expect("there are two");
                self.drain([ticket]).await?;
                done = computed;
            }
        }
    }

    /// Waits for results that nobody looks at.
    async fn drain(&mut self, tickets: impl IntoIterator<Item = E::Ticket>) -> Result<(), EngineError> {
        for ticket in tickets {
            self.executor.read_ticket(ticket, &mut [0; size_of::<Step>()]).await.map_err(EngineError::executor)?;
        }
        Ok(())
    }

    /// The logits of every position, row by row: `on_row(position, logits)`. Leaves the cache with these tokens.
    ///
    /// # Errors
    /// If the prompt is impossible or the device fails.
    pub async fn logits(&mut self, ids: &[u32], mut on_row: impl FnMut(usize, &[f32])) -> Result<(), EngineError> {
        // No answer follows: a whole context may be looked at.
        self.check_prompt(ids, self.options.n_ctx as usize)?;
        let chunk = self.plans.prefill[0].0;
        let vocab = self.config.vocab_size;
        if self.logits.is_none() {
            let out =
                self.executor.create_state("logits", Elem::F32, &[chunk, vocab]).map_err(EngineError::executor)?;
            let decoder = decoder(&self.config, &self.weights, &self.state, self.options.expand_from);
            let recording = record_logits(&decoder, &self.state, chunk, out);
            let plan = self.executor.compile(&recording).map_err(EngineError::executor)?;
            self.logits = Some((plan, out));
        }
        self.clear_cache();
        self.begin(ids);
        self.reserve(ids.len());
        for rows in ids.chunks(chunk as usize) {
            let pos = self.pages.n_tokens();
            let n_kv = self.write_rows(rows, Reached::default());
            let (plan, out) = self.logits.as_ref().expect("was made above");
            self.executor.submit(plan, n_kv, None).map_err(EngineError::executor)?;
            let bytes = self.executor.read_state(*out).await.map_err(EngineError::executor)?;
            self.pages.append(rows);
            for (r, row) in bytes.chunks_exact(vocab as usize * 4).take(rows.len()).enumerate() {
                let floats: Vec<f32> = row.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                on_row(pos + r, &floats);
            }
        }
        Ok(())
    }
}
