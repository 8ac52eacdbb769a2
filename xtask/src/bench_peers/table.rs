//! The table: speeds, Aloud's ratio to each, and the bars.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::engines::{Engine, Round, Task};

/// What Aloud's answers have to reach in tokens per second, of tiny-r1 in a Chromium as it comes.
const TINY_DECODE: f64 = 40.0;

/// What a row holds Aloud to.
struct Bar {
    ours: Engine,
    theirs: Engine,
    /// The fastest of these sets the bar.
    among: &'static [Engine],
    prefill: f64,
    decode: f64,
}

impl Bar {
    fn of(row: Engine) -> Option<Self> {
        use Engine::{Chromium, LlamaCpp, Native, OnnxRuntime, Tiny, Transformers, Wllama};
        match row {
            Native | Tiny => None,
            LlamaCpp => Some(Bar { ours: Native, theirs: row, among: &[LlamaCpp], prefill: 5.0, decode: 4.0 }),
            Chromium => Some(Bar { ours: row, theirs: Native, among: &[Native], prefill: 0.8, decode: 0.8 }),
            Wllama | OnnxRuntime | Transformers => {
                let among = &[Wllama, OnnxRuntime, Transformers];
                Some(Bar { ours: Chromium, theirs: row, among, prefill: 1.2, decode: 4.0 })
            }
        }
    }
}

/// One of the two speeds.
#[derive(Clone, Copy)]
enum Speed {
    Prefill,
    Decode,
}

impl Speed {
    fn of(self, round: &Round) -> f64 {
        match self {
            Speed::Prefill => round.prefill,
            Speed::Decode => round.decode,
        }
    }

    fn wanted(self, bar: &Bar) -> f64 {
        match self {
            Speed::Prefill => bar.prefill,
            Speed::Decode => bar.decode,
        }
    }
}

/// The rounds of every engine.
type Measured = [(Engine, Vec<Round>)];

/// The table with what belongs to it; `about` says where and when.
pub fn markdown(measured: &Measured, about: &str) -> String {
    let Task { prompt_tokens, answer_tokens, cached_tokens, question, tiny_question, .. } = Task::read();
    let mut out =
        format!("{about}\n\n| tokens/s | prompt of {prompt_tokens} | ratio | answer of {answer_tokens} | ratio |\n");
    out += "|---|---|---|---|---|\n";
    for (engine, rounds) in measured {
        let version = if rounds[0].version.is_empty() { String::new() } else { format!(" ({})", rounds[0].version) };
        let cells = [Speed::Prefill, Speed::Decode].map(|speed| {
            let (min, median, max) = spread(rounds.iter().map(|round| speed.of(round)));
            let range = format!("{} ({} to {})", figure(median), figure(min), figure(max));
            format!("{range} | {}", ratio(measured, *engine, speed))
        });
        let _ = writeln!(out, "| {}{version} | {} |", engine.name(), cells.join(" | "));
    }
    let _ = writeln!(
        out,
        "\nRatios are of medians, Aloud's to the engine of the row; of Aloud in Chromium to Aloud natively.\n\
         The answer is to \"{question}\", {cached_tokens} tokens in the model's template (tiny-r1's to \
         \"{tiny_question}\"), and begins:\n"
    );
    let mut answers: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (engine, rounds) in measured {
        answers.entry(beginning(&rounds[0].text)).or_default().push(engine.name());
    }
    for (answer, engines) in answers {
        let _ = writeln!(out, "- \"{answer}\": {}", engines.join("; "));
    }
    out
}

