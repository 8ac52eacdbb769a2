//! Goldens and assets for the tests of this crate.

#![allow(dead_code, reason = "each test file uses a part of it")]

use aloud_text::{GgufTokenizer, TextError, Tokenizer};
use std::collections::HashMap;
use std::path::PathBuf;

/// The root of the workspace.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A golden file of `tests/goldens/text`.
pub fn golden(name: &str) -> serde_json::Value {
    let path = root().join("tests/goldens/text").join(name);
    let json = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&json).unwrap()
}

/// A downloaded file. Without it the test fails, unless `ALOUD_ASSETS=skip`.
pub fn asset(name: &str) -> Option<Vec<u8>> {
    let path = root().join("assets").join(name);
    match std::fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(_) if std::env::var("ALOUD_ASSETS").is_ok_and(|v| v == "skip") => {
            eprintln!("skipped: {} is missing", path.display());
            None
        }
        Err(error) => {
            panic!("{}: {error}; fetch it with `cargo xtask assets`, or set ALOUD_ASSETS=skip", path.display())
        }
    }
}

/// The tokenizer of a golden file: its part of the vocabulary, the rest filled up.
pub fn golden_tokenizer(golden: &serde_json::Value) -> Tokenizer {
    let tokenizer = &golden["tokenizer"];
    let size = tokenizer["vocab_size"].as_u64().unwrap() as usize;
    let fill: Vec<String> = (0..size).map(|id| format!("[PAD{id}]")).collect();
    let mut tokens: Vec<&str> = fill.iter().map(String::as_str).collect();
    let mut types = vec![5; size];
    for row in tokenizer["tokens"].as_array().unwrap() {
        let id = row[0].as_u64().unwrap() as usize;
        tokens[id] = row[1].as_str().unwrap();
        types[id] = row[2].as_i64().unwrap() as i32;
    }
    let id = |key: &str| tokenizer[key].as_u64().map(|id| id as u32);
    let merges = tokenizer["merges"].as_array().unwrap();
    Tokenizer::from_gguf(&GgufTokenizer {
        model: "gpt2",
        pre: tokenizer["pre"].as_str().unwrap(),
        tokens,
        token_types: types,
        merges: merges.iter().map(|merge| merge.as_str().unwrap()).collect(),
        bos: id("bos"),
        eos: id("eos"),
        pad: id("pad"),
        add_bos: tokenizer["add_bos"].as_bool(),
        ..GgufTokenizer::default()
    })
    .unwrap()
}

/// A golden list of ids.
pub fn ids(value: &serde_json::Value) -> Vec<u32> {
    let ids = value.as_array().unwrap().iter();
    ids.map(|id| id.as_u64().unwrap() as u32).collect()
}

/// The metadata of a GGUF file, as far as these tests need it. Written for the tests alone, so
/// that they do not depend on the crate that reads GGUF.
#[derive(Default)]
pub struct Metadata {
    strings: HashMap<String, String>,
    numbers: HashMap<String, u64>,
    string_lists: HashMap<String, Vec<String>>,
    number_lists: HashMap<String, Vec<i32>>,
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take(&mut self, len: usize) -> &[u8] {
        let (head, tail) = self.0.split_at(len);
        self.0 = tail;
        head
    }

    fn number(&mut self, len: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(self.take(len));
        u64::from_le_bytes(bytes)
    }

    fn string(&mut self) -> String {
        let len = self.number(8) as usize;
        String::from_utf8(self.take(len).to_vec()).unwrap()
    }
}

/// Source: GGUF specification, `gguf_metadata_value_type`.
fn scalar_bytes(kind: u64) -> usize {
    [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8][kind as usize]
}

impl Metadata {
    pub fn read(file: &[u8]) -> Self {
        let mut cursor = Cursor(file);
        assert_eq!(cursor.take(4), b"GGUF");
        cursor.number(4);
        cursor.number(8);
        let mut metadata = Self::default();
        for _ in 0..cursor.number(8) {
            let key = cursor.string();
            match cursor.number(4) {
                8 => drop(metadata.strings.insert(key, cursor.string())),
                9 => {
                    let (kind, len) = (cursor.number(4), cursor.number(8));
                    if kind == 8 {
                        let list = (0..len).map(|_| cursor.string()).collect();
                        metadata.string_lists.insert(key, list);
                    } else {
                        let width = scalar_bytes(kind);
                        let list = (0..len).map(|_| cursor.number(width) as i32).collect();
                        metadata.number_lists.insert(key, list);
                    }
                }
                kind => drop(metadata.numbers.insert(key, cursor.number(scalar_bytes(kind)))),
            }
        }
        metadata
    }

    pub fn chat_template(&self) -> &str {
        &self.strings["tokenizer.chat_template"]
    }

    pub fn tokenizer(&self) -> Result<Tokenizer, TextError> {
        let number = |key: &str| self.numbers.get(&format!("tokenizer.ggml.{key}")).copied();
        let id = |key: &str| number(key).map(|id| id as u32);
        let flag = |key: &str| number(key).map(|flag| flag != 0);
        let list = |key: &str| {
            let list = &self.string_lists[&format!("tokenizer.ggml.{key}")];
            list.iter().map(String::as_str).collect()
        };
        Tokenizer::from_gguf(&GgufTokenizer {
            model: &self.strings["tokenizer.ggml.model"],
            pre: &self.strings["tokenizer.ggml.pre"],
            tokens: list("tokens"),
            token_types: self.number_lists["tokenizer.ggml.token_type"].clone(),
            merges: list("merges"),
            bos: id("bos_token_id"),
            eos: id("eos_token_id"),
            eot: id("eot_token_id"),
            eom: id("eom_token_id"),
            pad: id("padding_token_id"),
            unk: id("unknown_token_id"),
            add_bos: flag("add_bos_token"),
            add_eos: flag("add_eos_token"),
            add_space_prefix: flag("add_space_prefix"),
        })
    }
}
