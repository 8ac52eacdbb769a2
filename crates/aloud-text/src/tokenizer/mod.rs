//! Byte-level BPE: text to ids and back.

mod gguf;
mod json;
mod pre;
mod vocabulary;

pub use gguf::GgufTokenizer;
pub use pre::PRE_TOKENIZERS;

use crate::TextError;
use crate::guard::{Guard, unmark};
use aho_corasick::{AhoCorasick, MatchKind};
use std::sync::Arc;
use tokenizers::models::bpe::BPE;
use tokenizers::{Model, OffsetType};
use vocabulary::{Kind, Vocabulary};

/// What becomes of text that reads like a control token, such as `<|im_end|>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// It stays text: right for everything that a user or a document wrote.
    AsText,
    /// It becomes the control token: right for what a chat template wrote.
    Parse,
}

/// A byte-level BPE tokenizer, equal on every platform. Cheap to clone.
///
/// Text is cut at added tokens first (the leftmost longest match): user-defined ones such as
/// `<think>` always, control tokens only with [`Special::Parse`]. What lies between is normalised,
/// pre-tokenized and merged by the `tokenizers` crate. Bytes that a vocabulary lacks are dropped,
/// as `transformers` and llama.cpp do. Behind a run of about a million white-space characters the
/// regular expressions give up, and the run may be cut otherwise than elsewhere; no text is lost.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

struct Inner {
    cutter: pre::Cutter,
    bpe: BPE,
    vocabulary: Vocabulary,
    user_defined: Added,
    all_added: Added,
    guard: Guard,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    stop_ids: Vec<u32>,
}

/// Control tokens that end a reply in one of the supported families. Source: the end-of-generation
/// list of `llama-vocab.cpp`.
const STOP_TOKENS: &[&str] =
    &["<|eot_id|>", "<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>", "<｜end▁of▁sentence｜>"];

impl Tokenizer {
    /// The ids of `text`. Adds no BOS.
    ///
    /// # Errors
    /// [`TextError::Encode`] if the text cannot be cut.
    pub fn encode(&self, text: &str, special: Special) -> Result<Vec<u32>, TextError> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 1);
        let added = match special {
            Special::AsText => &self.inner.user_defined,
            Special::Parse => &self.inner.all_added,
        };
        let mut done = 0;
        for (range, id) in added.find(text) {
            self.encode_plain(&text[done..range.start], &mut ids)?;
            ids.push(id);
            done = range.end;
        }
        self.encode_plain(&text[done..], &mut ids)?;
        Ok(ids)
    }

    /// The ids of a rendered chat template: control tokens are parsed, but for those that the
    /// template's guard broke, and the prompt begins with exactly one BOS if the model's rules ask
    /// for one. EOS is never added: the model is to go on writing.
    ///
    /// Takes a [`RenderedPrompt`](crate::RenderedPrompt) or a string. A string is trusted.
    pub fn encode_prompt(&self, rendered: impl AsRef<str>) -> Vec<u32> {
        let mut ids = self
            .encode(rendered.as_ref(), Special::Parse)
            .expect("a byte-level BPE without an unknown token takes any text");
        if let Some(bos) = self.inner.bos.filter(|_| self.inner.add_bos) {
            let found = ids.iter().take_while(|&&id| id == bos).count();
            ids.splice(..found, [bos]);
        }
        ids
    }

    /// The text of `ids`. Control tokens print nothing; broken UTF-8 becomes U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().filter_map(|&id| self.piece(id)).flatten().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The bytes that a token prints: none for a control token. `None` for an unknown id.
    pub fn piece(&self, id: u32) -> Option<&[u8]> {
        self.inner.vocabulary.bytes(id)
    }

    /// The name of a token as the vocabulary has it: `Ġthe`, `<|im_end|>`.
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.inner.vocabulary.text(id)
    }

    /// The id of a token by its name.
    pub fn id(&self, text: &str) -> Option<u32> {
        self.inner.vocabulary.id(text)
    }

    /// Whether a token steers the model and prints nothing.
    pub fn is_control(&self, id: u32) -> bool {
        self.inner.vocabulary.kind(id) == Some(Kind::Control)
    }

    /// The number of ids, with those that only fill the table up. Rows of the output head at and
    /// beyond it, and those of [`is_padding`](Self::is_padding), must never be sampled.
    pub fn vocab_size(&self) -> usize {
        self.inner.vocabulary.len()
    }

    /// Whether an id only fills the table up, such as `[PAD151665]`.
    pub fn is_padding(&self, id: u32) -> bool {
        matches!(self.inner.vocabulary.kind(id), None | Some(Kind::Unused))
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.inner.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.inner.eos
    }

    /// Whether [`encode_prompt`](Self::encode_prompt) makes a prompt begin with BOS.
    pub fn adds_bos(&self) -> bool {
        self.inner.bos.is_some() && self.inner.add_bos
    }

    /// The ids that end a reply, in increasing order: EOS, the ends of a turn or message, and
    /// their well-known names.
    pub fn stop_ids(&self) -> &[u32] {
        &self.inner.stop_ids
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.inner.guard
    }

    /// Ids of text without added tokens. Drops the guard's marks.
    fn encode_plain(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TextError> {
        if text.is_empty() {
            return Ok(());
        }
        let text = unmark(text);
        let encode = || {
            let mut pieces = self.inner.cutter.cut(text.as_ref())?;
            pieces.tokenize(|piece| self.inner.bpe.tokenize(piece.get()))?;
            pieces.into_encoding(None, 0, OffsetType::None)
        };
        let encoding: tokenizers::Encoding =
            encode().map_err(|error| TextError::Encode { text_bytes: text.len(), reason: error.to_string() })?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(())
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("bos", &self.bos())
            .field("eos", &self.eos())
            .finish_non_exhaustive()
    }
}

