//! Decode steps, submitted ahead of what is read.

use super::{Engine, Event, Finish, Generation};
use crate::control::Control;
use crate::error::EngineError;
use crate::plans::Drafting;
use aloud_ops::{Executor, SampleResult, SamplerState};
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// A step that was submitted.
pub(super) struct UnderWay<T> {
    ticket: T,
    /// Rows that it may add to the cache.
    rows: usize,
    drafts: bool,
}

impl<E: Executor> Engine<E> {
    /// Submits the drafting of tokens behind what was just submitted, if a layer of the model does it.
    pub(super) fn predict(&mut self, n_kv: u32) -> Result<(), EngineError> {
        let drafting = self.state.drafting.filter(|_| self.pace.is_on());
        let Some(Drafting::NextToken { n_drafts, .. }) = drafting else { return Ok(()) };
        // Drafts stand up to so many positions behind the cached ones, in the extra layer's cache alone.
        let n_kv = (n_kv + n_drafts).min(self.options.n_ctx);
        self.reserve(n_kv as usize);
        let [first, further] = self.plans.predict.as_ref().expect("was compiled with the state");
        for plan in [first].into_iter().chain(std::iter::repeat_n(further, n_drafts as usize - 1)) {
            self.executor.submit(plan, n_kv, None).map_err(EngineError::executor)?;
        }
        Ok(())
    }

    /// Submits a step behind at most `n_cached` cached positions.
    pub(super) fn submit_step(&mut self, n_cached: usize) -> Result<UnderWay<E::Ticket>, EngineError> {
        let drafting = self.state.drafting.filter(|_| self.pace.next_drafts());
        let rows = drafting.map_or(1, |drafting| 1 + drafting.n_drafts() as usize);
        let n_kv = (n_cached + rows).min(self.options.n_ctx as usize);
        self.reserve(n_kv);
        let verify = self.plans.verify.as_ref().filter(|_| drafting.is_some());
        let plan = verify.unwrap_or(&self.plans.decode);
        let result = Some(self.state.sampler.result);
        let ticket = self.executor.submit(plan, n_kv as u32, result).map_err(EngineError::executor)?;
        if drafting.is_some() {
            self.predict(n_kv as u32)?;
        }
        Ok(UnderWay { ticket: ticket.expect("a result was asked for"), rows, drafts: drafting.is_some() })
    }

    /// Reads the first token after `n_cached` cached ones and goes on, steps ahead of what is read.
    pub(super) async fn decode(
        &mut self,
        first: E::Ticket,
        mut n_cached: usize,
        max_tokens: u32,
        control: &Control,
        ending: &mut Generation,
        on_event: &mut impl FnMut(Event) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        let depth = self.options.run_ahead.clamp(1, self.executor.max_in_flight());
        let mut under_way = VecDeque::from([UnderWay { ticket: first, rows: 0, drafts: false }]);
        loop {
            if control.take_answer_now() {
                self.close_thought();
            }
            // Every step draws a token at least.
            while ending.n_generated + under_way.len() < max_tokens as usize && under_way.len() < depth {
                let ahead: usize = under_way.iter().map(|step| step.rows).sum();
                let step = self.submit_step(n_cached + ahead)?;
                under_way.push_back(step);
            }
            let Some(step) = under_way.pop_front() else { break };
            let mut result = SampleResult::default();
            let out = bytemuck::bytes_of_mut(&mut result);
            self.executor.read_ticket(step.ticket, out).await.map_err(EngineError::executor)?;
            if result.status == SampleResult::AFTER_END {
                break;
            }
            n_cached = result.n_cached as usize;
            self.pace.arrived(step.drafts, result.n_drawn as usize);
            if let (Some(stats), true) = (&mut ending.drafts, step.drafts) {
                stats.count(&result);
            }
            if !self.take(&result, ending, on_event) {
                break;
            }
        }
        self.drain(under_way.into_iter().map(|step| step.ticket)).await
    }

    /// Hands on what a step drew. Returns whether more may follow.
    pub(super) fn take(
        &mut self,
        result: &SampleResult,
        ending: &mut Generation,
        on_event: &mut impl FnMut(Event) -> ControlFlow<()>,
    ) -> bool {
        let (last, others) = result.drawn().split_last().expect("a step draws a token");
        for &token in others {
            ending.n_generated += 1;
            let broken = on_event(Event::Token(token)).is_break();
            self.append(token);
            if broken {
                return false;
            }
        }
        ending.n_generated += 1;
        let broken = on_event(Event::Token(*last)).is_break();
        ending.finish = match result.status {
            SampleResult::STOPPED => Finish::Stop,
            SampleResult::LENGTH => Finish::Length,
            _ if broken => Finish::Cancelled,
            _ => {
                // Some later step, submitted or not, takes this token into the cache.
                self.append(*last);
                return true;
            }
        };
        false
    }

    /// Lets no token of thought follow those of the steps under way.
    pub(super) fn close_thought(&mut self) {
        let at = std::mem::offset_of!(SamplerState, think_budget) as u64;
        self.executor.write_state(self.state.sampler.sampler, at, bytemuck::bytes_of(&0u32));
    }

    pub(super) fn append(&mut self, token: u32) {
        self.reserve(self.pages.n_tokens() + 1);
        self.pages.append(&[token]);
    }
}
