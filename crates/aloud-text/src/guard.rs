//! Keeps text that a user wrote from turning into control tokens on its way through a template.
//!
//! A template prints contents and control tokens into one string. So every control token that
//! stands in a content is broken *before* rendering, with a mark after its first character; the
//! rendered string is cut at the control tokens that are still whole, which are the template's
//! own, and the marks are dropped from the text between them. Splitting, trimming and comparing
//! in the template see the content as it is, but for these marks.

use aho_corasick::AhoCorasick;
use std::borrow::Cow;

/// The mark. A Unicode noncharacter: it has no meaning in open interchange, so dropping it from
/// text loses nothing. Source: The Unicode Standard, section 23.7.
pub(crate) const MARK: char = '\u{FDD0}';

/// Finds control tokens in text that must not contain any.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    tokens: Vec<String>,
    finder: AhoCorasick,
}

impl Guard {
    /// Guards against `tokens`. Empty and one-character ones cannot be broken and are ignored.
    pub(crate) fn new<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Self {
        let tokens: Vec<String> =
            tokens.into_iter().filter(|token| token.chars().nth(1).is_some()).map(str::to_owned).collect();
        let finder = AhoCorasick::new(&tokens).expect("control tokens fit an automaton");
        Self { tokens, finder }
    }

    /// Breaks every control token in `content`, and closes an open end: a content that ends like
    /// the beginning of a control token could be completed by what the template prints next.
    pub(crate) fn protect<'a>(&self, content: &'a str) -> Cow<'a, str> {
        let content = unmark(content);
        let mut cuts: Vec<usize> = self
            .finder
            .find_overlapping_iter(content.as_ref())
            .map(|found| found.start() + first_char_bytes(&content[found.start()..]))
            .collect();
        if self.has_open_end(&content) {
            cuts.push(content.len());
        }
        if cuts.is_empty() {
            return content;
        }
        cuts.sort_unstable();
        cuts.dedup();
        let mut marked = String::with_capacity(content.len() + 3 * cuts.len());
        let mut done = 0;
        for cut in cuts {
            marked.push_str(&content[done..cut]);
            marked.push(MARK);
            done = cut;
        }
        marked.push_str(&content[done..]);
        Cow::Owned(marked)
    }

    fn has_open_end(&self, content: &str) -> bool {
        self.tokens.iter().any(|token| token.char_indices().skip(1).any(|(at, _)| content.ends_with(&token[..at])))
    }
}

fn first_char_bytes(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

/// Drops the marks.
pub(crate) fn unmark(text: &str) -> Cow<'_, str> {
    if text.contains(MARK) { Cow::Owned(text.replace(MARK, "")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn guard() -> Guard {
        Guard::new(["<|a|>", "<|b|>", "|><", "<s>"])
    }

    #[test]
    fn ordinary_text_is_borrowed() {
        assert!(matches!(guard().protect("1 < 2, a|b"), Cow::Borrowed(_)));
    }

    #[test]
    fn overlapping_tokens_are_all_broken() {
        let marked = guard().protect("<|a|><|b|>").into_owned();
        for token in ["<|a|>", "<|b|>", "|><"] {
            assert!(!marked.contains(token), "{marked:?}");
        }
        assert_eq!(unmark(&marked), "<|a|><|b|>");
    }

    #[test]
    fn marks_of_the_user_are_dropped() {
        assert_eq!(guard().protect("<\u{FDD0}s>"), "<\u{FDD0}s>");
        assert_eq!(guard().protect("x\u{FDD0}y"), "xy");
    }

    proptest! {
        #[test]
        fn neighbours_never_join_into_a_token(a in "[<|>abs ]{0,12}", b in "[<|>abs ]{0,12}") {
            let guard = guard();
            let joined = format!("{}{}", guard.protect(&a), guard.protect(&b));
            for token in &guard.tokens {
                prop_assert!(!joined.contains(token.as_str()), "{joined:?}");
            }
            prop_assert_eq!(unmark(&joined).into_owned(), format!("{a}{b}"));
        }
    }
}
