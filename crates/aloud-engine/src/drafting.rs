//! Drafts: several tokens a step, when guesses are cheap and often right.

use crate::error::EngineError;
use aloud_ops::{MAX_DRAFTS, SampleResult};
use web_time::Instant;

/// Where drafts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftKind {
    /// The layer that the model has for it: multi-token prediction (DeepSeek-V3).
    NextToken,
    /// What followed when the sequence said the same before.
    Lookup,
}

impl DraftKind {
    /// `mtp` or `lookup`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DraftKind::NextToken => "mtp",
            DraftKind::Lookup => "lookup",
        }
    }
}

/// How tokens are drafted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Where they come from.
    pub kind: DraftKind,
    /// Tokens drafted per step, 1 to 4.
    pub n_drafts: u32,
    /// Whether drafting stops for an answer in which it turns out to be no gain.
    pub adaptive: bool,
}

impl Draft {
    pub(crate) fn check(&self, has_next_token: bool) -> Result<(), EngineError> {
        if !(1..=MAX_DRAFTS as u32).contains(&self.n_drafts) {
            let found = self.n_drafts.to_string();
            return Err(EngineError::Options { field: "n_drafts", found, expected: "1 to 4" });
        }
        if self.kind == DraftKind::NextToken && !has_next_token {
            let (found, expected) = ("multi-token prediction".into(), "a model that has a layer for it, or lookup");
            return Err(EngineError::Options { field: "draft", found, expected });
        }
        Ok(())
    }
}

/// How drafting went in an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DraftStats {
    /// Steps that could verify drafts.
    pub n_steps: usize,
    /// Of each place behind the last token: how often a token was drafted there.
    pub drafted: [usize; MAX_DRAFTS],
    /// And how often it was right, together with all before it.
    pub accepted: [usize; MAX_DRAFTS],
    /// Milliseconds per token with drafts, if measured.
    pub draft_ms: Option<f64>,
    /// Milliseconds per token without, if measured.
    pub plain_ms: Option<f64>,
    /// Whether drafting was stopped because it was no gain.
    pub stopped: bool,
}

impl DraftStats {
    /// Tokens per step that could verify drafts.
    #[must_use]
    pub fn tokens_per_step(&self) -> f64 {
        let accepted: usize = self.accepted.iter().sum();
        (self.n_steps + accepted) as f64 / self.n_steps.max(1) as f64
    }

    pub(crate) fn count(&mut self, result: &SampleResult) {
        self.n_steps += 1;
        let n_accepted = result.n_drawn as usize - 1;
        for place in 0..result.n_drafts as usize {
            self.drafted[place] += 1;
            self.accepted[place] += usize::from(place < n_accepted);
        }
    }
}

/// Steps of a kind that are not timed: drivers compile at first use.
const WARM_UP: usize = 2;
/// Steps without drafts that are timed.
const PLAIN_STEPS: usize = 6;
/// After so many steps with drafts, and again after as many, it is decided whether they pay.
const DRAFT_STEPS: usize = 16;

/// Time and tokens of steps of one kind.
#[derive(Clone, Debug, Default)]
struct Timed {
    seen: usize,
    tokens: usize,
    ms: Vec<f64>,
}

impl Timed {
    /// Steps that are timed.
    fn n_timed(&self) -> usize {
        self.ms.len()
    }

    fn add(&mut self, tokens: usize, ms: f64) {
        self.seen += 1;
        if self.seen > WARM_UP {
            self.tokens += tokens;
            self.ms.push(ms);
        }
    }

    /// By the median step: one that waited for something else does not count.
    fn ms_per_token(&self) -> Option<f64> {
        let mut sorted = self.ms.clone();
        sorted.sort_by(f64::total_cmp);
        let median = sorted.get(sorted.len() / 2)?;
        Some(median * sorted.len() as f64 / self.tokens as f64)
    }
}

/// Whether drafting pays, by the clock. Steps without drafts are timed once per engine, those with drafts in each answer.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    on: bool,
    adaptive: bool,
    plain: Timed,
    draft: Timed,
    stopped: bool,
    last: Option<Instant>,
}

