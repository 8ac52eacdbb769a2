//! Bad safetensors files and bad shard indices.

use super::{IndexRow, Row, safetensors_of};

/// A file of one tensor `a`, with its entry as given, and 8 bytes of data.
fn entry(entry: &str) -> Vec<u8> {
    safetensors_of(&format!("{{\"a\":{entry}}}"), 8)
}

/// A file of tensors `a` and `b` of 4 bytes each in F32, with their offsets as given.
fn two(a: &str, b: &str) -> Vec<u8> {
    let of = |offsets| format!(r#"{{"dtype":"F32","shape":[1],"data_offsets":{offsets}}}"#);
    safetensors_of(&format!(r#"{{"a":{},"b":{}}}"#, of(a), of(b)), 8)
}

#[rustfmt::skip]
pub const SINGLE: &[Row] = &[
    ("empty", Vec::new, "header length needs the file to have 8 bytes, it has 0"),
    ("seven bytes", || vec![0; 7], "header length needs the file to have 8 bytes, it has 7"),
    ("header past the end", || 1000_u64.to_le_bytes().to_vec(), "JSON header needs the file to have 1008 bytes, it has 8"),
    ("header beyond the limit", || u64::MAX.to_le_bytes().to_vec(), "header length: expected at most 100000000 bytes"),
    ("a GGUF file", || b"GGUF\x03\0\0\0".to_vec(), "header length: expected at most"),
    ("empty header", || safetensors_of("", 8), "first byte of the JSON header: expected \"{\", found nothing"),
    ("header not an object", || safetensors_of("[]", 0), "first byte of the JSON header: expected \"{\", found \"[\""),
    ("header padded in front", || safetensors_of(" {}", 0), "first byte of the JSON header: expected \"{\", found \" \""),
    ("header not JSON", || safetensors_of("{a}", 0), "JSON header: expected tensors by name"),
    ("header cut", || safetensors_of("{\"a\":", 0), "EOF"),
    ("header with a tail", || safetensors_of("{}x", 0), "trailing characters"),
    ("header not UTF-8", || { let mut f = safetensors_of("{\"a\":1}", 0); f[10] = 0xff; f }, "JSON header"),
    ("nested without end", || safetensors_of(&format!("{{\"a\":{{\"x\":{}", "[".repeat(10_000)), 0), "EOF while parsing a list"),
    ("entry not an object", || entry("7"), "tensor \"a\": invalid type"),
    ("no dtype", || entry(r#"{"shape":[1],"data_offsets":[0,8]}"#), "missing field `dtype`"),
    ("no shape", || entry(r#"{"dtype":"F32","data_offsets":[0,8]}"#), "missing field `shape`"),
    ("no offsets", || entry(r#"{"dtype":"F32","shape":[2]}"#), "missing field `data_offsets`"),
    ("field twice", || entry(r#"{"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,8]}"#), "duplicate field `dtype`"),
    ("unknown dtype", || entry(r#"{"dtype":"Q4_K","shape":[2],"data_offsets":[0,8]}"#), "type of tensor \"a\": expected a known type, found \"Q4_K\""),
    ("negative extent", || entry(r#"{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}"#), "invalid value: integer `-2`"),
    ("fractional extent", || entry(r#"{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}"#), "invalid type: floating point"),
    ("nine axes", || entry(r#"{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}"#), "a shape of at most 8 axes"),
    ("product overflows", || entry(r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}"#), "shape of tensor \"a\": expected whole bytes of F32, fewer than 2^64"),
    ("half a byte", || entry(r#"{"dtype":"F4","shape":[15],"data_offsets":[0,8]}"#), "shape of tensor \"a\": expected whole bytes of F4"),
    ("shape and offsets disagree", || entry(r#"{"dtype":"F32","shape":[3],"data_offsets":[0,8]}"#), "data_offsets of tensor \"a\": expected 12 bytes, as F32 [3] takes, found [0, 8]"),
    ("offsets reversed", || entry(r#"{"dtype":"F32","shape":[2],"data_offsets":[8,0]}"#), "data_offsets of tensor \"a\": expected 8 bytes"),
    ("three offsets", || entry(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}"#), "tensor \"a\""),
    ("empty name", || safetensors_of(r#"{"":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 8), "tensor name: expected"),
    ("name with an escape", || safetensors_of(r#"{"a\u001b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 8), "found \"a\\u{1b}\""),
    ("duplicate tensor", || safetensors_of(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8), "duplicate tensor \"a\""),
    ("tensors overlap", || two("[0,4]", "[2,6]"), "offset of tensor \"b\": expected 4, found 2, which overlaps"),
    ("tensors in one place", || two("[0,4]", "[0,4]"), "offset of tensor \"b\": expected 4, found 0, which overlaps"),
    ("gap between tensors", || two("[0,4]", "[5,9]"), "offset of tensor \"b\": expected 4, found 5, which leaves a gap"),
    ("gap in front", || two("[1,5]", "[5,9]"), "offset of tensor \"a\": expected 0, found 1, which leaves a gap"),
    ("data past the end", || entry(r#"{"dtype":"F32","shape":[3],"data_offsets":[0,12]}"#), "data of tensor \"a\" needs the file to have"),
    ("data left over", || entry(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#), "length of the file: expected"),
    ("metadata not strings", || safetensors_of(r#"{"__metadata__":{"a":1}}"#, 0), "expected a string"),
    ("metadata twice", || safetensors_of(r#"{"__metadata__":{},"__metadata__":{}}"#, 0), "duplicate field `__metadata__`"),
    ("metadata key twice", || safetensors_of(r#"{"__metadata__":{"k":"1","k":"2"}}"#, 0), "duplicate metadata key \"k\""),
];

/// The file `m.safetensors` that goes with each index holds `a` and `b`.
#[rustfmt::skip]
pub const INDEX: &[IndexRow] = &[
    ("empty", "", "shard index: expected a `weight_map`"),
    ("not an object", "[]", "shard index"),
    ("no map", r#"{"metadata":{}}"#, "missing field `weight_map`"),
    ("empty map", r#"{"weight_map":{}}"#, "found an empty one"),
    ("file not a string", r#"{"weight_map":{"a":1}}"#, "expected a string"),
    ("tensor twice", r#"{"weight_map":{"a":"m.safetensors","a":"m.safetensors"}}"#, "duplicate tensor \"a\""),
    ("file above the folder", r#"{"weight_map":{"a":"../m.safetensors"}}"#, "file \"../m.safetensors\" of tensor \"a\", not a plain name"),
    ("absolute file", r#"{"weight_map":{"a":"/etc/passwd"}}"#, "not a plain name"),
    ("file with a drive", r#"{"weight_map":{"a":"c:m.safetensors"}}"#, "not a plain name"),
    ("file by URL", r#"{"weight_map":{"a":"https://example.com/m"}}"#, "not a plain name"),
    ("file with a backslash", r#"{"weight_map":{"a":"..\\m"}}"#, "not a plain name"),
    ("file not given", r#"{"weight_map":{"a":"n.safetensors"}}"#, "file \"n.safetensors\": expected it among the 1 files given"),
    ("tensor not in its file", r#"{"weight_map":{"a":"m.safetensors","z":"m.safetensors"}}"#, "file of tensor \"z\": expected a file that holds it, found \"m.safetensors\", which does not"),
    ("cut", r#"{"weight_map":{"a":"m.safe"#, "EOF"),
];
