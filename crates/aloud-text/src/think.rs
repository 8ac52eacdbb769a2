//! Splits what a reasoning model writes into its thought and its answer.

use crate::stop::partial_suffix;

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// A piece of text with its part in the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextEvent {
    /// Text between `<think>` and `</think>`.
    Reasoning(String),
    /// Text for the user.
    Answer(String),
}

/// Splits a stream of text at `<think>` and `</think>`, however the tags are cut into pieces.
///
/// - A text that starts inside a thought is reasoning up to `</think>`. An opening tag that the
///   model repeats at the very start is dropped.
/// - Otherwise a `<think>` at the very start, after white space, opens the thought; without it
///   all is answer.
/// - After the thought all is answer, tags included.
/// - One "\n" after the opening tag and up to two after the closing tag are dropped.
///
/// Source: DeepSeek's reasoning guide and the reasoning parser of vLLM for DeepSeek-R1.
#[derive(Clone, Debug)]
pub struct ThinkSplitter {
    state: State,
    held: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first character that is not white space.
    Start { inside: bool },
    /// In the thought; `newlines` may still be dropped.
    Reasoning { newlines: u8 },
    /// In the answer; `newlines` may still be dropped.
    Answer { newlines: u8 },
}

impl ThinkSplitter {
    /// A splitter at the start of a reply. `starts_inside` if the prompt already opened the
    /// thought: see [`RenderedPrompt::opens_thought`](crate::RenderedPrompt::opens_thought).
    pub fn new(starts_inside: bool) -> Self {
        Self { state: State::Start { inside: starts_inside }, held: String::new() }
    }

    /// Takes the next piece of text and returns what is decided by now.
    pub fn push(&mut self, piece: &str) -> Vec<TextEvent> {
        self.held.push_str(piece);
        let mut events = Vec::new();
        self.advance(false, &mut events);
        events
    }

    /// Returns what was held back, at the end of the text.
    pub fn finish(&mut self) -> Vec<TextEvent> {
        let mut events = Vec::new();
        self.advance(true, &mut events);
        events
    }

    /// Whether the text so far ends inside the thought.
    pub fn is_reasoning(&self) -> bool {
        matches!(self.state, State::Start { inside: true } | State::Reasoning { .. })
    }

    fn advance(&mut self, ended: bool, events: &mut Vec<TextEvent>) {
        loop {
            let before = self.state;
            match self.state {
                State::Start { inside } => self.start(inside, ended),
                State::Reasoning { newlines } => self.reasoning(newlines, ended, events),
                State::Answer { newlines } => self.answer(newlines, events),
            }
            if self.state == before {
                return;
            }
        }
    }

    fn start(&mut self, inside: bool, ended: bool) {
        let text = self.held.trim_start();
        if let Some(rest) = text.strip_prefix(OPEN) {
            self.held = rest.to_owned();
            self.state = State::Reasoning { newlines: 1 };
        } else if ended || !OPEN.starts_with(text) {
            self.state = match inside {
                true => State::Reasoning { newlines: 1 },
                false => State::Answer { newlines: 0 },
            };
        }
    }

    fn reasoning(&mut self, newlines: u8, ended: bool, events: &mut Vec<TextEvent>) {
        let newlines = self.drop_newlines(newlines);
        self.state = State::Reasoning { newlines };
        let (text_bytes, rest_at) = match self.held.find(CLOSE) {
            Some(at) => {
                self.state = State::Answer { newlines: 2 };
                (at, at + CLOSE.len())
            }
            None if ended => (self.held.len(), self.held.len()),
            None => {
                let at = self.held.len() - partial_suffix(&self.held, CLOSE);
                (at, at)
            }
        };
        let rest = self.held.split_off(rest_at);
        self.held.truncate(text_bytes);
        let text = std::mem::replace(&mut self.held, rest);
        if !text.is_empty() {
            events.push(TextEvent::Reasoning(text));
        }
    }

