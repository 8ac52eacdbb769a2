//! The JSON header's grammar, and the checks on the table it holds.

use std::borrow::Cow;
use std::collections::{BTreeMap, btree_map};
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::{Quoted, quoted};
use crate::tensor::refuse_duplicates;
use crate::{DType, FormatError, TensorInfo};

/// More axes than any model has; bounds what a hostile `shape` can make us hold.
const MAX_DIMS: usize = 8;
/// More free-form pairs than any model has; bounds what a hostile `__metadata__` can make us hold.
const MAX_METADATA: usize = 4096;

/// One entry of the header. Fields beyond these are ignored, as in the reference.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    dtype: Cow<'a, str>,
    shape: Shape,
    data_offsets: [u64; 2],
}

/// A shape of at most [`MAX_DIMS`] axes.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShapeVisitor;
        impl<'de> Visitor<'de> for ShapeVisitor {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a shape of at most {MAX_DIMS} axes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::new();
                while let Some(extent) = seq.next_element()? {
                    if shape.len() == MAX_DIMS {
                        return Err(de::Error::invalid_length(MAX_DIMS + 1, &self));
                    }
                    shape.push(extent);
                }
                shape.shrink_to_fit();
                Ok(Shape(shape))
            }
        }
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

/// `__metadata__`, with each key once.
#[derive(Default)]
struct FreeForm(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for FreeForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FreeFormVisitor;
        impl<'de> Visitor<'de> for FreeFormVisitor {
            type Value = FreeForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_METADATA} strings by key")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FreeForm, A::Error> {
                let mut pairs = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    match pairs.entry(key) {
                        btree_map::Entry::Vacant(entry) => entry.insert(value),
                        btree_map::Entry::Occupied(entry) => {
                            let message = format_args!("duplicate metadata key {}", Quoted(entry.key()));
                            return Err(de::Error::custom(message));
                        }
                    };
                    if pairs.len() > MAX_METADATA {
                        return Err(de::Error::invalid_length(pairs.len(), &self));
                    }
                }
                Ok(FreeForm(pairs))
            }
        }
        deserializer.deserialize_map(FreeFormVisitor)
    }
}

/// The header as it stands in the file; offsets still count from the start of the data.
pub(super) struct Header {
    pub tensors: Vec<TensorInfo>,
    pub metadata: BTreeMap<String, String>,
}

/// Parses the header; `file` is what messages call the file.
pub(super) fn parse(file: &str, json: &[u8]) -> Result<Header, FormatError> {
    if json.first() != Some(&b'{') {
        let found = json.first().map_or_else(|| "nothing".to_owned(), |byte| format!("\"{}\"", byte.escape_ascii()));
        return Err(FormatError::field(file, "first byte of the JSON header", "\"{\"", found));
    }
    // serde's errors are texts; one with a type of ours is handed out through the visitor instead.
    let mut refused = None;
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let visitor = HeaderVisitor { file, refused: &mut refused };
    let header = deserializer.deserialize_map(visitor).and_then(|header| deserializer.end().map(|()| header));
    header.map_err(|error| {
        refused.unwrap_or_else(|| FormatError::Json {
            file: file.to_owned(),
            field: "JSON header",
            expected: "tensors by name, each with dtype, shape and data_offsets",
            reason: error.to_string(),
        })
    })
}

struct HeaderVisitor<'r> {
    file: &'r str,
    refused: &'r mut Option<FormatError>,
}

impl<'de> Visitor<'de> for HeaderVisitor<'_> {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut tensors = Vec::new();
        let mut metadata = None;
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                let FreeForm(pairs) = map.next_value()?;
                if metadata.replace(pairs).is_some() {
                    return Err(de::Error::duplicate_field("__metadata__"));
                }
                continue;
            }
            let entry: Entry<'_> = map
                .next_value()
                .map_err(|error| de::Error::custom(format_args!("tensor {}: {error}", quoted(&name))))?;
            match tensor(self.file, name, entry) {
                Ok(info) => tensors.push(info),
                Err(error) => {
                    *self.refused = Some(error);
                    return Err(de::Error::custom("refused"));
                }
            }
        }
        Ok(Header { tensors, metadata: metadata.unwrap_or_default() })
    }
}

fn tensor(file: &str, name: String, entry: Entry<'_>) -> Result<TensorInfo, FormatError> {
    let quoted_name = quoted(&name);
    if name.is_empty() || name.contains(char::is_control) {
        let expected = "characters other than control characters";
        return Err(FormatError::field(file, "tensor name", expected, quoted_name));
    }
    let Some(dtype) = DType::from_safetensors(&entry.dtype) else {
        return Err(FormatError::UnknownType {
            file: file.to_owned(),
            tensor: quoted_name,
            found: quoted(&entry.dtype),
            way_out: "the file is damaged, or newer than this program",
        });
    };
    let Shape(shape) = entry.shape;
    let n_bytes = shape
        .iter()
        .try_fold(1_u64, |product, &extent| product.checked_mul(extent))
        .and_then(|n_elems| dtype.bytes_for(n_elems));
    let Some(n_bytes) = n_bytes else {
        let field = format!("shape of tensor {quoted_name}");
        let expected = format!("whole bytes of {dtype}, fewer than 2^64");
        return Err(FormatError::field(file, field, expected, format_args!("{shape:?}")));
    };
    let [start, end] = entry.data_offsets;
    if end.checked_sub(start) != Some(n_bytes) {
        let field = format!("data_offsets of tensor {quoted_name}");
        let expected = format!("{n_bytes} bytes, as {dtype} {shape:?} takes");
        return Err(FormatError::field(file, field, expected, format_args!("[{start}, {end}]")));
    }
    Ok(TensorInfo { name, dtype, shape, file: 0, offset: start, n_bytes })
}

/// Checks that the tensors fill the data exactly, and makes their offsets absolute.
pub(super) fn place_tensors(
    file: &str,
    mut tensors: Vec<TensorInfo>,
    data_offset: u64,
    file_bytes: u64,
) -> Result<Vec<TensorInfo>, FormatError> {
    refuse_duplicates(file, &tensors)?;
    tensors.sort_by_key(|info| (info.offset, info.n_bytes));
    // `data_offset` is at most the length of the file.
    let data_bytes = file_bytes - data_offset;
    let mut expected = 0;
    for info in &mut tensors {
        if info.offset != expected {
            let problem = if info.offset < expected {
                "overlaps the tensor before"
            } else {
                "leaves a gap after the tensor before"
            };
            return Err(FormatError::TensorOffset {
                file: file.to_owned(),
                tensor: quoted(&info.name),
                expected: expected.to_string(),
                found: info.offset,
                problem,
            });
        }
        // The sum is `data_offsets[1]`.
        expected = info.offset + info.n_bytes;
        if expected > data_bytes {
            return Err(FormatError::Truncated {
                file: file.to_owned(),
                field: format!("data of tensor {}", quoted(&info.name)),
                needs_bytes: data_offset.saturating_add(expected),
                file_bytes,
            });
        }
        info.offset += data_offset;
    }
    if expected != data_bytes {
        let expected = format!("{} bytes, where the last tensor ends", data_offset + expected);
        return Err(FormatError::field(file, "length of the file", expected, file_bytes));
    }
    Ok(tensors)
}
