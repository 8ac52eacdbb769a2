//! Token ids to text, one id at a time.

use crate::Tokenizer;

/// Turns ids into text as they arrive and never emits half a character.
///
/// A byte-level vocabulary may cut one character over several tokens, so bytes that begin a
/// character are held back until it is whole. The emitted pieces joined, with [`finish`] at the
/// end, equal [`Tokenizer::decode`] of all ids.
///
/// [`finish`]: Detokenizer::finish
#[derive(Clone, Debug)]
pub struct Detokenizer {
    tokenizer: Tokenizer,
    held: Vec<u8>,
}

impl Detokenizer {
    /// A detokeniser at the beginning of a text.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        Self { tokenizer: tokenizer.clone(), held: Vec::new() }
    }

    /// The text that `id` completes; empty inside a character, and for control tokens.
    pub fn push(&mut self, id: u32) -> String {
        if let Some(bytes) = self.tokenizer.piece(id) {
            self.held.extend_from_slice(bytes);
        }
        let whole = whole_prefix(&self.held);
        let rest = self.held.split_off(whole);
        let text = String::from_utf8_lossy(&self.held).into_owned();
        self.held = rest;
        text
    }

    /// The rest: a character that was never finished becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }
}

/// The length without a last sequence that more bytes could still complete. Bytes that can never
/// become a character count as whole: they turn into U+FFFD at once.
fn whole_prefix(bytes: &[u8]) -> usize {
    let mut done = 0;
    while let Err(error) = std::str::from_utf8(&bytes[done..]) {
        done += error.valid_up_to();
        match error.error_len() {
            Some(len) => done += len,
            None => return done,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::whole_prefix;
    use proptest::prelude::*;

    #[test]
    fn whole_prefix_holds_back_only_what_can_still_grow() {
        for (bytes, whole) in [
            (&b"abc"[..], 3),
            ("é".as_bytes(), 2),
            (&b"a\xC3"[..], 1),
            (&b"\xF0\x9F\x98"[..], 0),
            (&b"\xFF"[..], 1),
            (&b"\xF0\x9Fa"[..], 3),
            (&b"\xE2\x82\xFF\xC3"[..], 3),
        ] {
            assert_eq!(whole_prefix(bytes), whole, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn cut_anywhere_equals_lossy_decoding(bytes in prop::collection::vec(
            prop_oneof![Just(0x61), Just(0xC3), Just(0xA9), Just(0xF0), Just(0x9F), Just(0x98), Just(0x80), any::<u8>()], 0..24),
            cuts in prop::collection::vec(1usize..5, 24)) {
            let (mut held, mut text, mut rest) = (Vec::new(), String::new(), &bytes[..]);
            for cut in cuts {
                let (chunk, tail) = rest.split_at(cut.min(rest.len()));
                rest = tail;
                held.extend_from_slice(chunk);
                let tail = held.split_off(whole_prefix(&held));
                text.push_str(&String::from_utf8_lossy(&held));
                held = tail;
            }
            text.push_str(&String::from_utf8_lossy(&held));
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
