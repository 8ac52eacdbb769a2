//! A small but real tokenizer: the 256 bytes, a few merges, and the special tokens of DeepSeek-R1.

use aloud_format::{MetaArray, MetaValue};
use serde_json::{Value, json};

use crate::Arch;

const BOS: &str = "<｜begin▁of▁sentence｜>";
const EOS: &str = "<｜end▁of▁sentence｜>";
/// Ids 0 to 2, then behind the bytes and merges the others. `<think>` belongs to a text, the rest never comes from one.
const FIRST: [&str; 3] = [BOS, EOS, "<｜▁pad▁｜>"];
const LAST: [&str; 4] = ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"];
/// Pairs that become one token, most important first.
const MERGES: [(&str, &str); 16] = [
    ("t", "h"),
    ("th", "e"),
    ("i", "n"),
    ("e", "r"),
    ("a", "n"),
    ("o", "n"),
    ("r", "e"),
    ("o", "u"),
    ("a", "t"),
    ("e", "n"),
    ("in", "g"),
    ("an", "d"),
    ("o", "r"),
    ("e", "s"),
    ("i", "s"),
    ("l", "l"),
];

/// DeepSeek-R1's turns.
pub const CHAT_TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}\
    {% if message['role'] == 'system' %}{{ message['content'] }}{% endif %}\
    {% if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}{% endif %}\
    {% if message['role'] == 'assistant' %}\
    {{ '<｜Assistant｜>' + message['content'].split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}{% endif %}\
    {% endfor %}{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}";

/// What a token is, as GGUF numbers it.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// The letter that GPT-2's alphabet gives a byte: itself if it prints, else one of those from U+0100 on.
fn letter(byte: u8) -> char {
    let prints = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if prints(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|b| !prints(*b)).count() as u32;
    char::from_u32(0x100 + before).unwrap_or('\u{FFFD}')
}

/// Tokens by id, and what they are.
fn tokens() -> Vec<(String, i32)> {
    let kind = |text: &str| if text.contains("think") { USER_DEFINED } else { CONTROL };
    let special = |text: &&str| ((*text).to_owned(), kind(text));
    let mut all: Vec<(String, i32)> = FIRST.iter().map(special).collect();
    all.extend((0..=255).map(|byte| (letter(byte).to_string(), NORMAL)));
    all.extend(MERGES.map(|(left, right)| (format!("{left}{right}"), NORMAL)));
    all.extend(LAST.iter().map(special));
    all
}

/// The least vocabulary that holds the tokenizer.
#[must_use]
pub fn n_tokens() -> u64 {
    tokens().len() as u64
}

/// The `tokenizer.*` metadata of a GGUF file; ids up to `vocab_size` are padded.
#[must_use]
pub fn metadata(arch: Arch, vocab_size: u64) -> Vec<(String, MetaValue)> {
    let mut all = tokens();
    all.extend((all.len() as u64..vocab_size).map(|id| (format!("[PAD{id}]"), UNUSED)));
    let pre = match arch {
        Arch::Llama => "llama-bpe",
        Arch::Qwen2 | Arch::Qwen3 => "qwen2",
        Arch::DeepseekV2 | Arch::DeepseekV3 => "deepseek-v3",
    };
    let types = all.iter().map(|(_, kind)| *kind).collect();
    let key = |k: &str| format!("tokenizer.ggml.{k}");
    vec![
        (key("model"), MetaValue::String("gpt2".to_owned())),
        (key("pre"), MetaValue::String(pre.to_owned())),
        (key("tokens"), MetaValue::strings(all.into_iter().map(|(text, _)| text))),
        (key("token_type"), MetaValue::Array(MetaArray::I32(types))),
        (key("merges"), MetaValue::strings(MERGES.map(|(left, right)| format!("{left} {right}")))),
        (key("bos_token_id"), MetaValue::U32(0)),
        (key("eos_token_id"), MetaValue::U32(1)),
        (key("padding_token_id"), MetaValue::U32(2)),
        (key("add_bos_token"), MetaValue::Bool(true)),
        ("tokenizer.chat_template".to_owned(), MetaValue::String(CHAT_TEMPLATE.to_owned())),
    ]
}

/// `tokenizer.json`.
#[must_use]
pub fn json() -> Value {
    let tokens = tokens();
    let ids = || tokens.iter().enumerate();
    let vocab: serde_json::Map<String, Value> =
        ids().filter(|(_, (_, kind))| *kind == NORMAL).map(|(id, (text, _))| (text.clone(), json!(id))).collect();
    let added: Vec<Value> = ids()
        .filter(|(_, (_, kind))| *kind != NORMAL)
        .map(|(id, (text, kind))| {
            json!({ "id": id, "content": text, "special": *kind == CONTROL, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false })
        })
        .collect();
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    json!({ "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": MERGES.map(|(left, right)| format!("{left} {right}")) } })
}

/// `tokenizer_config.json`.
#[must_use]
pub fn config_json() -> Value {
    json!({ "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS, "pad_token": FIRST[2],
        "add_bos_token": true, "add_eos_token": false, "chat_template": CHAT_TEMPLATE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_their_letters() {
        assert_eq!([letter(b' '), letter(b'\n'), letter(b'a'), letter(0xAD), letter(0)], ['Ġ', 'Ċ', 'a', 'Ń', 'Ā']);
        let all: std::collections::HashSet<String> = tokens().into_iter().map(|(text, _)| text).collect();
        assert_eq!(all.len() as u64, n_tokens(), "no two tokens are alike");
    }
}
