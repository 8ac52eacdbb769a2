//! A tokenizer out of GGUF metadata.

use super::pre::Pre;
use super::vocabulary::{Kind, Vocabulary};
use super::{Parts, Tokenizer};
use crate::TextError;

/// The `tokenizer.ggml.*` metadata of a GGUF file, as plain data.
#[derive(Clone, Debug, Default)]
pub struct GgufTokenizer<'a> {
    /// `tokenizer.ggml.model`: `gpt2` for byte-level BPE.
    pub model: &'a str,
    /// `tokenizer.ggml.pre`: the pre-tokenizer, see [`PRE_TOKENIZERS`](crate::PRE_TOKENIZERS).
    pub pre: &'a str,
    /// `tokenizer.ggml.tokens`, by id.
    pub tokens: Vec<&'a str>,
    /// `tokenizer.ggml.token_type`, by id; empty means that all are normal.
    pub token_types: Vec<i32>,
    /// `tokenizer.ggml.merges`: `left right`, in order of priority.
    pub merges: Vec<&'a str>,
    /// `tokenizer.ggml.bos_token_id`.
    pub bos: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`.
    pub eos: Option<u32>,
    /// `tokenizer.ggml.eot_token_id`: the end of a turn.
    pub eot: Option<u32>,
    /// `tokenizer.ggml.eom_token_id`: the end of a message.
    pub eom: Option<u32>,
    /// `tokenizer.ggml.padding_token_id`.
    pub pad: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`; a byte-level BPE has no use for it.
    pub unk: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`; if absent the pre-tokenizer decides.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`; a prompt never ends in EOS.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`; a byte-level BPE has no use for it.
    pub add_space_prefix: Option<bool>,
}

impl GgufTokenizer<'_> {
    fn ids(&self) -> [(&'static str, Option<u32>); 6] {
        [
            ("tokenizer.ggml.bos_token_id", self.bos),
            ("tokenizer.ggml.eos_token_id", self.eos),
            ("tokenizer.ggml.eot_token_id", self.eot),
            ("tokenizer.ggml.eom_token_id", self.eom),
            ("tokenizer.ggml.padding_token_id", self.pad),
            ("tokenizer.ggml.unknown_token_id", self.unk),
        ]
    }

    fn check(&self) -> Result<(), TextError> {
        if self.model != "gpt2" {
            return Err(TextError::UnsupportedModel { found: self.model.to_owned(), expected: "gpt2" });
        }
        let types = self.token_types.len();
        if types != 0 && types != self.tokens.len() {
            return Err(TextError::VocabularyLength {
                list: "tokenizer.ggml.token_type",
                expected: self.tokens.len(),
                found: types,
            });
        }
        for (key, id) in self.ids() {
            if let Some(found) = id.filter(|&id| id as usize >= self.tokens.len()) {
                return Err(TextError::TokenId { key, found, vocab_size: self.tokens.len() });
            }
        }
        Ok(())
    }
}

impl Tokenizer {
    /// A tokenizer out of GGUF metadata alone.
    ///
    /// # Errors
    /// If the model is not a byte-level BPE, the pre-tokenizer is not known, or the lists do not
    /// fit each other.
    pub fn from_gguf(gguf: &GgufTokenizer<'_>) -> Result<Self, TextError> {
        gguf.check()?;
        let pre = Pre::named(gguf.pre)?;
        let mut vocabulary = Vocabulary::with_capacity(gguf.tokens.len());
        for (id, text) in gguf.tokens.iter().enumerate() {
            let kind = gguf.token_types.get(id).copied().map_or(Kind::Normal, Kind::from_gguf);
            vocabulary.push(text, kind);
        }
        let parts = Parts {
            vocabulary,
            merges: merges(&gguf.merges)?,
            cutter: pre.cutter(),
            ignore_merges: pre.ignore_merges,
            bos: gguf.bos,
            eos: gguf.eos,
            add_bos: gguf.add_bos.unwrap_or(pre.add_bos),
            stops: [gguf.eot, gguf.eom].into_iter().flatten().collect(),
        };
        parts.build()
    }
}

/// Splits `left right`, at the first space after the first character.
pub(super) fn merges(rules: &[&str]) -> Result<Vec<(String, String)>, TextError> {
    let split = |(index, rule): (usize, &&str)| {
        let pair = rule.split_once(' ').filter(|(l, r)| !l.is_empty() && !r.is_empty());
        let (left, right) = pair.ok_or_else(|| TextError::Merge { index, found: (*rule).to_owned() })?;
        Ok((left.to_owned(), right.to_owned()))
    };
    rules.iter().enumerate().map(split).collect()
}
