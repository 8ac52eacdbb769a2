//! Hostile and damaged files are refused, with an error that names the field.
//!
//! The corpus is in `tests/corpus`; the fuzz test and the limit on memory are with the parser, in
//! `crates/aloud-format/tests/memory.rs`.

#[path = "../corpus/mod.rs"]
mod corpus;

use aloud_format::{DType, FormatError, Gguf, MemorySource, Safetensors, write_safetensors};
use pollster::block_on;

/// Checks that the error says what it has to, in one printable line.
#[track_caller]
fn check<T>(name: &str, result: Result<T, FormatError>, expected: &str) {
    let Err(error) = result else { panic!("{name}: expected to be refused with `{expected}`, was accepted") };
    let text = error.to_string();
    assert!(text.contains(expected), "{name}: expected `{expected}`, found `{text}`");
    assert!(!text.contains(char::is_control), "{name}: control characters in {text:?}");
    assert!(text.len() < 1000, "{name}: {} bytes of error", text.len());
}

#[test]
fn bad_gguf_files() {
    for &(name, bytes, expected) in corpus::gguf::SINGLE {
        check(name, block_on(Gguf::open(&MemorySource::new("m.gguf", bytes()))), expected);
    }
}

#[test]
fn bad_split_gguf_files() {
    for &(name, files, expected) in corpus::gguf::SPLIT {
        let source = |(no, bytes)| MemorySource::new(format!("part {no}"), bytes);
        let sources: Vec<_> = files().into_iter().enumerate().map(source).collect();
        check(name, block_on(Gguf::open_split(&sources)), expected);
    }
}

#[test]
fn bad_safetensors_files() {
    for &(name, bytes, expected) in corpus::safetensors::SINGLE {
        check(name, block_on(Safetensors::open(&MemorySource::new("m.safetensors", bytes()))), expected);
    }
}

#[test]
fn bad_shard_indices() {
    let bytes = write_safetensors(&[("a", DType::F32, &[1], &[0; 4]), ("b", DType::F32, &[1], &[0; 4])]);
    let files = [("m.safetensors".to_owned(), MemorySource::new("m.safetensors", bytes))];
    for &(name, json, expected) in corpus::safetensors::INDEX {
        check(name, block_on(Safetensors::open_sharded(json.as_bytes(), &files)), expected);
    }
}

#[test]
fn names_are_unique() {
    let gguf = corpus::gguf::SINGLE.iter().map(|row| row.0);
    let mut names: Vec<_> = gguf.chain(corpus::gguf::SPLIT.iter().map(|row| row.0)).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}
