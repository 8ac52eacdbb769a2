//! Bad GGUF files, single and split.

use super::{Raw, Row, SplitRow, part};

/// A file with one pair and no tensor, up to its value.
fn key(key: &str, value_type: u32) -> Raw {
    Raw::header(0, 1).str(key).u32(value_type)
}

/// A file with one tensor `w` and 4096 bytes of data.
fn tensor(ne: &[u64], type_id: u32, offset: u64) -> Vec<u8> {
    Raw::header(1, 0).tensor("w", ne, type_id, offset).data(4096)
}

/// A file with two tensors of 32 bytes each in F32, the second at `offset`.
fn two_tensors(second: &str, offset: u64) -> Vec<u8> {
    Raw::header(2, 0).tensor("a", &[8], 0, 0).tensor(second, &[8], 0, offset).data(256)
}

/// A file with an alignment and no tensor.
fn alignment(value: u32) -> Vec<u8> {
    key("general.alignment", 4).u32(value).end()
}

#[rustfmt::skip]
pub const SINGLE: &[Row] = &[
    ("empty", Vec::new, "magic needs the file to have 4 bytes, it has 0"),
    ("three bytes", || b"GGU".to_vec(), "magic needs the file to have 4 bytes, it has 3"),
    ("other magic", || b"ABCD\x03\0\0\0".to_vec(), "magic: expected \"GGUF\", found \"ABCD\""),
    ("older container", || b"tjgg\x03\0\0\0".to_vec(), "older than GGUF"),
    ("Git LFS pointer", || b"version https://git-lfs.github.com/spec/v1".to_vec(), "Git LFS pointer"),
    ("web page", || b"<!DOCTYPE html>".to_vec(), "web page"),
    ("zip archive", || b"PK\x03\x04".to_vec(), "zip archive"),
    ("version 1", || Raw::default().bytes(b"GGUF").u32(1).u64(0).u64(0).end(), "version: expected 2 or 3, found 1"),
    ("version 4", || Raw::default().bytes(b"GGUF").u32(4).u64(0).u64(0).end(), "version: expected 2 or 3, found 4"),
    ("version 0", || Raw::default().bytes(b"GGUF").u32(0).u64(0).u64(0).end(), "version: expected 2 or 3, found 0"),
    ("big-endian", || b"GGUF\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(), "the file is big-endian"),
    ("counts cut", || Raw::default().bytes(b"GGUF").u32(3).u64(0).u32(0).end(), "metadata count needs the file to have 24 bytes, it has 20"),
    ("tensor count past the end", || Raw::header(u64::MAX, 0).data(64), "tensor count: expected at most"),
    ("metadata count past the end", || Raw::header(0, 1 << 40).data(64), "metadata count: expected at most"),
    ("one tensor too many", || Raw::header(2, 0).tensor("a", &[8], 0, 0).data(32), "name of tensor 1: expected 1 to 63 bytes"),
    ("key length past the end", || Raw::header(0, 1).u64(1 << 40).data(64), "metadata key 0 needs the file to have 1099511627808 bytes"),
    ("key length overflows", || Raw::header(0, 1).u64(u64::MAX).data(64), "metadata key 0 needs the file to have 18446744073709551615 bytes"),
    ("empty key", || key("", 0).data(64), "metadata key 0: expected 1 to 65535 printable ASCII characters, found \"\""),
    ("key with a control character", || key("a\u{1b}[2J", 0).data(64), "found \"a\\u{1b}[2J\""),
    ("key beyond ASCII", || key("é", 0).data(64), "printable ASCII"),
    ("key longer than 65535", || key(&"k".repeat(65_536), 0).data(64), "1 to 65535 printable"),
    ("key not UTF-8", || Raw::header(0, 1).u64(2).bytes(&[b'a', 0xff]).data(64), "metadata key 0: expected UTF-8, found a bad byte at 1"),
    ("duplicate key", || Raw::header(0, 2).str("k").u32(0).bytes(&[1]).str("k").u32(0).bytes(&[2]).data(32), "duplicate metadata key \"k\""),
    ("unknown value type", || key("k", 13).data(64), "type of metadata \"k\": expected a type from 0 to 12, found 13"),
    ("bool of 2", || key("k", 7).bytes(&[2]).data(64), "metadata value \"k\": expected bool 0 or 1, found 2"),
    ("string past the end", || key("k", 8).u64(1000).data(64), "metadata value \"k\" needs the file to have"),
    ("string not UTF-8", || key("k", 8).u64(1).bytes(&[0xc0]).data(64), "metadata value \"k\": expected UTF-8"),
    ("value cut", || key("k", 10).u32(0).end(), "metadata value \"k\" needs the file to have"),
    ("array of arrays", || key("k", 9).u32(9).u64(1).data(64), "element type of array \"k\": expected a type from 0 to 12 other than array, found 9"),
    ("array of an unknown type", || key("k", 9).u32(99).u64(1).data(64), "element type of array \"k\""),
    ("array past the end", || key("k", 9).u32(5).u64(1 << 61).data(64), "length of array \"k\": expected at most"),
    ("array length overflows", || key("k", 9).u32(12).u64(u64::MAX).data(64), "length of array \"k\": expected at most"),
    ("string array past the end", || key("k", 9).u32(8).u64(1 << 30).data(64), "length of array \"k\": expected at most"),
    ("string of an array past the end", || key("k", 9).u32(8).u64(1).u64(1 << 50).data(64), "string 0 of array \"k\" needs the file to have"),
    ("string of an array not UTF-8", || key("k", 9).u32(8).u64(2).str("a").u64(2).bytes(&[b'b', 0x80]).data(64), "string 1 of array \"k\": expected UTF-8, found a bad byte at 1"),
    ("array with a bool of 255", || key("k", 9).u32(7).u64(2).bytes(&[1, 255]).data(64), "element 1 of array \"k\": expected bool 0 or 1, found 255"),
    ("alignment 0", || alignment(0), "\"general.alignment\": expected a power of two as u32, found u32 0"),
    ("alignment 48", || alignment(48), "\"general.alignment\": expected a power of two as u32, found u32 48"),
    ("alignment as a string", || key("general.alignment", 8).str("32").end(), "expected a power of two as u32, found string \"32\""),
    ("empty tensor name", || Raw::header(1, 0).tensor("", &[8], 0, 0).data(32), "name of tensor 0: expected 1 to 63 bytes"),
    ("tensor name of 64 bytes", || Raw::header(1, 0).tensor(&"n".repeat(64), &[8], 0, 0).data(32), "name of tensor 0: expected 1 to 63 bytes"),
    ("tensor name with a newline", || Raw::header(1, 0).tensor("a\nb", &[8], 0, 0).data(32), "without control characters, found \"a\\nb\""),
    ("duplicate tensor", || two_tensors("a", 32), "duplicate tensor \"a\""),
    ("no axes", || Raw::header(1, 0).tensor("w", &[], 0, 0).data(64), "axis count of tensor \"w\": expected 1 to 4, found 0"),
    ("five axes", || tensor(&[1; 5], 0, 0), "axis count of tensor \"w\": expected 1 to 4, found 5"),
    ("axis of 0", || tensor(&[8, 0], 0, 0), "axis 1 of tensor \"w\": expected 1 to 2^63 - 1, found 0"),
    ("negative axis", || tensor(&[u64::MAX], 0, 0), "axis 0 of tensor \"w\": expected 1 to 2^63 - 1, found 18446744073709551615"),
    ("product overflows", || tensor(&[1 << 32, 1 << 32], 0, 0), "shape of tensor \"w\": expected fewer than 2^63 values and bytes"),
    ("bytes overflow", || tensor(&[1 << 62], 0, 0), "shape of tensor \"w\""),
    ("unknown tensor type", || tensor(&[8], 1000, 0), "type of tensor \"w\": expected a known type, found 1000"),
    ("removed tensor type", || tensor(&[32], 4, 0), "type of tensor \"w\": expected a known type, found 4"),
    ("row of half a block", || tensor(&[48, 2], 2, 0), "axis 0 of tensor \"w\": expected a multiple of the 32 values in a Q4_0 block, found 48"),
    ("offset misaligned", || tensor(&[8], 0, 8), "offset of tensor \"w\": expected 0, a multiple of 32, found 8, which is misaligned"),
    ("tensors overlap", || two_tensors("b", 0), "offset of tensor \"b\": expected 32, found 0, which overlaps the tensor before"),
    ("gap between tensors", || two_tensors("b", 64), "offset of tensor \"b\": expected 32, found 64, which leaves a gap"),
    ("data past the end", || tensor(&[4096], 0, 0), "data of tensor \"w\" needs the file to have 16448 bytes"),
    ("data far past the end", || tensor(&[1 << 60], 0, 0), "data of tensor \"w\" needs the file to have"),
    ("ends of data overflow", || Raw::header(4, 0).tensor("a", &[1 << 62], 24, 0).tensor("b", &[1 << 62], 24, 1 << 62).tensor("c", &[1 << 62], 24, 2 << 62).tensor("d", &[1 << 62], 24, 3 << 62).data(64), "end of tensor \"d\": expected below 2^64"),
    ("one part of a split model", || part(0, 3, 3, "a"), "\"split.count\": expected 1, since 1 file was given, found u16 3"),
];

#[rustfmt::skip]
pub const SPLIT: &[SplitRow] = &[
    ("no files", Vec::new, "files of a split model: expected at least 1, found 0"),
    ("parts in the wrong order", || vec![part(1, 2, 2, "a"), part(0, 2, 2, "b")], "\"split.no\": expected 0"),
    ("part missing", || vec![part(0, 3, 3, "a"), part(2, 3, 3, "b")], "\"split.count\": expected 2, since 2 files were given, found u16 3"),
    ("part of another model", || vec![part(0, 2, 2, "a"), part(1, 3, 2, "b")], "part 1`: metadata value \"split.count\": expected 2"),
    ("part given twice", || vec![part(0, 2, 2, "a"), part(0, 2, 2, "b")], "\"split.no\": expected 1"),
    ("tensor in two parts", || vec![part(0, 2, 2, "a"), part(1, 2, 2, "a")], "duplicate tensor \"a\""),
    ("wrong tensor total", || vec![part(0, 2, 7, "a"), part(1, 2, 7, "b")], "\"split.tensors.count\": expected 2, the tensors in all files, found i32 7"),
    ("negative tensor total", || vec![part(0, 2, -2, "a"), part(1, 2, -2, "b")], "found i32 -2"),
    ("second part not split", || vec![part(0, 2, 2, "a"), Raw::header(0, 0).end()], "part 1`: metadata value \"split.count\": expected 2, since 2 files were given, found nothing"),
    ("second part not GGUF", || vec![part(0, 2, 2, "a"), b"{}{}".to_vec()], "part 1`: magic"),
    ("second part cut", || vec![part(0, 2, 2, "a"), { let mut cut = part(1, 2, 2, "b"); cut.truncate(cut.len() - 32); cut }], "part 1`: data of tensor \"b\""),
];
