//! What can go wrong between text and token ids.

/// An error of this crate: what was read, what was expected, and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The tokenizer is not a byte-level BPE.
    #[error(
        "tokenizer model `{found}` is not supported, expected `{expected}`; use a model with a byte-level BPE vocabulary"
    )]
    UnsupportedModel {
        /// The value of `tokenizer.ggml.model`, or `model.type` of a `tokenizer.json`.
        found: String,
        /// The supported value.
        expected: &'static str,
    },
    /// The pre-tokenizer is not one of those known here.
    #[error(
        "pre-tokenizer `{found}` is not supported, known are {supported}; convert the model again with a current converter, or load its tokenizer.json"
    )]
    UnknownPreTokenizer {
        /// The value of `tokenizer.ggml.pre`.
        found: String,
        /// The supported values, separated by commas.
        supported: String,
    },
    /// Two lists of the vocabulary that belong together differ in length.
    #[error(
        "`{list}` has {found} entries, expected {expected} as in the token list; the file is damaged, download it again"
    )]
    VocabularyLength {
        /// The list that differs.
        list: &'static str,
        /// The number of tokens.
        expected: usize,
        /// The number of entries of the list.
        found: usize,
    },
    /// A token id points outside the vocabulary.
    #[error("`{key}` is {found}, but the vocabulary has {vocab_size} tokens; the file is damaged, download it again")]
    TokenId {
        /// The metadata key of the id.
        key: &'static str,
        /// The id.
        found: u32,
        /// The number of tokens.
        vocab_size: usize,
    },
    /// A merge rule is not two tokens of the vocabulary whose union is a token too.
    #[error(
        "merge {index} is `{found}`, expected two tokens whose union is a token too; the file is damaged, download it again"
    )]
    Merge {
        /// The place in the list of merges.
        index: usize,
        /// The rule as the file has it.
        found: String,
    },
    /// A `tokenizer.json` or `tokenizer_config.json` could not be understood.
    #[error("`{file}`: {reason}; use the files that the model was published with")]
    TokenizerJson {
        /// The name of the file.
        file: &'static str,
        /// What was expected and what was found.
        reason: String,
    },
    /// Text could not be cut into tokens.
    #[error(
        "{text_bytes} bytes of text could not be cut into tokens: {reason}; shorten the text or its runs of white space"
    )]
    Encode {
        /// The size of the text.
        text_bytes: usize,
        /// What the tokenizer said.
        reason: String,
    },
    /// A chat template has a syntax error or uses something that is not supported.
    #[error("chat template: {reason}; pass another template in its place")]
    TemplateInvalid {
        /// The message of the template engine, with the line.
        reason: String,
    },
    /// A chat template gave up: an undefined value, a wrong type, or a failed filter.
    #[error("chat template failed on {messages} messages: {reason}; pass another template in its place")]
    TemplateFailed {
        /// How many messages were rendered.
        messages: usize,
        /// The message of the template engine, with the line.
        reason: String,
    },
    /// A chat template refused the messages through `raise_exception`.
    #[error("the chat template refuses these {messages} messages: {reason}")]
    TemplateRefused {
        /// How many messages were rendered.
        messages: usize,
        /// The template's own words.
        reason: String,
    },
    /// A chat template ran into one of its limits.
    #[error(
        "chat template exceeds its limit of {limit} {what}; shorten the conversation, or pass another template if this one is not trusted"
    )]
    TemplateLimit {
        /// The unit of the limit: `steps`, `bytes of output`, `bytes of values` or `bytes of source`.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}
