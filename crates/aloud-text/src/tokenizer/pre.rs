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

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

    fn pieces(pre: &str, text: &str) -> String {
        let mut cut = PreTokenizedString::from(text);
        let pre_tokenizer = Pre::named(pre).unwrap().pre_tokenizer();
        pre_tokenizer.pre_tokenize(&mut cut).unwrap();
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
}
