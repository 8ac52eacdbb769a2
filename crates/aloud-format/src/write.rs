//! Small writers, for tests and made models: everything is in memory, or the header alone.

use std::fmt::Write as _;

use crate::{DType, MetaArray, MetaValue};

/// Builds a GGUF v3 file in memory.
///
/// It writes what it is given: values that the format does not allow end up in the file, which is
/// how the tests make bad ones.
#[derive(Clone, Debug, Default)]
pub struct GgufWriter {
    n_kv: u64,
    kv: Vec<u8>,
    n_tensors: u64,
    table: Vec<u8>,
    data: Vec<u8>,
    declared_bytes: u64,
    alignment: Option<u32>,
}

impl GgufWriter {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the alignment of tensor data, a power of two, and `general.alignment`. Call it before
    /// the first [`tensor`](Self::tensor).
    pub fn alignment(mut self, alignment: u32) -> Self {
        self.alignment = Some(alignment);
        self.metadata("general.alignment", MetaValue::U32(alignment))
    }

    /// Appends a key-value pair.
    pub fn metadata(mut self, key: &str, value: MetaValue) -> Self {
        put_str(&mut self.kv, key);
        put_value(&mut self.kv, &value);
        self.n_kv += 1;
        self
    }

    /// Appends a tensor of row-major `shape`, outermost axis first, with its blocks.
    ///
    /// # Panics
    /// If `dtype` is not a type of GGUF.
    #[track_caller]
    pub fn tensor(mut self, name: &str, dtype: DType, shape: &[u64], data: &[u8]) -> Self {
        self = self.declare(name, dtype, shape, data.len() as u64);
        self.data.extend(data);
        pad(&mut self.data, self.alignment.unwrap_or(32));
        self
    }

    /// Appends a tensor of `n_bytes` to the table alone: its data follows [`header`](Self::header), where whoever writes
    /// the file puts it, padded to the alignment.
    ///
    /// # Panics
    /// If `dtype` is not a type of GGUF.
    #[track_caller]
    pub fn declare(mut self, name: &str, dtype: DType, shape: &[u64], n_bytes: u64) -> Self {
        let ggml_id = dtype.ggml_id().expect("a type of GGUF");
        put_str(&mut self.table, name);
        self.table.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|extent| self.table.extend(extent.to_le_bytes()));
        self.table.extend(ggml_id.to_le_bytes());
        self.table.extend(self.declared_bytes.to_le_bytes());
        self.declared_bytes += n_bytes.next_multiple_of(u64::from(self.alignment.unwrap_or(32)));
        self.n_tensors += 1;
        self
    }

    /// All that stands before the data of the tensors.
    pub fn header(&self) -> Vec<u8> {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(self.n_tensors.to_le_bytes());
        file.extend(self.n_kv.to_le_bytes());
        file.extend(&self.kv);
        file.extend(&self.table);
        pad(&mut file, self.alignment.unwrap_or(32));
        file
    }

    /// The file.
    pub fn finish(self) -> Vec<u8> {
        let mut file = self.header();
        file.extend(self.data);
        file
    }
}

fn pad(bytes: &mut Vec<u8>, alignment: u32) {
    bytes.resize(bytes.len().next_multiple_of(alignment as usize), 0);
}

fn put_str(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

/// The type's number and the value.
fn put_value(to: &mut Vec<u8>, value: &MetaValue) {
    let mut put = |id: u32, bytes: &[u8]| {
        to.extend(id.to_le_bytes());
        to.extend(bytes);
    };
    match value {
        MetaValue::U8(v) => put(0, &v.to_le_bytes()),
        MetaValue::I8(v) => put(1, &v.to_le_bytes()),
        MetaValue::U16(v) => put(2, &v.to_le_bytes()),
        MetaValue::I16(v) => put(3, &v.to_le_bytes()),
        MetaValue::U32(v) => put(4, &v.to_le_bytes()),
        MetaValue::I32(v) => put(5, &v.to_le_bytes()),
        MetaValue::F32(v) => put(6, &v.to_le_bytes()),
        MetaValue::Bool(v) => put(7, &[u8::from(*v)]),
        MetaValue::U64(v) => put(10, &v.to_le_bytes()),
        MetaValue::I64(v) => put(11, &v.to_le_bytes()),
        MetaValue::F64(v) => put(12, &v.to_le_bytes()),
        MetaValue::String(v) => {
            put(8, &[]);
            put_str(to, v);
        }
        MetaValue::Array(v) => {
            put(9, &[]);
            put_array(to, v);
        }
    }
}

/// The element type's number, the length and the elements.
fn put_array(to: &mut Vec<u8>, array: &MetaArray) {
    let n = array.len() as u64;
    let mut put = |id: u32, elems: Vec<u8>| {
        to.extend(id.to_le_bytes());
        to.extend(n.to_le_bytes());
        to.extend(elems);
    };
    match array {
        MetaArray::U8(a) => put(0, a.clone()),
        MetaArray::I8(a) => put(1, a.iter().map(|v| v.cast_unsigned()).collect()),
        MetaArray::U16(a) => put(2, a.iter().flat_map(|v| v.to_le_bytes()).collect()),
        MetaArray::I16(a) => put(3, a.iter().flat_map(|v| v.to_le_bytes()).collect()),
        MetaArray::U32(a) => put(4, a.iter().flat_map(|v| v.to_le_bytes()).collect()),
        MetaArray::I32(a) => put(5, a.iter().flat_map(|v| v.to_le_bytes()).collect()),
        MetaArray::F32(a) => put(6, a.iter().flat_map(|v| v.to_le_bytes()).collect()),
        MetaArray::Bool(a) => put(7, a.iter().map(|&v| u8::from(v)).collect()),
        MetaArray::U64(a) => put(10, a.iter().flat_map(|v| v.to_le_bytes()).collect()),
        MetaArray::I64(a) => put(11, a.iter().flat_map(|v| v.to_le_bytes()).collect()),
        MetaArray::F64(a) => put(12, a.iter().flat_map(|v| v.to_le_bytes()).collect()),
        MetaArray::String(a) => {
            put(8, Vec::new());
            a.iter().for_each(|text| put_str(to, text));
        }
    }
}

/// Builds a safetensors file in memory from `(name, dtype, row-major shape, data)`.
pub fn write_safetensors(tensors: &[(&str, DType, &[u64], &[u8])]) -> Vec<u8> {
    let table: Vec<_> =
        tensors.iter().map(|(name, dtype, shape, data)| (*name, *dtype, *shape, data.len() as u64)).collect();
    let mut file = safetensors_header(&table);
    tensors.iter().for_each(|(_, _, _, data)| file.extend(*data));
    file
}

/// All that stands before the data in a safetensors file, from `(name, dtype, row-major shape, bytes of data)`.
pub fn safetensors_header(tensors: &[(&str, DType, &[u64], u64)]) -> Vec<u8> {
    let mut json = String::from("{");
    let mut end = 0;
    for (index, (name, dtype, shape, n_bytes)) in tensors.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let start = end;
        end += n_bytes;
        let name = serde_json::Value::from(*name);
        // Writing to a string does not fail.
        let _ = write!(
            json,
            "{comma}{name}:{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{start},{end}]}}"
        );
    }
    json.push('}');
    json.extend(std::iter::repeat_n(' ', json.len().next_multiple_of(8) - json.len()));
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend(json.as_bytes());
    file
}
