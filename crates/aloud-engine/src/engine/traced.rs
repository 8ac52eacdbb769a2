//! A request that is looked into: the same steps, one at a time, through plans that leave behind what their routers and
//! the head did.

use super::{Chunk, Engine, Event, Generation, Reached};
use crate::control::Control;
use crate::error::EngineError;
use crate::logprobs::TokenLogprob;
use crate::plans::{Drafting, PlanSet, decoder};
use crate::trace::{Phase, StepTrace, Trace, Traced};
use aloud_model::LayerCache;
use aloud_ops::{Executor, SampleResult, Step, Tensor};
use std::ops::ControlFlow;

/// A plan of the set.
#[derive(Clone, Copy)]
enum Which {
    Chunk {
        size: usize,
        last: bool,
    },
    Decode,
    Verify,
    /// The first draft of a step, or a further one.
    Predict {
        first: bool,
    },
}

/// What a request wants to see.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub trace: bool,
    pub top_logprobs: Option<u32>,
}

/// What a plan drew, and how likely that was.
struct Drew {
    result: SampleResult,
    logprobs: Vec<TokenLogprob>,
}

impl<P> PlanSet<P> {
    fn get(&self, which: Which) -> &P {
        match which {
            Which::Chunk { size, last } => self.chunk(size, last),
            Which::Decode => &self.decode,
            Which::Verify => self.verify.as_ref().expect("there is drafting"),
            Which::Predict { first } => &self.predict.as_ref().expect("a layer drafts")[usize::from(!first)],
        }
    }
}

impl<E: Executor> Engine<E> {
    /// As `prefill` and `decode`, but waits for each step and tells what went on in it.
    pub(super) async fn generate_traced(
        &mut self,
        prompt: &[u32],
        reached: Reached,
        look: Look,
        control: &Control,
        ending: &mut Generation,
        on_event: &mut impl FnMut(Event) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        self.compile_traced()?;
        let Some(mut drew) = self.trace_prompt(prompt, reached, look, on_event).await? else { return Ok(()) };
        loop {
            for logprob in drew.logprobs {
                // The token itself follows, and what the listener says then is heard.
                let _ = on_event(Event::Logprob(logprob));
            }
            if !self.take(&drew.result, ending, on_event) {
                return Ok(());
            }
            if control.take_answer_now() {
                self.close_thought();
            }
            let Some(next) = self.trace_step(&drew.result, look, on_event).await? else { return Ok(()) };
            drew = next;
            if let Some(stats) = &mut ending.drafts {
                stats.count(&drew.result);
            }
        }
    }

    /// Makes the plans that tell, if this is the first request that wants them.
    fn compile_traced(&mut self) -> Result<(), EngineError> {
        if self.traced.is_none() {
            let decoder = decoder(&self.config, &self.weights, &self.state, self.options.expand_from);
            let executor = &mut self.executor;
            let compile = |rec, predicts| Traced::compile(executor, &decoder, rec, predicts);
            self.traced = Some(PlanSet::compile(&decoder, &self.state, &self.options.chunks(), compile)?);
        }
        Ok(())
    }

