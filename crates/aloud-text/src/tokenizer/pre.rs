//! How text is cut before byte pairs are merged.

use crate::TextError;
use serde_json::Value;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizedString, PreTokenizer, SplitDelimiterBehavior};

/// Cuts text into pieces in the byte alphabet.
///
/// Made of the parts of the `tokenizers` crate that byte-level models use: its own sum of all parts would bring every one of
/// them into the browser.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    nfc: bool,
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Split(Box<Split>),
    Digits(Digits),
    Bytes(ByteLevel),
}

impl Cutter {
    /// From `normalizer` and `pre_tokenizer` of a `tokenizer.json`. The error names the part that is not known.
    pub fn from_json(normalizer: &Value, pre_tokenizer: &Value) -> Result<Cutter, String> {
        let mut cutter = Cutter::default();
        for part in parts(normalizer, "normalizers") {
            match part["type"].as_str() {
                Some("NFC") => cutter.nfc = true,
                _ => return Err(format!("`normalizer`: expected NFC or none, found {part}")),
            }
        }
        for part in parts(pre_tokenizer, "pretokenizers") {
            let step = match part["type"].as_str() {
                Some("Split") => serde_json::from_value(part.clone()).map(|split| Step::Split(Box::new(split))),
                Some("Digits") => serde_json::from_value(part.clone()).map(Step::Digits),
                Some("ByteLevel") => serde_json::from_value(part.clone()).map(Step::Bytes),
                _ => return Err(format!("`pre_tokenizer`: expected Split, Digits or ByteLevel, found {part}")),
            };
            cutter.steps.push(step.map_err(|error| format!("`pre_tokenizer`: {error}"))?);
        }
        Ok(cutter)
    }

    pub fn cut(&self, text: &str) -> tokenizers::Result<PreTokenizedString> {
        let mut pieces = if self.nfc { PreTokenizedString::from(nfc(text)) } else { PreTokenizedString::from(text) };
        for step in &self.steps {
            match step {
                Step::Split(split) => split.pre_tokenize(&mut pieces)?,
                Step::Digits(digits) => digits.pre_tokenize(&mut pieces)?,
                Step::Bytes(bytes) => bytes.pre_tokenize(&mut pieces)?,
            }
        }
        Ok(pieces)
    }
}

/// The text in Unicode's normal form C.
#[cfg(not(target_arch = "wasm32"))]
fn nfc(text: &str) -> String {
    let mut text = tokenizers::NormalizedString::from(text);
    text.nfc();
    text.get().to_owned()
}

/// The text in Unicode's normal form C. The browser has the tables, which are a twentieth of what a page would load.
#[cfg(target_arch = "wasm32")]
fn nfc(text: &str) -> String {
    js_sys::JsString::from(text).normalize("NFC").into()
}

/// The parts of a sequence, in order; a part that is none is its own.
fn parts<'a>(value: &'a Value, of_sequence: &str) -> Vec<&'a Value> {
    match &value[of_sequence] {
        _ if value.is_null() => Vec::new(),
        Value::Array(inner) if value["type"] == "Sequence" => {
            inner.iter().flat_map(|part| parts(part, of_sequence)).collect()
        }
        _ => vec![value],
    }
}

/// The values of `tokenizer.ggml.pre` that are known here.
pub const PRE_TOKENIZERS: &[&str] =
    &["smollm", "llama-bpe", "llama3", "llama-v3", "qwen2", "deepseek-r1-qwen", "deepseek-v3", "deepseek-llm"];

/// Everything that `tokenizer.ggml.pre` stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pre {
    /// Regular expressions, each cutting all pieces of the one before into matches and gaps.
    splits: &'static [&'static str],
    /// Compose characters (Unicode NFC) first. llama.cpp does not, the published tokenizers do.
    nfc: bool,
    /// A piece that is a token stays whole, whatever the merges say.
    pub(super) ignore_merges: bool,
    /// Whether a prompt begins with BOS when the file does not say.
    pub(super) add_bos: bool,
}

