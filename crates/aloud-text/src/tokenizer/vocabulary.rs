//! Token texts, kinds and bytes.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What a token is for. Source: `tokenizer.ggml.token_type` of the GGUF specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A piece of text in the byte alphabet.
    Normal,
    /// Steers the model, prints nothing, is never made from a user's text. Unknown tokens too.
    Control,
    /// Literal text such as `<think>`, always matched.
    UserDefined,
    /// Fills the table up.
    Unused,
}

impl Kind {
    pub(super) fn from_gguf(token_type: i32) -> Self {
        match token_type {
            2 | 3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            _ => Self::Normal,
        }
    }

    /// The kind of an added token of a `tokenizer.json`: one that looks like a control token is
    /// one, special or not. Source: `get_vocab_base` of llama.cpp's converter.
    pub(super) fn from_added(content: &str, special: bool) -> Self {
        let looks_special = ["<|", "<｜"].iter().any(|open| content.starts_with(open))
            && ["|>", "｜>"].iter().any(|close| content.ends_with(close));
        if special || looks_special { Self::Control } else { Self::UserDefined }
    }
}

/// All tokens by id. Texts and printed bytes lie in one buffer each: 150,000 separate strings
/// would cost more than what they hold.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    texts: String,
    text_ends: Vec<u32>,
    bytes: Vec<u8>,
    byte_ends: Vec<u32>,
    kinds: Vec<Kind>,
    ids: HashMap<Box<str>, u32>,
}

impl Vocabulary {
    /// With room for so many tokens.
    pub(super) fn with_capacity(n_tokens: usize) -> Self {
        Vocabulary { ids: HashMap::with_capacity(n_tokens), ..Vocabulary::default() }
    }

    /// Appends the token with the next id. Of two equal texts the first keeps the name.
    pub(super) fn push(&mut self, text: &str, kind: Kind) {
        let id = self.kinds.len() as u32;
        self.texts.push_str(text);
        self.text_ends.push(self.texts.len() as u32);
        match kind {
            Kind::Normal => push_bytes(text, &mut self.bytes),
            Kind::UserDefined => self.bytes.extend_from_slice(text.as_bytes()),
            Kind::Control | Kind::Unused => {}
        }
        self.byte_ends.push(self.bytes.len() as u32);
        self.kinds.push(kind);
        if kind != Kind::Unused {
            self.ids.entry(text.into()).or_insert(id);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    pub(super) fn text(&self, id: u32) -> Option<&str> {
        let range = range(&self.text_ends, id)?;
        Some(&self.texts[range])
    }

    pub(super) fn bytes(&self, id: u32) -> Option<&[u8]> {
        let range = range(&self.byte_ends, id)?;
        Some(&self.bytes[range])
    }

    pub(super) fn kind(&self, id: u32) -> Option<Kind> {
        self.kinds.get(id as usize).copied()
    }

    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    /// The tokens of one kind, in the order of their ids.
    pub(super) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (u32, &str)> {
        (0..self.len() as u32)
            .filter(move |&id| self.kind(id) == Some(kind))
            .filter_map(|id| Some((id, self.text(id)?)))
    }
}

fn range(ends: &[u32], id: u32) -> Option<std::ops::Range<usize>> {
    let end = *ends.get(id as usize)? as usize;
    let start = match id {
        0 => 0,
        _ => ends[id as usize - 1] as usize,
    };
    Some(start..end)
}

/// The byte alphabet: 0x21-0x7E, 0xA1-0xAC and 0xAE-0xFF stand for themselves, the other 68 bytes
/// in increasing order for U+0100 and up. Source: `bytes_to_unicode` of GPT-2's `encoder.py`.
static BYTE_OF: LazyLock<HashMap<char, u8>> = LazyLock::new(|| {
    let itself = |b: u8| matches!(b, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let shifted = (0..=255u8).filter(|&b| !itself(b)).zip('\u{100}'..);
    (0..=255u8).filter(|&b| itself(b)).map(|b| (char::from(b), b)).chain(shifted.map(|(b, c)| (c, b))).collect()
});

/// Characters outside the alphabet print as themselves.
fn push_bytes(text: &str, bytes: &mut Vec<u8>) {
    let byte_of = &*BYTE_OF;
    let mut utf8 = [0; 4];
    for c in text.chars() {
        match byte_of.get(&c) {
            Some(&byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_is_a_bijection() {
        assert_eq!(BYTE_OF.len(), 256);
        assert_eq!(BYTE_OF[&'\u{120}'], b' ');
        assert_eq!(BYTE_OF[&'\u{10A}'], b'\n');
        assert_eq!(BYTE_OF[&'\u{143}'], 0xAD);
    }

    #[test]
    fn kinds_print_what_they_should() {
        let mut vocabulary = Vocabulary::default();
        vocabulary.push("Ġhé", Kind::Normal);
        vocabulary.push("<|im_end|>", Kind::Control);
        vocabulary.push("<think>", Kind::UserDefined);
        vocabulary.push("[PAD3]", Kind::Unused);
        assert_eq!(vocabulary.bytes(0), Some(&b" h\xE9"[..]));
        assert_eq!(vocabulary.bytes(1), Some(&b""[..]));
        assert_eq!(vocabulary.bytes(2), Some(&b"<think>"[..]));
        assert_eq!(vocabulary.text(3), Some("[PAD3]"));
        assert_eq!(vocabulary.id("[PAD3]"), None);
        assert_eq!(vocabulary.bytes(4), None);
        assert_eq!(vocabulary.id("<think>"), Some(2));
    }

    #[test]
    fn added_tokens_that_look_special_are_control() {
        assert_eq!(Kind::from_added("<｜User｜>", false), Kind::Control);
        assert_eq!(Kind::from_added("<|EOT|>", false), Kind::Control);
        assert_eq!(Kind::from_added("<think>", false), Kind::UserDefined);
        assert_eq!(Kind::from_added("<s>", true), Kind::Control);
    }
}
