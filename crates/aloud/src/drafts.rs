//! How a model drafts tokens, and how that went.

use crate::error::Error;
use aloud_engine::{Draft, DraftKind, DraftStats};
use serde::Serialize;

/// Several tokens a step: drafts are guesses that one pass of the model verifies. They change how fast an answer comes,
/// not how its tokens are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drafts {
    /// One token a step.
    #[default]
    Off,
    /// Multi-token prediction if the model has a layer for it, else lookup; but nothing on an adapter that is the CPU unless
    /// the model has the layer. Stops for an answer in which the clock shows no gain.
    Auto,
    /// By the layer that the model has for it: multi-token prediction (DeepSeek-V3).
    NextToken,
    /// By what followed when the sequence said the same before.
    Lookup,
}

impl Drafts {
    /// What the engine is told.
    pub(crate) fn choose(
        self,
        n_drafts: Option<u32>,
        model: &str,
        has_layer: bool,
        on_cpu: bool,
    ) -> Result<Option<Draft>, Error> {
        let kind = match self {
            Drafts::NextToken if !has_layer => return Err(Error::NoDraftLayer { model: model.to_owned() }),
            Drafts::Auto if has_layer => DraftKind::NextToken,
            Drafts::Auto if !on_cpu => DraftKind::Lookup,
            Drafts::Auto | Drafts::Off => return Ok(None),
            Drafts::NextToken => DraftKind::NextToken,
            Drafts::Lookup => DraftKind::Lookup,
        };
        // The layer was made to look one token ahead and each further draft runs it again; looking up costs nothing.
        let usual = if kind == DraftKind::NextToken { 1 } else { 4 };
        Ok(Some(Draft { kind, n_drafts: n_drafts.unwrap_or(usual), adaptive: self == Drafts::Auto }))
    }
}

/// How drafting went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DraftReport {
    /// `mtp` (multi-token prediction) or `lookup`.
    pub kind: &'static str,
    /// Steps that could verify drafts.
    pub steps: usize,
    /// For each place behind the last token: how often a token was drafted there.
    pub drafted: Vec<usize>,
    /// And how often it was right, together with all before it.
    pub accepted: Vec<usize>,
    /// Tokens per step that could verify drafts.
    pub tokens_per_step: f64,
    /// How many times as fast tokens came as without drafts, if both were timed.
    pub speed_up: Option<f64>,
    /// Whether drafting was stopped because it was no gain.
    pub stopped: bool,
}

impl DraftReport {
    pub(crate) fn new(draft: Draft, stats: &DraftStats) -> DraftReport {
        let n = draft.n_drafts as usize;
        DraftReport {
            kind: draft.kind.name(),
            steps: stats.n_steps,
            drafted: stats.drafted[..n].to_vec(),
            accepted: stats.accepted[..n].to_vec(),
            tokens_per_step: stats.tokens_per_step(),
            speed_up: stats.plain_ms.zip(stats.draft_ms).map(|(plain, draft)| plain / draft),
            stopped: stats.stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_drafts_come_from_what_there_is() {
        let choose = |drafts: Drafts, has_layer, on_cpu| drafts.choose(None, "m", has_layer, on_cpu);
        let draft = |kind, n_drafts, adaptive| Some(Draft { kind, n_drafts, adaptive });
        let mtp = |adaptive| draft(DraftKind::NextToken, 1, adaptive);
        let lookup = |adaptive| draft(DraftKind::Lookup, 4, adaptive);
        for (drafts, has_layer, on_cpu, expected) in [
            (Drafts::Off, true, false, None),
            (Drafts::Auto, true, true, mtp(true)),
            (Drafts::Auto, false, false, lookup(true)),
            (Drafts::Auto, false, true, None),
            (Drafts::NextToken, true, true, mtp(false)),
            (Drafts::Lookup, true, true, lookup(false)),
        ] {
            assert_eq!(choose(drafts, has_layer, on_cpu).expect("is possible"), expected, "{drafts:?}");
        }
        let error = choose(Drafts::NextToken, false, false).expect_err("there is no layer").to_string();
        assert!(error.contains("`m`") && error.contains("lookup"), "{error}");
    }

    #[test]
    fn a_report_has_one_count_per_place() {
        let draft = Draft { kind: DraftKind::Lookup, n_drafts: 2, adaptive: true };
        let stats = DraftStats {
            n_steps: 10,
            drafted: [10, 5, 0, 0],
            accepted: [6, 2, 0, 0],
            draft_ms: Some(2.0),
            plain_ms: Some(3.0),
            stopped: false,
        };
        let report = DraftReport::new(draft, &stats);
        assert_eq!((report.drafted, report.accepted), (vec![10, 5], vec![6, 2]));
        assert_eq!((report.tokens_per_step, report.speed_up), (1.8, Some(1.5)));
    }
}
