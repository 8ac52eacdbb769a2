//! What can be wrong with a model file, and what to do about it.

use std::fmt;

use crate::DType;

/// A model file that cannot be used, or a read of it that failed.
///
/// Each message names the file and the field, tensor or key, says what was expected and what was
/// found, and where there is one, the way out. Names that come from the file are escaped and cut,
/// so that printing an error never prints control characters of a hostile file.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The source could not deliver a range: a disk, network or cache failure.
    #[error("`{file}`: cannot read {len_bytes} bytes at {offset}: {reason}")]
    Read {
        /// Path or URL of the source.
        file: String,
        /// First byte of the range.
        offset: u64,
        /// Length of the range.
        len_bytes: u64,
        /// The message of the layer below.
        reason: String,
    },
    /// A field reaches past the end of the file.
    #[error(
        "`{file}`: {field} needs the file to have {needs_bytes} bytes, it has {file_bytes}; \
         the file is cut short or its lengths are damaged, download it again"
    )]
    Truncated {
        /// Path or URL of the source.
        file: String,
        /// The field that does not fit.
        field: String,
        /// File length that the field would need.
        needs_bytes: u64,
        /// Length of the file.
        file_bytes: u64,
    },
    /// The file does not begin with `GGUF`.
    #[error("`{file}`: magic: expected \"GGUF\", found {found}; {way_out}")]
    Magic {
        /// Path or URL of the source.
        file: String,
        /// The first four bytes, escaped.
        found: String,
        /// What the file looks like instead, or what to try.
        way_out: &'static str,
    },
    /// The version of the GGUF container is not one this crate reads.
    #[error("`{file}`: version: expected 2 or 3, found {found}; convert the model again")]
    Version {
        /// Path or URL of the source.
        file: String,
        /// The version in the file.
        found: u32,
    },
    /// The file is a big-endian GGUF.
    #[error(
        "`{file}`: version: expected little-endian 2 or 3, found {found:#010x}: the file is \
         big-endian; convert it with gguf-py's `gguf-convert-endian`"
    )]
    BigEndian {
        /// Path or URL of the source.
        file: String,
        /// The version as read in little-endian order.
        found: u32,
    },
    /// A field has a value that the format does not allow.
    #[error("`{file}`: {field}: expected {expected}, found {found}")]
    Field {
        /// Path or URL of the source.
        file: String,
        /// The field, with the key or tensor it belongs to.
        field: String,
        /// What the format allows.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// The header is larger than any model's, so it is not read.
    #[error(
        "`{file}`: {field} needs a header of {needs_bytes} bytes, at most {limit_bytes} are read; \
         the header's lengths are damaged"
    )]
    HeaderTooLarge {
        /// Path or URL of the source.
        file: String,
        /// The field that does not fit.
        field: String,
        /// Header length that the field would need.
        needs_bytes: u64,
        /// Longest header that is read.
        limit_bytes: u64,
    },
    /// A metadata key, tensor or mapping occurs twice.
    #[error("`{file}`: duplicate {what} {name}: expected each name once, found it twice")]
    Duplicate {
        /// Path or URL of the source.
        file: String,
        /// What occurs twice: "metadata key", "tensor".
        what: &'static str,
        /// The name, quoted and escaped.
        name: String,
    },
    /// A tensor has an element type that this crate does not know.
    #[error("`{file}`: type of tensor {tensor}: expected a known type, found {found}; {way_out}")]
    UnknownType {
        /// Path or URL of the source.
        file: String,
        /// The tensor, quoted and escaped.
        tensor: String,
        /// The type's number or name.
        found: String,
        /// What to do.
        way_out: &'static str,
    },
    /// A string is not UTF-8.
    #[error("`{file}`: {field}: expected UTF-8, found a bad byte at {at} of the string")]
    NotUtf8 {
        /// Path or URL of the source.
        file: String,
        /// The field that holds the string.
        field: String,
        /// Offset of the first bad byte in the string.
        at: usize,
    },
    /// The JSON header of a safetensors file or the shard index does not parse.
    #[error("`{file}`: {field}: expected {expected}, found {reason}")]
    Json {
        /// Path or URL of the source.
        file: String,
        /// Which JSON text.
        field: &'static str,
        /// What it should hold.
        expected: &'static str,
        /// The parser's message with line and column.
        reason: String,
    },
    /// A tensor's data does not lie where the tensors before it end.
    #[error("`{file}`: offset of tensor {tensor}: expected {expected}, found {found}, which {problem}")]
    TensorOffset {
        /// Path or URL of the source.
        file: String,
        /// The tensor, quoted and escaped.
        tensor: String,
        /// Where the data has to begin, relative to the data section.
        expected: String,
        /// Where the file says it begins.
        found: u64,
        /// "overlaps ...", "leaves a gap ...", "is misaligned".
        problem: &'static str,
    },
    /// A metadata key that the model needs is absent.
    #[error("metadata key `{key}`: expected {expected}, found nothing; convert the model again")]
    MissingKey {
        /// The key.
        key: String,
        /// The type that was asked for.
        expected: &'static str,
    },
    /// A metadata value has another type than the one asked for, or does not fit it.
    #[error("metadata key `{key}`: expected {expected}, found {found}")]
    KeyType {
        /// The key.
        key: String,
        /// The type that was asked for.
        expected: &'static str,
        /// The type, and for numbers the value, in the file.
        found: String,
    },
    /// A tensor that the model needs is absent.
    #[error("tensor `{name}`: expected it in the file, found {n_tensors} others only")]
    MissingTensor {
        /// The tensor.
        name: String,
        /// How many tensors the set has.
        n_tensors: usize,
    },
    /// A tensor has another shape than the model's configuration implies.
    #[error("tensor {name}: expected shape {expected:?}, found {found:?}")]
    TensorShape {
        /// The tensor, quoted and escaped.
        name: String,
        /// Row-major shape that the configuration implies.
        expected: Vec<u64>,
        /// Row-major shape in the file.
        found: Vec<u64>,
    },
    /// A file that the shard index names was not handed over.
    #[error("shard index: file {file}: expected it among the {n_files} files given, found none")]
    MissingShard {
        /// The file's name, quoted and escaped.
        file: String,
        /// How many files were given.
        n_files: usize,
    },
    /// The blocks of this type are known by size only.
    #[error(
        "{dtype}: expected a type with a dequantiser, found one known by name only; \
         use a file in one of {}",
        DType::dequantised_names()
    )]
    NotDequantised {
        /// The type.
        dtype: DType,
    },
    /// The rows of an FP8 weight are not whole blocks.
    #[error(
        "FP8 weight: expected a multiple of 32 columns, found {cols}; \
         use a file of this model in BF16"
    )]
    Fp8Columns {
        /// Columns of the weight.
        cols: usize,
    },
    /// A buffer does not have the length that a tensor or its blocks need.
    #[error("{what}: expected {expected}, found {found}")]
    BufferLen {
        /// Which buffer of which tensor or type.
        what: String,
        /// The length it needs, with its unit.
        expected: String,
        /// The length it has.
        found: usize,
    },
}

