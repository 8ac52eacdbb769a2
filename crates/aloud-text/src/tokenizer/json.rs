//! A tokenizer out of `tokenizer.json` and `tokenizer_config.json`.

use super::gguf::merges;
use super::pre::Cutter;
use super::vocabulary::{Kind, Vocabulary};
use super::{Parts, Tokenizer};
use crate::TextError;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

const FILE: &str = "tokenizer.json";
const CONFIG_FILE: &str = "tokenizer_config.json";

/// Ids above this are taken for damage: the largest known vocabularies have 262,144 tokens.
const MAX_ID: u32 = 1 << 22;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    post_processor: Option<Value>,
    model: Model,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: HashMap<String, u32>,
    merges: Vec<Rule>,
    #[serde(default)]
    ignore_merges: bool,
}

/// A merge is `left right` in old files and `[left, right]` in new ones.
#[derive(Deserialize)]
#[serde(untagged)]
enum Rule {
    Line(String),
    Pair(String, String),
}

#[derive(Default, Deserialize)]
struct Config {
    bos_token: Option<Name>,
    eos_token: Option<Name>,
    add_bos_token: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Token { content: String },
}

impl Name {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Token { content } => content,
        }
    }
}

impl Tokenizer {
    /// A tokenizer out of the files that a model is published with. BOS and EOS come from
    /// `tokenizer_config.json`; without it there are none, but for the names of stop tokens.
    ///
    /// # Errors
    /// If a file cannot be read or is not a byte-level BPE.
    pub fn from_json(tokenizer_json: &[u8], tokenizer_config_json: Option<&[u8]>) -> Result<Self, TextError> {
        let file: File = parse(FILE, tokenizer_json)?;
        let config: Config = match tokenizer_config_json {
            Some(config) => parse(CONFIG_FILE, config)?,
            None => Config::default(),
        };
        check(&file)?;
        let vocabulary = vocabulary(&file)?;
        let id = |name: &Option<Name>| name.as_ref().and_then(|n| vocabulary.id(n.text()));
        let (bos, eos) = (id(&config.bos_token), id(&config.eos_token));
        let adds = file.post_processor.as_ref().is_some_and(adds_bos);
        let parts = Parts {
            bos,
            eos,
            add_bos: config.add_bos_token.unwrap_or(adds),
            vocabulary,
            cutter: Cutter::from_json(&file.normalizer, &file.pre_tokenizer).map_err(|reason| invalid(FILE, reason))?,
            ignore_merges: file.model.ignore_merges,
            merges: pairs(file.model.merges)?,
            stops: Vec::new(),
        };
        parts.build()
    }
}

fn invalid(file: &'static str, reason: impl ToString) -> TextError {
    TextError::TokenizerJson { file, reason: reason.to_string() }
}

fn parse<T: serde::de::DeserializeOwned>(file: &'static str, json: &[u8]) -> Result<T, TextError> {
    serde_json::from_slice(json).map_err(|error| invalid(file, error))
}

fn check(file: &File) -> Result<(), TextError> {
    if file.model.kind.as_deref().is_some_and(|kind| kind != "BPE") {
        return Err(TextError::UnsupportedModel {
            found: file.model.kind.clone().unwrap_or_default(),
            expected: "BPE",
        });
    }
    if !is_byte_level(&file.pre_tokenizer) {
        return Err(TextError::UnsupportedModel {
            found: "BPE without a ByteLevel pre-tokenizer".to_owned(),
            expected: "BPE",
        });
    }
    let stripping = |token: &&AddedToken| token.lstrip || token.rstrip || token.single_word;
    if let Some(token) = file.added_tokens.iter().find(stripping) {
        let reason =
            format!("added token `{}` asks for lstrip, rstrip or single_word, expected none of them", token.content);
        return Err(invalid(FILE, reason));
    }
    Ok(())
}

/// Whether a pre-tokenizer maps bytes to the byte alphabet, itself or as a step of a sequence.
fn is_byte_level(pre_tokenizer: &Value) -> bool {
    let steps = pre_tokenizer["pretokenizers"].as_array();
    pre_tokenizer["type"] == "ByteLevel" || steps.is_some_and(|s| s.iter().any(is_byte_level))
}

/// Whether a post-processor puts a special token before a single text.
fn adds_bos(post_processor: &Value) -> bool {
    let steps = post_processor["processors"].as_array();
    post_processor["single"][0]["SpecialToken"].is_object() || steps.is_some_and(|s| s.iter().any(adds_bos))
}

fn vocabulary(file: &File) -> Result<Vocabulary, TextError> {
    let mut table: HashMap<u32, (&str, Kind)> =
        file.model.vocab.iter().map(|(text, &id)| (id, (text.as_str(), Kind::Normal))).collect();
    for token in &file.added_tokens {
        let kind = Kind::from_added(&token.content, token.special);
        table.insert(token.id, (&token.content, kind));
    }
    let last = table.keys().copied().max().unwrap_or(0);
    if last > MAX_ID {
        return Err(invalid(FILE, format!("token id {last}, expected at most {MAX_ID}")));
    }
    let mut vocabulary = Vocabulary::with_capacity(table.len());
    for id in 0..=last {
        match table.get(&id) {
            Some((text, kind)) => vocabulary.push(text, *kind),
            None => vocabulary.push(&format!("[PAD{id}]"), Kind::Unused),
        }
    }
    Ok(vocabulary)
}

fn pairs(rules: Vec<Rule>) -> Result<Vec<(String, String)>, TextError> {
    let mut pairs = Vec::with_capacity(rules.len());
    for (index, rule) in rules.into_iter().enumerate() {
        match rule {
            Rule::Pair(left, right) => pairs.push((left, right)),
            Rule::Line(line) => {
                pairs.extend(merges(&[&line]).map_err(|_| TextError::Merge { index, found: line.clone() })?)
            }
        }
    }
    Ok(pairs)
}
