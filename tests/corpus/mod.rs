//! Files that have to be refused, each made by hand: what is wrong with it, how it is built, and
//! what the error has to say.

pub mod gguf;
pub mod safetensors;

use aloud_format::{DType, GgufWriter, MetaValue};

/// One bad model: its name, its files, and a part of the error that refuses it.
pub type Row = (&'static str, fn() -> Vec<u8>, &'static str);

/// As [`Row`], for models in several files.
pub type SplitRow = (&'static str, fn() -> Vec<Vec<u8>>, &'static str);

/// As [`Row`], for an index and its one file `m.safetensors`.
pub type IndexRow = (&'static str, &'static str, &'static str);

/// Fields of a GGUF file in order, with any value.
#[derive(Default)]
pub struct Raw(Vec<u8>);

impl Raw {
    /// `GGUF`, version 3 and the counts.
    pub fn header(n_tensors: u64, n_kv: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(3).u64(n_tensors).u64(n_kv)
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn str(self, text: &str) -> Self {
        self.u64(text.len() as u64).bytes(text.as_bytes())
    }

    /// A row of the tensor table; `ne` lists the contiguous axis first.
    pub fn tensor(self, name: &str, ne: &[u64], type_id: u32, offset: u64) -> Self {
        let head = self.str(name).u32(ne.len() as u32);
        let row = ne.iter().fold(head, |row, &extent| row.u64(extent));
        row.u32(type_id).u64(offset)
    }

    /// Zeros up to the alignment of 32, and `n_bytes` of tensor data.
    pub fn data(mut self, n_bytes: usize) -> Vec<u8> {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start + n_bytes, 0);
        self.0
    }

    pub fn end(self) -> Vec<u8> {
        self.0
    }
}

/// Part `no` of a split model of `count` files with `total` tensors, of which it has one.
pub fn part(no: u16, count: u16, total: i32, tensor: &str) -> Vec<u8> {
    GgufWriter::new()
        .metadata("split.no", MetaValue::U16(no))
        .metadata("split.count", MetaValue::U16(count))
        .metadata("split.tensors.count", MetaValue::I32(total))
        .tensor(tensor, DType::F32, &[1], &[0; 4])
        .finish()
}

/// A safetensors file of this JSON and that many bytes of data.
pub fn safetensors_of(json: &str, n_data_bytes: usize) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.resize(bytes.len() + n_data_bytes, 0);
    bytes
}