const DIGITS: &str = r"\p{N}";
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const QWEN: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const DEEPSEEK_V3: &[&str] = &[
    r"\p{N}{1,3}",
    r"[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+",
    concat!(
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
        r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*",
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
];
const DEEPSEEK_LLM: &[&str] = &[
    r"[\r\n]",
    include_str!("deepseek_llm_letters.txt"),
    r"\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+",
    r"\s+$",
    r"[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+",
    r"\p{N}+",
];

impl Pre {
    /// Looks a name up. Source of the regular expressions: `llama-vocab.cpp` of llama.cpp and the
    /// `tokenizer.json` of each model.
    pub(super) fn named(name: &str) -> Result<Self, TextError> {
        let plain = |splits| Self { splits, nfc: false, ignore_merges: false, add_bos: false };
        Ok(match name {
            "smollm" => plain(&[DIGITS, GPT2]),
            "qwen2" | "deepseek-r1-qwen" => Self { nfc: true, ..plain(&[QWEN]) },
            "llama-bpe" | "llama3" | "llama-v3" => Self { ignore_merges: true, add_bos: true, ..plain(&[LLAMA3]) },
            "deepseek-v3" => plain(DEEPSEEK_V3),
            "deepseek-llm" => plain(DEEPSEEK_LLM),
            unknown => {
                return Err(TextError::UnknownPreTokenizer {
                    found: unknown.to_owned(),
                    supported: PRE_TOKENIZERS.join(", "),
                });
            }
        })
    }

    pub(super) fn cutter(&self) -> Cutter {
        let mut steps: Vec<Step> = self.splits.iter().map(|regex| split(regex)).collect();
        steps.push(Step::Bytes(ByteLevel::new(false, true, false)));
        Cutter { nfc: self.nfc, steps }
    }
}

fn split(regex: &str) -> Step {
    let pattern = SplitPattern::Regex(regex.trim_end().to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
    Step::Split(Box::new(split.expect("the expressions above are valid")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokenizers::{OffsetReferential, OffsetType};

    fn pieces(pre: &str, text: &str) -> String {
        let cut = Cutter { nfc: false, ..Pre::named(pre).unwrap().cutter() }.cut(text).unwrap();
        let splits = cut.get_splits(OffsetReferential::Original, OffsetType::Byte);
        let pieces: Vec<&str> = splits.iter().map(|(_, (a, b), _)| &text[*a..*b]).collect();
        pieces.join("|")
    }

    /// One row of the table of splits: the text, and its pieces for qwen2, deepseek-v3, llama-bpe and
    /// deepseek-llm, cut at `|`. Made with the Python package `tokenizers`.
    const SPLITS: &[[&str; 5]] = &[
        [
            "It's 12345 DON'T we'LL",
            "It|'s| |1|2|3|4|5| DON|'T| we|'LL",
            "It|'s| |123|45| DON|'T| we|'LL",
            "It|'s| |123|45| DON|'T| we|'LL",
            "It|'|s| |12345| DON|'|T| we|'|LL",
        ],
        [
            "café\u{301} ①½ don’t",
            "café|\u{301}| |①|½| don|’t",
            "café\u{301}| |①½| don|’|t",
            "café|\u{301}| |①½| don|’t",
            "caf|é|\u{301} |①|½| don|’|t",
        ],
        ["a  b   c    ", "a| | b|  | c|    ", "a| | b|  | c|    ", "a| | b|  | c|    ", "a| | b|  | c|    "],
        [
            "x\n\n  y\t\tz\r\n",
            "x|\n\n| | y|\t|\tz|\r\n",
            "x|\n\n| | y|\t|\tz|\r\n",
            "x|\n\n| | y|\t|\tz|\r\n",
            "x|\n|\n| | y|\t|\tz|\r|\n",
        ],
        [
            "f(x)=>y[i]+=1;\n",
            "f|(x|)=>|y|[i|]+=|1|;\n",
            "f|(x|)=>|y|[i|]+=|1|;\n",
            "f|(x|)=>|y|[i|]+=|1|;\n",
            "f|(|x|)=>|y|[|i|]+=|1|;|\n",
        ],
        [
            "你好，世界123 カタカナ",
            "你好|，世界|1|2|3| カタカナ",
            "你好|，|世界|123| |カタカナ",
            "你好|，世界|123| カタカナ",
            "你好|，|世界|123| |カタカナ",
        ],
        ["don’t!!\n\n?", "don|’t|!!\n\n|?", "don|’|t|!!\n\n|?", "don|’t|!!\n\n|?", "don|’|t|!!|\n|\n|?"],
        [" \n \n a", " \n \n| a", " \n \n| a", " \n \n| a", " |\n| |\n| a"],
    ];

    #[test]
    fn splits() {
        let names = ["qwen2", "deepseek-v3", "llama-bpe", "deepseek-llm"];
        for [text, expected @ ..] in SPLITS {
            for (pre, expected) in names.iter().zip(expected) {
                assert_eq!(pieces(pre, text), *expected, "{pre}: {text:?}");
            }
        }
    }

    #[test]
    fn smollm_cuts_digits_one_by_one() {
        assert_eq!(pieces("smollm", "a 12½  b's"), "a| |1|2|½| | b|'s");
    }

    #[test]
    fn every_name_is_known() {
        for name in PRE_TOKENIZERS {
            assert!(!pieces(name, "a b").is_empty());
        }
    }

    #[test]
    fn parts_of_a_tokenizer_json_are_taken_or_named() {
        let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
        let digits = json!({ "type": "Digits", "individual_digits": true });
        let split = json!({ "type": "Split", "pattern": { "Regex": "b+" }, "behavior": "Isolated", "invert": false });
        let inner = json!({ "type": "Sequence", "pretokenizers": [digits, split] });
        let all = json!({ "type": "Sequence", "pretokenizers": [inner, bytes] });
        let none = json!({ "type": "Sequence", "normalizers": [] });
        let cut = Cutter::from_json(&none, &all).unwrap().cut("a12bbc").unwrap();
        let pieces = cut.get_splits(OffsetReferential::Original, OffsetType::Byte);
        assert_eq!(pieces.iter().map(|(text, ..)| *text).collect::<Vec<_>>(), ["a", "1", "2", "bb", "c"]);
        let composed = Cutter::from_json(&json!({ "type": "NFC" }), &bytes).unwrap().cut("e\u{301}").unwrap();
        assert_eq!(composed.get_splits(OffsetReferential::Normalized, OffsetType::Byte)[0].0, "Ã©");
        let lower = json!({ "type": "Lowercase" });
        assert!(Cutter::from_json(&lower, &bytes).unwrap_err().contains("Lowercase"));
        assert!(Cutter::from_json(&Value::Null, &json!({ "type": "Metaspace" })).unwrap_err().contains("Metaspace"));
        let broken = json!({ "type": "Split", "pattern": { "Regex": "(" }, "behavior": "Isolated", "invert": false });
        assert!(Cutter::from_json(&Value::Null, &broken).is_err());
    }
}