impl Pace {
    pub fn new(adaptive: bool) -> Self {
        let (plain, draft) = (Timed::default(), Timed::default());
        Pace { on: true, adaptive, plain, draft, stopped: false, last: None }
    }

    pub fn set_on(&mut self, on: bool) {
        self.on = on;
    }

    pub fn is_on(&self) -> bool {
        self.on
    }

    pub fn begin_answer(&mut self) {
        self.draft = Timed::default();
        self.stopped = false;
        self.last = None;
    }

    /// Whether the next step to be submitted takes drafts.
    pub fn next_drafts(&self) -> bool {
        if !self.on || !self.adaptive {
            return self.on;
        }
        !self.stopped && self.plain.n_timed() == PLAIN_STEPS
    }

    /// A step's result has arrived.
    pub fn arrived(&mut self, drafts: bool, tokens: usize) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.time(drafts, tokens, (now - last).as_secs_f64() * 1e3);
        }
    }

    fn time(&mut self, drafts: bool, tokens: usize, ms: f64) {
        if !drafts {
            if self.plain.n_timed() < PLAIN_STEPS {
                self.plain.add(tokens, ms);
            }
            return;
        }
        self.draft.add(tokens, ms);
        let n = self.draft.n_timed();
        if self.adaptive && n > 0 && n.is_multiple_of(DRAFT_STEPS) {
            self.stopped |= self.draft.ms_per_token() > self.plain.ms_per_token();
        }
    }

    pub fn report(&self, stats: &mut DraftStats) {
        stats.draft_ms = self.draft.ms_per_token();
        stats.plain_ms = self.plain.ms_per_token();
        stats.stopped = self.stopped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(plain_ms: f64, draft_ms: f64, tokens_per_step: usize) -> Pace {
        let mut pace = Pace::new(true);
        for _ in 0..WARM_UP + PLAIN_STEPS {
            assert!(!pace.next_drafts());
            pace.time(false, 1, plain_ms);
        }
        for _ in 0..WARM_UP + DRAFT_STEPS {
            assert!(pace.next_drafts());
            pace.time(true, tokens_per_step, draft_ms);
        }
        pace
    }

    #[test]
    fn drafting_goes_on_where_it_pays_and_stops_where_it_does_not() {
        assert!(pace(10.0, 18.0, 2).next_drafts());
        let mut slow = pace(10.0, 22.0, 2);
        assert!(!slow.next_drafts());
        slow.begin_answer();
        assert!(slow.next_drafts(), "the next answer may be another matter");
    }

    #[test]
    fn what_paid_at_first_is_stopped_when_it_pays_no_more() {
        let mut pace = pace(10.0, 18.0, 2);
        for _ in 0..3 * DRAFT_STEPS {
            pace.time(true, 1, 18.0);
        }
        assert!(!pace.next_drafts());
        for _ in 0..100 {
            pace.time(false, 1, 30.0);
        }
        assert_eq!((pace.plain.n_timed(), pace.plain.ms_per_token()), (PLAIN_STEPS, Some(10.0)));
    }

    #[test]
    fn drafting_can_be_turned_off_and_on_again() {
        for adaptive in [false, true] {
            let mut pace = Pace::new(adaptive);
            pace.set_on(false);
            assert!((0..50).all(|_| !pace.next_drafts()));
            pace.set_on(true);
            assert_eq!(pace.next_drafts(), !adaptive, "without drafts comes first, to be timed");
        }
    }

    #[test]
    fn acceptance_is_counted_by_place() {
        let mut stats = DraftStats::default();
        stats.count(&SampleResult { n_drawn: 3, n_drafts: 4, ..SampleResult::default() });
        stats.count(&SampleResult { n_drawn: 1, n_drafts: 1, ..SampleResult::default() });
        assert_eq!((stats.drafted, stats.accepted), ([2, 1, 1, 1], [1, 1, 0, 0]));
        assert!((stats.tokens_per_step() - 2.0).abs() < 1e-9);
    }
}
