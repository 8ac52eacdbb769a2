//! The header's grammar.

use super::Gguf;
use super::cursor::{Cursor, Fault};
use crate::error::{Quoted, quoted};
use crate::tensor::refuse_duplicates;
use crate::{DType, FormatError, MetaArray, MetaValue, Metadata, StringArray, TensorInfo};

/// Key length, one character, type, one-byte value.
const MIN_KV_BYTES: u64 = 8 + 1 + 4 + 1;
/// Name length, one character, count of axes, one axis, type, offset.
const MIN_TENSOR_BYTES: u64 = 8 + 1 + 4 + 8 + 4 + 8;
/// Limits of ggml: `GGUF_MAX_STRING_LENGTH` for keys, `GGML_MAX_NAME`, `GGML_MAX_DIMS`.
const MAX_KEY_BYTES: usize = 65_535;
const MAX_NAME_BYTES: usize = 63;
const MAX_DIMS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

/// Parses the header at the start of `window`.
pub(super) fn header(window: &[u8], file: &str, file_bytes: u64) -> Result<Gguf, Fault> {
    let mut cursor = Cursor::new(window, file, file_bytes);
    let version = magic_and_version(&mut cursor)?;
    let n_tensors = cursor.u64(format_args!("tensor count"))?;
    let n_kv = cursor.u64(format_args!("metadata count"))?;
    check_count(&cursor, "tensor count", n_tensors, MIN_TENSOR_BYTES)?;
    check_count(&cursor, "metadata count", n_kv, MIN_KV_BYTES)?;

    let metadata = metadata(&mut cursor, n_kv)?;
    let alignment = alignment(&cursor, &metadata)?;
    let mut tensors = tensor_table(&mut cursor, n_tensors)?;
    refuse_duplicates(file, &tensors)?;
    let data_offset = cursor.position().next_multiple_of(alignment);
    place_tensors(&cursor, &mut tensors, data_offset, alignment)?;
    Ok(Gguf { version, metadata, tensors, alignment, data_offset })
}

fn magic_and_version(cursor: &mut Cursor<'_>) -> Result<u32, Fault> {
    let magic = cursor.take(4, format_args!("magic"))?;
    let file = cursor.file.to_owned();
    if magic != b"GGUF" {
        let way_out = match magic {
            b"vers" => "it looks like a Git LFS pointer, fetch the file that it points to",
            b"<!DO" | b"<!do" | b"<htm" => "it looks like a web page, check the address",
            b"PK\x03\x04" => "it looks like a zip archive, unpack it",
            b"ggml" | b"tjgg" | b"lmgg" | b"fmgg" => "it is older than GGUF, convert the model again",
            _ => "check that this is a GGUF file",
        };
        let found = format!("\"{}\"", magic.escape_ascii());
        return Err(FormatError::Magic { file, found, way_out }.into());
    }
    match cursor.u32(format_args!("version"))? {
        version @ (2 | 3) => Ok(version),
        found if found != 0 && found & 0xffff == 0 => Err(FormatError::BigEndian { file, found }.into()),
        found => Err(FormatError::Version { file, found }.into()),
    }
}

/// Refuses a count of things that the rest of the file cannot hold.
fn check_count(cursor: &Cursor<'_>, field: &str, found: u64, min_bytes: u64) -> Result<(), Fault> {
    let most = cursor.rest_of_file() / min_bytes;
    if found > most {
        let expected = format!("at most {most}, at {min_bytes} bytes or more each");
        return cursor.refuse(field, expected, found);
    }
    Ok(())
}

/// Room for `count` things, but no more than the bytes at hand can hold.
fn room<T>(cursor: &Cursor<'_>, count: u64, min_bytes: u64) -> Vec<T> {
    let most = cursor.rest_of_window() as u64 / min_bytes;
    Vec::with_capacity(count.min(most) as usize)
}

fn metadata(cursor: &mut Cursor<'_>, n_kv: u64) -> Result<Metadata, Fault> {
    let mut entries = room(cursor, n_kv, MIN_KV_BYTES);
    for index in 0..n_kv {
        let key = cursor.str(format_args!("metadata key {index}"))?;
        if key.is_empty() || key.len() > MAX_KEY_BYTES || !key.bytes().all(|b| b.is_ascii_graphic()) {
            let expected = format!("1 to {MAX_KEY_BYTES} printable ASCII characters");
            return cursor.refuse(format_args!("metadata key {index}"), expected, Quoted(key));
        }
        let value_type = cursor.u32(format_args!("type of metadata {}", Quoted(key)))?;
        let value = match value_type {
            9 => MetaValue::Array(array(cursor, key)?),
            _ => scalar(cursor, key, value_type)?,
        };
        entries.push((Box::from(key), value));
    }
    Metadata::from_entries(entries).map_err(|key| {
        FormatError::Duplicate { file: cursor.file.to_owned(), what: "metadata key", name: quoted(&key) }.into()
    })
}

