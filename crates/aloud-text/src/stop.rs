//! Stop strings.

/// Ends a text at the first of several strings, however it is cut into pieces.
///
/// Text before a stop string is emitted, the string itself and everything after it never. An end
/// that could still become a stop string is held back until it is decided.
#[derive(Clone, Debug)]
pub struct StopStrings {
    stops: Vec<String>,
    held: String,
    stopped: bool,
}

impl StopStrings {
    /// Stops at any of `stops`; empty strings are ignored.
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops: stops.into_iter().filter(|stop| !stop.is_empty()).collect(), held: String::new(), stopped: false }
    }

    /// Takes the next piece of text. Returns what may be shown, and whether a stop string ended
    /// the text.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        if self.stopped {
            return (String::new(), true);
        }
        self.held.push_str(piece);
        if let Some((_, at)) = self.first_stop() {
            self.stopped = true;
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let undecided = self.stops.iter().map(|stop| partial_suffix(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - undecided);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// The stop string that is complete first, as (end, start): so it does not matter how the
    /// text was cut into pieces.
    fn first_stop(&self) -> Option<(usize, usize)> {
        self.stops.iter().filter_map(|stop| self.held.find(stop).map(|at| (at + stop.len(), at))).min()
    }

    /// The text that was held back, when the text ended without a stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Whether a stop string was seen.
    pub fn stopped(&self) -> bool {
        self.stopped
    }
}

/// The length of the longest end of `text` that begins `needle` without being all of it.
pub(crate) fn partial_suffix(text: &str, needle: &str) -> usize {
    needle.char_indices().map(|(at, _)| at).rev().find(|&at| text.ends_with(&needle[..at])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut stop = StopStrings::new(stops.iter().map(|s| (*s).to_owned()).collect());
        let mut text: String = pieces.iter().map(|piece| stop.push(piece).0).collect();
        text.push_str(&stop.finish());
        (text, stop.stopped())
    }

    #[test]
    fn a_stop_string_may_be_cut() {
        assert_eq!(run(&["\n\nUser"], &["a\n", "\nUs", "er: b"]), ("a".into(), true));
        assert_eq!(run(&["\n\nUser"], &["a\n", "\nUs", "ual"]), ("a\n\nUsual".into(), false));
        assert_eq!(run(&["aab"], &["a", "a", "a", "b", "c"]), ("a".into(), true));
        assert_eq!(run(&["é!"], &["é", "?é"]), ("é?é".into(), false));
        assert_eq!(run(&["", "x"], &["abc"]), ("abc".into(), false));
    }

    #[test]
    fn nothing_follows_a_stop() {
        let mut stop = StopStrings::new(vec!["END".into()]);
        assert_eq!(stop.push("a END b"), ("a ".into(), true));
        assert_eq!(stop.push("c"), (String::new(), true));
        assert_eq!(stop.finish(), "");
    }

    #[test]
    fn text_is_not_held_back_without_need() {
        let mut stop = StopStrings::new(vec!["END".into()]);
        assert_eq!(stop.push("hello E"), ("hello ".into(), false));
        assert_eq!(stop.push("."), ("E.".into(), false));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[abé]{0,20}", cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let stops = ["ab\u{e9}", "ba", "\u{e9}\u{e9}b"];
            let mut at: Vec<usize> = cuts.iter().map(|c| text.floor_char_boundary(c.index(text.len() + 1))).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces: Vec<&str> = at.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            let expected = stops.iter().filter_map(|s| text.find(s).map(|i| (i + s.len(), i))).min();
            let (got, stopped) = run(&stops, &pieces);
            prop_assert_eq!(stopped, expected.is_some());
            let shown = &text[..expected.map_or(text.len(), |(_, start)| start)];
            prop_assert_eq!(got, shown);
        }
    }
}