    fn answer(&mut self, newlines: u8, events: &mut Vec<TextEvent>) {
        let newlines = self.drop_newlines(newlines);
        self.state = State::Answer { newlines };
        if !self.held.is_empty() {
            events.push(TextEvent::Answer(std::mem::take(&mut self.held)));
        }
    }

    /// Drops at most `newlines` leading newlines; returns how many may still follow.
    fn drop_newlines(&mut self, mut newlines: u8) -> u8 {
        while newlines > 0 && self.held.starts_with('\n') {
            self.held.remove(0);
            newlines -= 1;
        }
        if self.held.is_empty() { newlines } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(inside: bool, pieces: &[&str]) -> (String, String) {
        let mut splitter = ThinkSplitter::new(inside);
        let mut events: Vec<_> = pieces.iter().flat_map(|p| splitter.push(p)).collect();
        events.extend(splitter.finish());
        let (mut reasoning, mut answer) = (String::new(), String::new());
        for event in events {
            match event {
                TextEvent::Reasoning(text) => {
                    assert!(answer.is_empty(), "reasoning after the answer");
                    assert!(!text.is_empty());
                    reasoning.push_str(&text);
                }
                TextEvent::Answer(text) => {
                    assert!(!text.is_empty());
                    answer.push_str(&text);
                }
            }
        }
        (reasoning, answer)
    }

    #[test]
    fn rules() {
        for (inside, text, reasoning, answer) in [
            (true, "\nadd\n</think>\n\n2", "add\n", "2"),
            (true, "add", "add", ""),
            (true, "<think>\n\nadd</think>2", "\nadd", "2"),
            (true, "</think>\n\n\n2", "", "\n2"),
            (true, "a <think> b</think>c", "a <think> b", "c"),
            (false, "<think>\n\n</think>\n\n2", "\n", "2"),
            (false, " \n<think>\nadd</think>\n2", "add", "2"),
            (false, "2 <think>3</think>", "", "2 <think>3</think>"),
            (false, "\n\n2", "", "\n\n2"),
            (false, "<thin", "", "<thin"),
            (true, "a</think", "a</think", ""),
            (true, "a</think>b</think>c", "a", "b</think>c"),
            (false, "  ", "", "  "),
            (true, "\n", "", ""),
        ] {
            let expected = (reasoning.to_owned(), answer.to_owned());
            assert_eq!(split(inside, &[text]), expected, "{inside} {text:?}");
        }
    }

    #[test]
    fn text_is_not_held_back_without_need() {
        let mut splitter = ThinkSplitter::new(true);
        assert_eq!(splitter.push("a b</"), [TextEvent::Reasoning("a b".into())]);
        assert_eq!(splitter.push("i>"), [TextEvent::Reasoning("</i>".into())]);
        assert!(splitter.is_reasoning());
        assert_eq!(splitter.push("</think>\n\nHi"), [TextEvent::Answer("Hi".into())]);
        assert!(!splitter.is_reasoning());
        assert_eq!(splitter.push(" <"), [TextEvent::Answer(" <".into())]);
    }

    #[test]
    fn every_cut_into_three() {
        let text = " <think>\nté\n</think>\n\nü <think>";
        let bounds: Vec<usize> = (0..=text.len()).filter(|&i| text.is_char_boundary(i)).collect();
        for inside in [false, true] {
            let whole = split(inside, &[text]);
            for &a in &bounds {
                for &b in bounds.iter().filter(|&&b| b >= a) {
                    assert_eq!(split(inside, &[&text[..a], &text[a..b], &text[b..]]), whole);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            inside: bool,
            parts in prop::collection::vec(prop_oneof![
                Just("<think>"), Just("</think>"), Just("\n"), Just(" "), Just("</"), Just("<"), Just("think>"), Just("é"), Just("a")], 0..14),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let text: String = parts.concat();
            let mut at: Vec<usize> = cuts.iter().map(|c| text.floor_char_boundary(c.index(text.len() + 1))).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces: Vec<&str> = at.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            prop_assert_eq!(split(inside, &pieces), split(inside, &[&text]));
        }
    }
}
