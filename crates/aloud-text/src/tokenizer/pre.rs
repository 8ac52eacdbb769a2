//! How text is cut before byte pairs are merged.

use crate::TextError;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};

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

    pub(super) fn normalizer(&self) -> Option<NormalizerWrapper> {
        self.nfc.then(|| NormalizerWrapper::NFC(NFC))
    }

    pub(super) fn pre_tokenizer(&self) -> PreTokenizerWrapper {
        let mut steps: Vec<PreTokenizerWrapper> = self.splits.iter().map(|r| split(r)).collect();
        steps.push(ByteLevel::new(false, true, false).into());
        PreTokenizerWrapper::Sequence(Sequence::new(steps))
    }
}

fn split(regex: &str) -> PreTokenizerWrapper {
    let pattern = SplitPattern::Regex(regex.trim_end().to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
    split.expect("the expressions above are valid").into()
}