/// The cell beside an engine's speed: Aloud's ratio to it, and the bar that it sets if it sets one.
fn ratio(measured: &Measured, engine: Engine, speed: Speed) -> String {
    let median = |engine: Engine| {
        let (_, rounds) = measured.iter().find(|(of, _)| *of == engine)?;
        Some(spread(rounds.iter().map(|round| speed.of(round))).1)
    };
    if let (Engine::Tiny, Speed::Decode, Some(reached)) = (engine, speed, median(engine)) {
        return judged("", reached, TINY_DECODE);
    }
    let Some(bar) = Bar::of(engine) else { return String::new() };
    let (Some(ours), Some(theirs)) = (median(bar.ours), median(bar.theirs)) else { return String::new() };
    let fastest = bar.among.iter().filter_map(|&other| median(other)).fold(0.0, f64::max);
    let ratio = ours / theirs;
    if theirs < fastest { figure(ratio) } else { judged(&format!("{}, ", figure(ratio)), ratio, speed.wanted(&bar)) }
}

/// What was reached, as it is shown, with its bar.
fn judged(shown: &str, reached: f64, wanted: f64) -> String {
    if reached >= wanted { format!("{shown}bar {wanted}") } else { format!("**{shown}misses the bar, {wanted}**") }
}

/// Least, median and most, of at least one.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    (sorted[0], (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0, sorted[n - 1])
}

/// Three digits that count.
fn figure(value: f64) -> String {
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$}")
}

/// An answer's first words, in a line.
pub fn beginning(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(60).collect::<String>().replace('|', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(prefill: &[f64], decode: &[f64], text: &str) -> Vec<Round> {
        let round = |(&prefill, &decode): (&f64, &f64)| {
            let json = serde_json::json!({
                "version": "1.2", "device": "llvmpipe", "prompt_tokens": 128, "cached_tokens": 27,
                "prefill": prefill, "decode": decode, "text": text,
            });
            serde_json::from_value(json).unwrap()
        };
        prefill.iter().zip(decode).map(round).collect()
    }

    fn row(text: &str, engine: Engine) -> Vec<String> {
        let begins = format!("| {} ", engine.name());
        let line = text.lines().find(|line| line.starts_with(&begins)).unwrap();
        line.split('|').skip(1).map(|cell| cell.trim().to_owned()).collect()
    }

    #[test]
    fn ratios_are_of_medians_and_the_fastest_sets_the_bar() {
        let measured = [
            (Engine::Native, rounds(&[100.0, 130.0, 120.0], &[14.0, 16.0, 15.0], "Once\n upon")),
            (Engine::LlamaCpp, rounds(&[10.0], &[5.0], "Once upon")),
            (Engine::Chromium, rounds(&[90.0], &[13.5], "Once upon")),
            (Engine::Wllama, rounds(&[10.0], &[2.0], "Once upon")),
            (Engine::OnnxRuntime, rounds(&[60.0], &[1.5], "There")),
            (Engine::Tiny, rounds(&[500.0], &[39.0], "List")),
        ];
        let text = markdown(&measured, "Here.");
        assert_eq!(row(&text, Engine::Native)[1..5], ["120 (100 to 130)", "", "15.0 (14.0 to 16.0)", ""]);
        assert_eq!(row(&text, Engine::LlamaCpp)[2], "12.0, bar 5");
        assert_eq!(row(&text, Engine::LlamaCpp)[4], "**3.00, misses the bar, 4**");
        assert_eq!(
            [&row(&text, Engine::Chromium)[2], &row(&text, Engine::Chromium)[4]],
            ["**0.75, misses the bar, 0.8**", "0.90, bar 0.8"]
        );
        assert_eq!([&row(&text, Engine::Wllama)[2], &row(&text, Engine::Wllama)[4]], ["9.00", "6.75, bar 4"]);
        assert_eq!(
            [&row(&text, Engine::OnnxRuntime)[2], &row(&text, Engine::OnnxRuntime)[4]],
            ["1.50, bar 1.2", "9.00"]
        );
        assert_eq!([&row(&text, Engine::Tiny)[2], &row(&text, Engine::Tiny)[4]], ["", "**misses the bar, 40**"]);
        assert!(text.contains("- \"Once upon\": Aloud, native; llama.cpp, Vulkan backend; Aloud in Chromium; wllama"));
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!([1.5, 9.999, 14.42, 99.96, 121.7].map(figure), ["1.50", "10.0", "14.4", "100", "122"]);
    }
}