/// Bytes that one value of this type takes in the file; for strings the least.
fn value_bytes(value_type: u32) -> Option<u64> {
    match value_type {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        8 | 10..=12 => Some(8),
        _ => None,
    }
}

fn scalar(cursor: &mut Cursor<'_>, key: &str, value_type: u32) -> Result<MetaValue, Fault> {
    if value_type == 8 {
        let text = cursor.str(format_args!("metadata value {}", Quoted(key)))?;
        return Ok(MetaValue::String(text.to_owned()));
    }
    let Some(n_bytes) = value_bytes(value_type) else {
        let field = format!("type of metadata {}", Quoted(key));
        return cursor.refuse(field, "a type from 0 to 12", value_type);
    };
    let raw = cursor.take(n_bytes, format_args!("metadata value {}", Quoted(key)))?;
    // Zero-extended; the casts below take back the bits that were there.
    let mut wide = [0; 8];
    wide[..raw.len()].copy_from_slice(raw);
    let bits = u64::from_le_bytes(wide);
    Ok(match value_type {
        0 => MetaValue::U8(bits as u8),
        1 => MetaValue::I8(bits as i8),
        2 => MetaValue::U16(bits as u16),
        3 => MetaValue::I16(bits as i16),
        4 => MetaValue::U32(bits as u32),
        5 => MetaValue::I32(bits as i32),
        6 => MetaValue::F32(f32::from_bits(bits as u32)),
        7 if bits <= 1 => MetaValue::Bool(bits == 1),
        7 => {
            return cursor.refuse(format_args!("metadata value {}", Quoted(key)), "bool 0 or 1", bits);
        }
        10 => MetaValue::U64(bits),
        11 => MetaValue::I64(bits.cast_signed()),
        _ => MetaValue::F64(f64::from_bits(bits)),
    })
}

fn array(cursor: &mut Cursor<'_>, key: &str) -> Result<MetaArray, Fault> {
    let elem_type = cursor.u32(format_args!("element type of array {}", Quoted(key)))?;
    let n = cursor.u64(format_args!("length of array {}", Quoted(key)))?;
    let Some(elem_bytes) = value_bytes(elem_type) else {
        let expected = "a type from 0 to 12 other than array";
        return cursor.refuse(format_args!("element type of array {}", Quoted(key)), expected, elem_type);
    };
    let field = format!("length of array {}", Quoted(key));
    check_count(cursor, &field, n, elem_bytes)?;
    if elem_type == 8 {
        return Ok(MetaArray::String(strings(cursor, key, n)?));
    }
    // The product is at most the length of the file.
    let raw = cursor.take(n * elem_bytes, format_args!("array {}", Quoted(key)))?;
    Ok(match elem_type {
        0 => MetaArray::U8(raw.to_vec()),
        1 => MetaArray::I8(raw.iter().map(|&b| b.cast_signed()).collect()),
        2 => MetaArray::U16(numbers(raw, u16::from_le_bytes)),
        3 => MetaArray::I16(numbers(raw, i16::from_le_bytes)),
        4 => MetaArray::U32(numbers(raw, u32::from_le_bytes)),
        5 => MetaArray::I32(numbers(raw, i32::from_le_bytes)),
        6 => MetaArray::F32(numbers(raw, f32::from_le_bytes)),
        7 => match raw.iter().position(|&b| b > 1) {
            None => MetaArray::Bool(raw.iter().map(|&b| b == 1).collect()),
            Some(at) => {
                let field = format!("element {at} of array {}", Quoted(key));
                return cursor.refuse(field, "bool 0 or 1", raw[at]);
            }
        },
        10 => MetaArray::U64(numbers(raw, u64::from_le_bytes)),
        11 => MetaArray::I64(numbers(raw, i64::from_le_bytes)),
        _ => MetaArray::F64(numbers(raw, f64::from_le_bytes)),
    })
}

fn numbers<T, const N: usize>(raw: &[u8], from: fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks().0.iter().map(|&bytes| from(bytes)).collect()
}

/// Two passes, so that the text of a whole vocabulary is allocated once and exactly.
fn strings(cursor: &mut Cursor<'_>, key: &str, n: u64) -> Result<StringArray, Fault> {
    let start = cursor.position();
    for index in 0..n {
        let len = cursor.u64(format_args!("length of string {index} of array {}", Quoted(key)))?;
        cursor.take(len, format_args!("string {index} of array {}", Quoted(key)))?;
    }
    let n_bytes = cursor.position() - start - 8 * n;
    cursor.rewind(start);
    // Both are at most the length of the window by now.
    let mut strings = StringArray::with_capacity(n as usize, n_bytes as usize);
    for index in 0..n {
        strings.push(cursor.str(format_args!("string {index} of array {}", Quoted(key)))?);
    }
    Ok(strings)
}