/// Finds added tokens in text, leftmost first and of these the longest.
struct Added {
    ids: Vec<u32>,
    finder: AhoCorasick,
}

impl Added {
    fn new<'a>(tokens: impl Iterator<Item = (u32, &'a str)>) -> Self {
        let (ids, texts): (Vec<u32>, Vec<&str>) = tokens.filter(|(_, text)| !text.is_empty()).unzip();
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(texts)
            .expect("added tokens fit an automaton");
        Self { ids, finder }
    }

    fn find(&self, text: &str) -> impl Iterator<Item = (std::ops::Range<usize>, u32)> {
        self.finder.find_iter(text).map(|found| (found.range(), self.ids[found.pattern().as_usize()]))
    }
}

/// What both file formats boil down to.
struct Parts {
    vocabulary: Vocabulary,
    merges: Vec<(String, String)>,
    cutter: pre::Cutter,
    ignore_merges: bool,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    stops: Vec<u32>,
}

impl Parts {
    fn build(self) -> Result<Tokenizer, TextError> {
        let vocabulary = self.vocabulary;
        let bpe = BPE::builder()
            .vocab_and_merges(mergeable(&vocabulary, &self.merges)?, self.merges)
            .ignore_merges(self.ignore_merges)
            .build()
            .map_err(encode_error)?;
        let named = STOP_TOKENS.iter().filter_map(|name| vocabulary.id(name));
        let mut stop_ids: Vec<u32> =
            named.filter(|&id| vocabulary.kind(id) == Some(Kind::Control)).chain(self.stops).chain(self.eos).collect();
        stop_ids.sort_unstable();
        stop_ids.dedup();
        let control = || vocabulary.of_kind(Kind::Control);
        let user_defined = || vocabulary.of_kind(Kind::UserDefined);
        let inner = Inner {
            cutter: self.cutter,
            bpe,
            user_defined: Added::new(user_defined()),
            all_added: Added::new(control().chain(user_defined())),
            guard: Guard::new(control().map(|(_, text)| text)),
            vocabulary,
            bos: self.bos,
            eos: self.eos,
            add_bos: self.add_bos,
            stop_ids,
        };
        Ok(Tokenizer { inner: Arc::new(inner) })
    }
}

fn encode_error(error: impl ToString) -> TextError {
    TextError::Encode { text_bytes: 0, reason: error.to_string() }
}

/// The tokens that merging may produce: all but control and unused ones, so that text can never
/// become one of those. Checks that every merge is of two tokens and makes a third.
fn mergeable(
    vocabulary: &Vocabulary,
    merges: &[(String, String)],
) -> Result<tokenizers::models::bpe::Vocab, TextError> {
    let mut vocab = tokenizers::models::bpe::Vocab::default();
    vocab.reserve(vocabulary.len());
    for kind in [Kind::UserDefined, Kind::Normal] {
        for (id, text) in vocabulary.of_kind(kind) {
            vocab.insert(text.to_owned(), id);
        }
    }
    let mut union = String::new();
    for (index, (left, right)) in merges.iter().enumerate() {
        union.clear();
        union.push_str(left);
        union.push_str(right);
        if ![left, right, &union].iter().all(|t| vocab.contains_key(*t)) {
            return Err(TextError::Merge { index, found: format!("{left} {right}") });
        }
    }
    Ok(vocab)
}
