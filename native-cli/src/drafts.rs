//! How drafting went, in a line.

use aloud::DraftReport;

/// `drafts: lookup, 41 of 60 right (1st 80 %, 2nd 55 %), 1.68 tokens a step, 1.3 times as fast as without`.
pub fn describe(report: &DraftReport) -> String {
    let [drafted, accepted] = [&report.drafted, &report.accepted].map(|counts| counts.iter().sum::<usize>());
    let mut parts = vec![format!("drafts: {}", report.kind)];
    if drafted == 0 {
        parts.push("none made".into());
    } else {
        parts.push(format!("{accepted} of {drafted} right ({})", shares(report)));
        parts.push(format!("{:.2} tokens a step", report.tokens_per_step));
    }
    if let Some(speed_up) = report.speed_up {
        parts.push(format!("{speed_up:.2} times as fast as without"));
    }
    if report.stopped {
        parts.push("stopped for it was no gain".into());
    }
    parts.join(", ")
}

/// The share that was right of each place behind the last token.
fn shares(report: &DraftReport) -> String {
    let share = |(place, (&drafted, &accepted)): (usize, (&usize, &usize))| {
        let nth = ["1st", "2nd", "3rd", "4th"][place];
        (drafted > 0).then(|| format!("{nth} {:.0} %", accepted as f64 / drafted as f64 * 100.0))
    };
    report.drafted.iter().zip(&report.accepted).enumerate().filter_map(share).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_often_drafts_were_right_and_whether_they_paid() {
        let mut report = DraftReport {
            kind: "lookup",
            steps: 60,
            drafted: vec![40, 20, 0],
            accepted: vec![32, 9, 0],
            tokens_per_step: 1.683,
            speed_up: Some(1.31),
            stopped: false,
        };
        assert_eq!(
            describe(&report),
            "drafts: lookup, 41 of 60 right (1st 80 %, 2nd 45 %), 1.68 tokens a step, 1.31 times as fast as without"
        );
        report.stopped = true;
        report.speed_up = Some(0.9);
        assert!(describe(&report).ends_with("0.90 times as fast as without, stopped for it was no gain"));
        let none = DraftReport { drafted: vec![0], accepted: vec![0], speed_up: None, stopped: false, ..report };
        assert_eq!(describe(&none), "drafts: lookup, none made");
    }
}