    /// Computes the prompt and draws the first token. `None` if the listener broke.
    async fn trace_prompt(
        &mut self,
        prompt: &[u32],
        reached: Reached,
        look: Look,
        on_event: &mut impl FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Option<Drew>, EngineError> {
        let total = prompt.len();
        self.reserve(total);
        loop {
            let done = self.pages.n_tokens();
            if on_event(Event::Prefill { done, total }).is_break() {
                return Ok(None);
            }
            let Chunk { rows, size, last, n_kv } = self.write_chunk(prompt, reached);
            let which = Which::Chunk { size, last };
            let drew = self.run(which, n_kv, look.top_logprobs.filter(|_| last)).await?;
            self.pages.append(rows);
            // Before the last chunk nothing is drawn.
            let result = if last { drew.result } else { SampleResult { n_cached: n_kv, ..SampleResult::default() } };
            let step = self.step(Phase::Prompt, done as u32, rows.to_vec(), &result);
            if self.tell(which, step, look, on_event).await?.is_break() {
                return Ok(None);
            }
            if last {
                let flow = self.trace_drafts(&result, look, on_event).await?;
                return Ok(flow.is_continue().then_some(drew));
            }
        }
    }

    /// Computes the step behind the one that drew `before`. `None` if the listener broke.
    async fn trace_step(
        &mut self,
        before: &SampleResult,
        look: Look,
        on_event: &mut impl FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Option<Drew>, EngineError> {
        let (which, rows) = match self.state.drafting {
            Some(drafting) if self.pace.is_on() => (Which::Verify, 1 + drafting.n_drafts()),
            _ => (Which::Decode, 1),
        };
        let n_kv = (before.n_cached + rows).min(self.options.n_ctx);
        self.reserve(n_kv as usize);
        let drew = self.run(which, n_kv, look.top_logprobs).await?;
        let result = &drew.result;
        let tokens = before.drawn().last().into_iter().chain(&result.drafts[..result.n_drafts as usize]);
        let step = self.step(Phase::Decode, before.n_cached, tokens.copied().collect(), result);
        if self.tell(which, step, look, on_event).await?.is_break() {
            return Ok(None);
        }
        Ok(self.trace_drafts(result, look, on_event).await?.is_continue().then_some(drew))
    }

    /// Drafts behind a step, if a layer of the model does it.
    async fn trace_drafts(
        &mut self,
        result: &SampleResult,
        look: Look,
        on_event: &mut impl FnMut(Event) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, EngineError> {
        let drafting = self.state.drafting.filter(|_| self.pace.is_on());
        let Some(Drafting::NextToken { n_drafts, step, tokens, .. }) = drafting else {
            return Ok(ControlFlow::Continue(()));
        };
        if result.status != SampleResult::RUNNING {
            return Ok(ControlFlow::Continue(()));
        }
        let n_kv = (result.n_cached + n_drafts).min(self.options.n_ctx);
        self.reserve(n_kv as usize);
        let (mut pos, mut rows) = (result.n_cached - result.n_drawn, result.drawn().to_vec());
        for i in 0..n_drafts {
            let which = Which::Predict { first: i == 0 };
            self.run(which, n_kv, None).await?;
            let nothing_drawn = SampleResult { n_cached: result.n_cached, ..SampleResult::default() };
            let told = self.step(Phase::Draft, pos, rows, &nothing_drawn);
            if self.tell(which, told, look, on_event).await?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            // Near the end of an answer there is no room for further drafts.
            let next: Step = bytemuck::pod_read_unaligned(&self.read(step).await?);
            if next.n_tokens == 0 {
                break;
            }
            (pos, rows) = (next.pos, vec![bytemuck::pod_read_unaligned(&self.read(tokens).await?[..4])]);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Runs a plan and waits for it; reads how likely the drawn tokens were if that is wanted.
    async fn run(&mut self, which: Which, n_kv: u32, top_logprobs: Option<u32>) -> Result<Drew, EngineError> {
        let plan = &self.traced.as_ref().expect("was compiled").get(which).plan;
        let ticket =
            self.executor.submit(plan, n_kv, Some(self.state.sampler.result)).map_err(EngineError::executor)?;
        let mut result = SampleResult::default();
        let out = bytemuck::bytes_of_mut(&mut result);
        self.executor.read_ticket(ticket.expect("a result was asked for"), out).await.map_err(EngineError::executor)?;
        let mut logprobs = Vec::new();
        if let Some(n_top) = top_logprobs {
            let kept = self.traced.as_ref().expect("was compiled").get(which).logits.expect("the plan draws");
            let bytes = self.read(kept).await?;
            let rows = bytes.chunks_exact(self.config.vocab_size as usize * 4);
            logprobs
                .extend(result.drawn().iter().zip(rows).map(|(&id, row)| TokenLogprob::of(id, row, n_top as usize)));
        }
        Ok(Drew { result, logprobs })
    }

    async fn read(&mut self, state: Tensor) -> Result<Vec<u8>, EngineError> {
        self.executor.read_state(state).await.map_err(EngineError::executor)
    }

    fn step(&self, phase: Phase, pos: u32, tokens: Vec<u32>, result: &SampleResult) -> StepTrace {
        StepTrace {
            phase,
            pos,
            tokens,
            drafts: result.drafts[..result.n_drafts as usize].to_vec(),
            accepted: result.n_drawn.saturating_sub(1),
            drawn: result.drawn().to_vec(),
            n_cached: result.n_cached,
            cache_bytes: u64::from(result.n_cached) * self.token_bytes(),
        }
    }

    /// Bytes of the cache per token, over all layers that are in use.
    fn token_bytes(&self) -> u64 {
        let drafts = matches!(self.state.drafting, Some(Drafting::NextToken { .. }));
        let n_layers = self.config.num_hidden_layers as usize + usize::from(drafts);
        let row = |tensor: Tensor| tensor.elem.bytes(u64::from(tensor.cols()));
        let layer = |cache: &LayerCache| match cache {
            LayerCache::Grouped(cache) => row(cache.k) + row(cache.v),
            LayerCache::Latent(cache) => row(cache.rows),
        };
        self.state.caches.iter().take(n_layers).map(layer).sum()
    }

    /// Tells of a step, then of its layers row by row.
    async fn tell(
        &mut self,
        which: Which,
        step: StepTrace,
        look: Look,
        on_event: &mut impl FnMut(Event) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, EngineError> {
        if !look.trace {
            return Ok(ControlFlow::Continue(()));
        }
        if on_event(Event::Trace(Trace::Step(step.clone()))).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        for probe in &self.traced.as_ref().expect("was compiled").get(which).probes {
            for layer in probe.read(&mut self.executor, &step).await.map_err(EngineError::executor)? {
                if on_event(Event::Trace(Trace::Layer(layer))).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
