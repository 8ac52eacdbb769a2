//! GGUF metadata: typed values by key, held in about the space they take in the file.

mod value;

use crate::FormatError;

pub use value::{MetaArray, MetaValue, StringArray};

/// The key-value pairs of a GGUF file, in file order, found by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// In file order.
    entries: Vec<(Box<str>, MetaValue)>,
    /// Indices into `entries`, in the order of the keys.
    by_key: Vec<u32>,
}

/// Declares the two accessors of one type: required and optional by key.
macro_rules! accessors {
    ($($name:ident, $opt:ident, $as:ident, $expected:literal, $type:ty;)*) => {$(
        #[doc = concat!("The value of `key` as ", $expected, ".")]
        ///
        /// # Errors
        /// [`FormatError::MissingKey`] and [`FormatError::KeyType`].
        pub fn $name(&self, key: &str) -> Result<$type, FormatError> {
            self.$opt(key)?.ok_or_else(|| FormatError::MissingKey {
                key: key.to_owned(),
                expected: $expected,
            })
        }

        #[doc = concat!("The value of `key` as ", $expected, ", or none if the key is absent.")]
        ///
        /// # Errors
        /// [`FormatError::KeyType`].
        pub fn $opt(&self, key: &str) -> Result<Option<$type>, FormatError> {
            self.get(key).map(|value| value.$as(key)).transpose()
        }
    )*};
}

impl Metadata {
    accessors! {
        u32, opt_u32, as_u32, "a whole number in u32", u32;
        u64, opt_u64, as_u64, "a whole number in u64", u64;
        f32, opt_f32, as_f32, "f32", f32;
        bool, opt_bool, as_bool, "bool", bool;
        str, opt_str, as_str, "string", &str;
        str_array, opt_str_array, as_str_array, "array of string", &StringArray;
        i32_array, opt_i32_array, as_i32_array, "array of i32", &[i32];
        f32_array, opt_f32_array, as_f32_array, "array of f32", &[f32];
    }

    /// Takes the pairs in file order.
    ///
    /// # Errors
    /// The key that occurs twice.
    pub(crate) fn from_entries(entries: Vec<(Box<str>, MetaValue)>) -> Result<Self, Box<str>> {
        // A header below MAX_HEADER_BYTES has fewer than 2^32 pairs.
        let mut by_key: Vec<u32> = (0..entries.len() as u32).collect();
        let key = |at: &u32| &entries[*at as usize].0;
        by_key.sort_unstable_by(|a, b| key(a).cmp(key(b)));
        match by_key.windows(2).find(|pair| key(&pair[0]) == key(&pair[1])) {
            Some(pair) => Err(key(&pair[0]).clone()),
            None => Ok(Self { entries, by_key }),
        }
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&MetaValue> {
        let entry = |at: &u32| &self.entries[*at as usize];
        let at = self.by_key.binary_search_by(|at| (*entry(at).0).cmp(key)).ok()?;
        Some(&entry(&self.by_key[at]).1)
    }

    /// All pairs in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &MetaValue)> {
        self.entries.iter().map(|(key, value)| (&**key, value))
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        let entry = |key: &str, value| (Box::from(key), value);
        Metadata::from_entries(vec![
            entry("z.count", MetaValue::U16(7)),
            entry("a.negative", MetaValue::I32(-1)),
            entry("m.text", MetaValue::String("x".to_owned())),
            entry("m.tokens", MetaValue::strings(["a", "", "é"])),
        ])
        .unwrap()
    }

    #[test]
    fn values_are_found_and_converted() {
        let metadata = metadata();
        assert_eq!(metadata.u32("z.count"), Ok(7));
        assert_eq!(metadata.opt_u32("absent"), Ok(None));
        assert_eq!(metadata.str("m.text"), Ok("x"));
        let tokens = metadata.str_array("m.tokens").unwrap();
        assert_eq!(tokens.iter().collect::<Vec<_>>(), ["a", "", "é"]);
        assert_eq!(tokens.get(3), None);
        assert_eq!(metadata.iter().next().unwrap().0, "z.count");
    }

    #[test]
    fn errors_name_key_expected_and_found() {
        let metadata = metadata();
        let check = |error: FormatError, text: &str| assert_eq!(error.to_string(), text);
        check(
            metadata.u32("a.negative").unwrap_err(),
            "metadata key `a.negative`: expected a whole number in u32, found i32 -1",
        );
        check(metadata.f32("m.text").unwrap_err(), "metadata key `m.text`: expected f32, found string \"x\"");
        check(
            metadata.i32_array("m.tokens").unwrap_err(),
            "metadata key `m.tokens`: expected array of i32, found array of 3 string",
        );
        check(
            metadata.str("absent").unwrap_err(),
            "metadata key `absent`: expected string, found nothing; convert the model again",
        );
    }
}