impl FormatError {
    /// A [`FormatError::Read`], for implementors of [`ByteSource`](crate::ByteSource).
    pub fn read(file: &str, offset: u64, len_bytes: usize, reason: impl fmt::Display) -> Self {
        Self::Read { file: file.to_owned(), offset, len_bytes: len_bytes as u64, reason: reason.to_string() }
    }

    /// A [`FormatError::Field`].
    pub(crate) fn field(
        file: &str,
        field: impl fmt::Display,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Self::Field {
            file: file.to_owned(),
            field: field.to_string(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}

/// Shows a name from a file quoted, escaped and cut after 64 characters.
#[derive(Clone, Copy)]
pub(crate) struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_CHARS: usize = 64;
        match self.0.char_indices().nth(MAX_CHARS) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => write!(f, "{:?}...", &self.0[..end]),
        }
    }
}

/// [`Quoted`] as a string.
pub(crate) fn quoted(name: &str) -> String {
    Quoted(name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_cut() {
        assert_eq!(quoted("a\u{1b}[2J"), r#""a\u{1b}[2J""#);
        let long = quoted(&"é".repeat(1000));
        assert_eq!(long.chars().count(), 64 + 2 + 3);
    }

    #[test]
    fn messages_are_one_lower_case_line_without_a_final_stop() {
        let error = FormatError::NotDequantised { dtype: DType::IQ2_XS };
        let text = error.to_string();
        assert!(text.contains("IQ2_XS") && text.contains("Q4_K"), "{text}");
        assert!(!text.ends_with('.') && !text.contains('\n'), "{text}");
    }
}
