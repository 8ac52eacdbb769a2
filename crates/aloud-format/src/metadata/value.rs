//! Typed values, and arrays held in about the space they take in the file.

use crate::FormatError;
use crate::error::quoted;

/// Strings of one array, held as one text: a vocabulary has 150 000 of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StringArray {
    text: String,
    /// End of each string in `text`.
    ends: Vec<u32>,
}

impl StringArray {
    /// An empty array with room for `n` strings of `n_bytes` bytes together.
    pub(crate) fn with_capacity(n: usize, n_bytes: usize) -> Self {
        Self { text: String::with_capacity(n_bytes), ends: Vec::with_capacity(n) }
    }

    /// Appends a string. Panics past 4 GiB of text, far above [`crate::MAX_HEADER_BYTES`].
    pub fn push(&mut self, string: &str) {
        self.text.push_str(string);
        self.ends.push(u32::try_from(self.text.len()).expect("string array below 4 GiB"));
    }

    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String number `at`.
    pub fn get(&self, at: usize) -> Option<&str> {
        let end = *self.ends.get(at)? as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Some(&self.text[start..end])
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|at| self.get(at).unwrap_or_default())
    }
}

impl<S: AsRef<str>> FromIterator<S> for StringArray {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut array = Self::default();
        strings.into_iter().for_each(|string| array.push(string.as_ref()));
        array
    }
}

/// An array of one element type. GGUF allows arrays of arrays; no model uses them, they are refused.
#[expect(missing_docs, reason = "each variant is the array of its element type")]
#[derive(Clone, Debug, PartialEq)]
pub enum MetaArray {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(StringArray),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl MetaArray {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(a) => a.len(),
            Self::I8(a) => a.len(),
            Self::U16(a) => a.len(),
            Self::I16(a) => a.len(),
            Self::U32(a) => a.len(),
            Self::I32(a) => a.len(),
            Self::F32(a) => a.len(),
            Self::Bool(a) => a.len(),
            Self::String(a) => a.len(),
            Self::U64(a) => a.len(),
            Self::I64(a) => a.len(),
            Self::F64(a) => a.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element type as messages call it.
    fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "u8",
            Self::I8(_) => "i8",
            Self::U16(_) => "u16",
            Self::I16(_) => "i16",
            Self::U32(_) => "u32",
            Self::I32(_) => "i32",
            Self::F32(_) => "f32",
            Self::Bool(_) => "bool",
            Self::String(_) => "string",
            Self::U64(_) => "u64",
            Self::I64(_) => "i64",
            Self::F64(_) => "f64",
        }
    }
}

/// One metadata value. The accessors take the key only to name it in the error.
///
/// Whole numbers convert between widths where the value fits, since converters disagree on the
/// width of the same key; `f64` narrows to `f32`; nothing else converts.
#[expect(missing_docs, reason = "each variant is named after its type")]
#[derive(Clone, Debug, PartialEq)]
pub enum MetaValue {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(MetaArray),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl MetaValue {
    /// An array of strings.
    pub fn strings<S: AsRef<str>>(strings: impl IntoIterator<Item = S>) -> Self {
        Self::Array(MetaArray::String(strings.into_iter().collect()))
    }

    /// An array of `i32`.
    pub fn i32s(values: impl Into<Vec<i32>>) -> Self {
        Self::Array(MetaArray::I32(values.into()))
    }

    /// The value as messages show it: type, and value or length.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::U8(v) => format!("u8 {v}"),
            Self::I8(v) => format!("i8 {v}"),
            Self::U16(v) => format!("u16 {v}"),
            Self::I16(v) => format!("i16 {v}"),
            Self::U32(v) => format!("u32 {v}"),
            Self::I32(v) => format!("i32 {v}"),
            Self::F32(v) => format!("f32 {v}"),
            Self::Bool(v) => format!("bool {v}"),
            Self::String(v) => format!("string {}", quoted(v)),
            Self::Array(v) => format!("array of {} {}", v.len(), v.type_name()),
            Self::U64(v) => format!("u64 {v}"),
            Self::I64(v) => format!("i64 {v}"),
            Self::F64(v) => format!("f64 {v}"),
        }
    }

    fn wrong<T>(&self, key: &str, expected: &'static str) -> Result<T, FormatError> {
        Err(FormatError::KeyType { key: key.to_owned(), expected, found: self.describe() })
    }

    fn as_i128(&self) -> Option<i128> {
        Some(match self {
            Self::U8(v) => i128::from(*v),
            Self::I8(v) => i128::from(*v),
            Self::U16(v) => i128::from(*v),
            Self::I16(v) => i128::from(*v),
            Self::U32(v) => i128::from(*v),
            Self::I32(v) => i128::from(*v),
            Self::U64(v) => i128::from(*v),
            Self::I64(v) => i128::from(*v),
            _ => return None,
        })
    }

    /// A whole number that fits `u32`.
    ///
    /// # Errors
    /// [`FormatError::KeyType`] for another type or value; so do all accessors below.
    pub fn as_u32(&self, key: &str) -> Result<u32, FormatError> {
        let value = self.as_i128().and_then(|v| u32::try_from(v).ok());
        value.map_or_else(|| self.wrong(key, "a whole number in u32"), Ok)
    }

    /// A whole number that fits `u64`.
    pub fn as_u64(&self, key: &str) -> Result<u64, FormatError> {
        let value = self.as_i128().and_then(|v| u64::try_from(v).ok());
        value.map_or_else(|| self.wrong(key, "a whole number in u64"), Ok)
    }

    /// A floating-point number.
    pub fn as_f32(&self, key: &str) -> Result<f32, FormatError> {
        match self {
            Self::F32(v) => Ok(*v),
            Self::F64(v) => Ok(*v as f32),
            _ => self.wrong(key, "f32"),
        }
    }

    /// A truth value.
    pub fn as_bool(&self, key: &str) -> Result<bool, FormatError> {
        match self {
            Self::Bool(v) => Ok(*v),
            _ => self.wrong(key, "bool"),
        }
    }

    /// A string.
    pub fn as_str(&self, key: &str) -> Result<&str, FormatError> {
        match self {
            Self::String(v) => Ok(v),
            _ => self.wrong(key, "string"),
        }
    }

    /// An array of any element type.
    pub fn as_array(&self, key: &str) -> Result<&MetaArray, FormatError> {
        match self {
            Self::Array(v) => Ok(v),
            _ => self.wrong(key, "array"),
        }
    }

    /// An array of strings.
    pub fn as_str_array(&self, key: &str) -> Result<&StringArray, FormatError> {
        match self.as_array(key) {
            Ok(MetaArray::String(v)) => Ok(v),
            _ => self.wrong(key, "array of string"),
        }
    }

    /// An array of `i32`.
    pub fn as_i32_array(&self, key: &str) -> Result<&[i32], FormatError> {
        match self.as_array(key) {
            Ok(MetaArray::I32(v)) => Ok(v),
            _ => self.wrong(key, "array of i32"),
        }
    }

    /// An array of `f32`.
    pub fn as_f32_array(&self, key: &str) -> Result<&[f32], FormatError> {
        match self.as_array(key) {
            Ok(MetaArray::F32(v)) => Ok(v),
            _ => self.wrong(key, "array of f32"),
        }
    }
}
