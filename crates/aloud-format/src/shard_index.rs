//! `model.safetensors.index.json`: which file of a sharded model holds which tensor.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use crate::error::{Quoted, quoted};
use crate::{FormatError, TensorInfo};

/// What messages call the index.
const INDEX: &str = "model.safetensors.index.json";
/// More shards than any model has; the largest known one has 163.
const MAX_FILES: usize = 4096;

/// The parsed index: `{"metadata": {...}, "weight_map": {tensor: file}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardIndex {
    /// The files' names, each once, in the order in which the index first names them. They are plain
    /// names: joined to the folder of the index they stay in it.
    pub files: Vec<String>,
    /// For each tensor, the index into [`files`](Self::files).
    pub weight_map: BTreeMap<String, usize>,
}

impl ShardIndex {
    /// Parses the text of the index.
    ///
    /// # Errors
    /// [`FormatError::Json`] for what is not such an index, has a tensor twice, or names a file by
    /// more than a plain name.
    pub fn parse(index_json: &[u8]) -> Result<Self, FormatError> {
        let refuse = |reason: String| FormatError::Json {
            file: INDEX.to_owned(),
            field: "shard index",
            expected: "a `weight_map` of plain file names by tensor",
            reason,
        };
        let index: Index = serde_json::from_slice(index_json).map_err(|e| refuse(e.to_string()))?;
        if index.weight_map.weight_map.is_empty() {
            return Err(refuse("an empty one".to_owned()));
        }
        Ok(index.weight_map)
    }

    /// Refuses the first mapped tensor that its file does not hold, given what was found.
    pub(crate) fn refuse_unfound(&self, n_found: &[usize], tensors: &[TensorInfo]) -> Result<(), FormatError> {
        if n_found.iter().sum::<usize>() == self.weight_map.len() {
            return Ok(());
        }
        let mut found: Vec<&str> = tensors.iter().map(|info| info.name.as_str()).collect();
        found.sort_unstable();
        let unfound = |entry: &(&String, &usize)| found.binary_search(&entry.0.as_str()).is_err();
        match self.weight_map.iter().find(unfound) {
            None => Ok(()),
            Some((name, &file)) => Err(FormatError::field(
                INDEX,
                format_args!("file of tensor {}", quoted(name)),
                "a file that holds it",
                format_args!("{}, which does not", quoted(&self.files[file])),
            )),
        }
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: ShardIndex,
}

/// Whether a name stays in its folder on every system.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.len() <= 255
        && !name.contains(|c: char| matches!(c, '/' | '\\' | ':') || c.is_control())
}

impl<'de> Deserialize<'de> for ShardIndex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WeightMapVisitor;
        impl<'de> Visitor<'de> for WeightMapVisitor {
            type Value = ShardIndex;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("file names by tensor")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ShardIndex, A::Error> {
                let mut index = ShardIndex::default();
                let mut numbers = HashMap::new();
                while let Some((tensor, file)) = map.next_entry::<String, String>()? {
                    let number = match numbers.get(&file) {
                        Some(&number) => number,
                        None => {
                            let number = add_file(&mut index.files, &tensor, &file)?;
                            numbers.insert(file, number);
                            number
                        }
                    };
                    match index.weight_map.entry(tensor) {
                        Entry::Vacant(entry) => entry.insert(number),
                        Entry::Occupied(entry) => {
                            let message = format_args!("duplicate tensor {}", Quoted(entry.key()));
                            return Err(de::Error::custom(message));
                        }
                    };
                }
                Ok(index)
            }
        }
        deserializer.deserialize_map(WeightMapVisitor)
    }
}

fn add_file<E: de::Error>(files: &mut Vec<String>, tensor: &str, file: &str) -> Result<usize, E> {
    if !is_plain(file) {
        let (tensor, file) = (quoted(tensor), quoted(file));
        return Err(E::custom(format_args!("file {file} of tensor {tensor}, not a plain name")));
    }
    if files.len() == MAX_FILES {
        return Err(E::custom(format_args!("more than {MAX_FILES} files")));
    }
    files.push(file.to_owned());
    Ok(files.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_listed_once() {
        let json = br#"{"metadata":{"total_size":1},"weight_map":{"b":"m-1","a":"m-2","c":"m-1"}}"#;
        let index = ShardIndex::parse(json).unwrap();
        assert_eq!(index.files, ["m-1", "m-2"]);
        assert_eq!(index.weight_map["c"], 0);
        assert_eq!(index.weight_map["a"], 1);
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for file in ["../m", "/m", "a/m", r"a\\m", "c:m", "..", ".", "", "a\\u0000"] {
            let json = format!(r#"{{"weight_map":{{"a":"{file}"}}}}"#);
            let error = ShardIndex::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("of tensor \"a\", not a plain name"), "{file}: {error}");
        }
    }
}