fn alignment(cursor: &Cursor<'_>, metadata: &Metadata) -> Result<u64, Fault> {
    match metadata.get("general.alignment") {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(MetaValue::U32(value)) if value.is_power_of_two() => Ok(u64::from(*value)),
        Some(value) => cursor.refuse("metadata value \"general.alignment\"", "a power of two as u32", value.describe()),
    }
}

/// The table as it stands in the file; offsets still count from the start of the data.
fn tensor_table(cursor: &mut Cursor<'_>, n_tensors: u64) -> Result<Vec<TensorInfo>, Fault> {
    let mut tensors = room(cursor, n_tensors, MIN_TENSOR_BYTES);
    for index in 0..n_tensors {
        let name = cursor.str(format_args!("name of tensor {index}"))?;
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
            let expected = format!("1 to {MAX_NAME_BYTES} bytes without control characters");
            return cursor.refuse(format_args!("name of tensor {index}"), expected, quoted(name));
        }
        tensors.push(tensor(cursor, name)?);
    }
    Ok(tensors)
}

fn tensor(cursor: &mut Cursor<'_>, name: &str) -> Result<TensorInfo, Fault> {
    let quoted_name = Quoted(name);
    let n_dims = cursor.u32(format_args!("axis count of tensor {quoted_name}"))?;
    if !(1..=MAX_DIMS).contains(&n_dims) {
        let field = format!("axis count of tensor {quoted_name}");
        return cursor.refuse(field, format_args!("1 to {MAX_DIMS}"), n_dims);
    }
    let mut shape = Vec::with_capacity(n_dims as usize);
    for axis in 0..n_dims {
        let field = format!("axis {axis} of tensor {quoted_name}");
        let extent = cursor.u64(format_args!("{field}"))?;
        if extent == 0 || i64::try_from(extent).is_err() {
            return cursor.refuse(field, "1 to 2^63 - 1", extent);
        }
        shape.push(extent);
    }
    let type_id = cursor.u32(format_args!("type of tensor {quoted_name}"))?;
    let offset = cursor.u64(format_args!("offset of tensor {quoted_name}"))?;
    let Some(dtype) = DType::from_ggml(type_id) else {
        return Err(FormatError::UnknownType {
            file: cursor.file.to_owned(),
            tensor: quoted_name.to_string(),
            found: type_id.to_string(),
            way_out: "the file is damaged, or newer than this program",
        }
        .into());
    };
    let n_bytes = tensor_bytes(cursor, quoted_name, dtype, &shape)?;
    shape.reverse();
    Ok(TensorInfo { name: name.to_owned(), dtype, shape, file: 0, offset, n_bytes })
}

/// Length of the data of a tensor with contiguous axis `ne[0]`.
fn tensor_bytes(cursor: &Cursor<'_>, quoted_name: Quoted<'_>, dtype: DType, ne: &[u64]) -> Result<u64, Fault> {
    let block_elems = dtype.block_elems();
    if !ne[0].is_multiple_of(block_elems as u64) {
        let field = format!("axis 0 of tensor {quoted_name}");
        let expected = format!("a multiple of the {block_elems} values in a {dtype} block");
        return cursor.refuse(field, expected, ne[0]);
    }
    let n_elems = ne.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent));
    let n_bytes = n_elems.and_then(|n_elems| dtype.bytes_for(n_elems));
    match (n_elems, n_bytes) {
        (Some(n_elems), Some(n_bytes)) if n_elems.max(n_bytes) < 1 << 63 => Ok(n_bytes),
        _ => {
            let field = format!("shape of tensor {quoted_name}");
            cursor.refuse(field, "fewer than 2^63 values and bytes", format_args!("ne {ne:?}"))
        }
    }
}

/// Checks that the tensors lie one after another, and makes their offsets absolute.
fn place_tensors(
    cursor: &Cursor<'_>,
    tensors: &mut [TensorInfo],
    data_offset: u64,
    alignment: u64,
) -> Result<(), Fault> {
    let mut expected = 0_u64;
    for info in tensors {
        let name = quoted(&info.name);
        if info.offset != expected {
            let (expected, problem) = if !info.offset.is_multiple_of(alignment) {
                (format!("{expected}, a multiple of {alignment}"), "is misaligned")
            } else if info.offset < expected {
                (expected.to_string(), "overlaps the tensor before")
            } else {
                (expected.to_string(), "leaves a gap after the tensor before")
            };
            let (file, found) = (cursor.file.to_owned(), info.offset);
            return Err(FormatError::TensorOffset { file, tensor: name, expected, found, problem }.into());
        }
        let end = info
            .n_bytes
            .checked_next_multiple_of(alignment)
            .and_then(|padded| expected.checked_add(padded))
            .filter(|end| data_offset.checked_add(*end).is_some());
        let Some(end) = end else {
            return cursor.refuse(format_args!("end of tensor {name}"), "below 2^64", "more");
        };
        info.offset += data_offset;
        expected = end;
    }
    Ok(())
}
