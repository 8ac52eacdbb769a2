//! GGUF, versions 2 and 3, little-endian, in one file or several.
//!
//! ```text
//! "GGUF" | version: u32 | n_tensors: u64 | n_kv: u64
//! n_kv × { key: str | type: u32 | value }                        str = len: u64 | UTF-8
//! n_tensors × { name: str | n_dims: u32 | ne: [u64; n_dims] | type: u32 | offset: u64 }
//! zeros up to the alignment | tensor data, each tensor padded to the alignment
//! ```
//!
//! `ne` lists the contiguous axis first; [`TensorInfo::shape`] is its reverse. Offsets in the file
//! count from the start of the data, those in [`TensorInfo`] from the start of the file.
//! Source: `docs/gguf.md` and `src/gguf.cpp` of ggml.

mod cursor;
mod parse;
mod split;

use crate::error::quoted;
use crate::tensor::refuse_duplicates;
use crate::{ByteSource, FormatError, Metadata, TensorInfo};
use cursor::Fault;

pub use split::split_names;

/// The longest header that is read; the largest known ones, with 256 000 tokens, have 16 MiB.
pub const MAX_HEADER_BYTES: u64 = 64 << 20;

/// How much of a file is read at first. Most headers with a vocabulary need two or three windows.
const FIRST_WINDOW_BYTES: u64 = 1 << 20;

/// The header of a GGUF model: metadata and tensor table.
#[derive(Clone, Debug, PartialEq)]
pub struct Gguf {
    /// Version of the container, 2 or 3.
    pub version: u32,
    /// The key-value pairs; of the first file if there are several.
    pub metadata: Metadata,
    /// All tensors in file order.
    pub tensors: Vec<TensorInfo>,
    /// What tensor offsets are multiples of, in bytes; of the first file.
    pub alignment: u64,
    /// Where tensor data begins, in bytes; of the first file.
    pub data_offset: u64,
}

impl Gguf {
    /// Reads the header of a model in one file, and checks that the file holds all its tensors.
    ///
    /// # Errors
    /// What the source reports, and every departure from the format. A part of a split model is
    /// refused: it needs [`open_split`](Self::open_split).
    pub async fn open<S: ByteSource>(source: &S) -> Result<Self, FormatError> {
        Self::open_split(std::slice::from_ref(source)).await
    }

    /// Reads the headers of a split model, given all its files in order.
    ///
    /// [`TensorInfo::file`] is the index into `sources`. The metadata is that of the first file.
    /// [`split_names`] gives the names of all files from one of them.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if `split.no`, `split.count`, `split.tensors.count` or the tensor
    /// names do not fit together.
    pub async fn open_split<S: ByteSource>(sources: &[S]) -> Result<Self, FormatError> {
        let Some((first, rest)) = sources.split_first() else {
            return Err(FormatError::BufferLen {
                what: "files of a split model".to_owned(),
                expected: "at least 1".to_owned(),
                found: 0,
            });
        };
        let mut model = Self::open_header(first).await?;
        model.check_data_within(first)?;
        split::check_part(first.name(), &model.metadata, 0, sources.len())?;
        for (index, source) in rest.iter().enumerate() {
            let mut part = Self::open_header(source).await?;
            part.check_data_within(source)?;
            split::check_part(source.name(), &part.metadata, index + 1, sources.len())?;
            part.tensors.iter_mut().for_each(|info| info.file = index + 1);
            model.tensors.append(&mut part.tensors);
        }
        split::check_tensor_count(first.name(), &model.metadata, model.tensors.len())?;
        refuse_duplicates(first.name(), &model.tensors)?;
        Ok(model)
    }

    /// Reads the header alone: `source` may be cut anywhere after it, or be one part of several.
    ///
    /// For looking into a file before its data is there. Tensor offsets are those in the whole
    /// file and may lie past the end of `source`.
    ///
    /// # Errors
    /// As [`open`](Self::open), except for data past the end and for parts of a split model.
    pub async fn open_header<S: ByteSource>(source: &S) -> Result<Self, FormatError> {
        let mut window = Vec::new();
        let mut want_bytes = FIRST_WINDOW_BYTES;
        loop {
            let len_bytes = want_bytes.min(source.len()).min(MAX_HEADER_BYTES);
            // At most MAX_HEADER_BYTES, which fits `usize` everywhere.
            let read_bytes = window.len();
            window.reserve_exact(len_bytes as usize - read_bytes);
            window.resize(len_bytes as usize, 0);
            source.read_at(read_bytes as u64, &mut window[read_bytes..]).await?;
            match parse::header(&window, source.name(), source.len()) {
                Ok(gguf) => return Ok(gguf),
                Err(Fault::Bad(error)) => return Err(*error),
                Err(Fault::More { end }) => want_bytes = end.max(2 * len_bytes),
            }
        }
    }

    /// Refuses tensors that end past the file.
    fn check_data_within<S: ByteSource>(&self, source: &S) -> Result<(), FormatError> {
        for info in &self.tensors {
            // The sum was checked when the table was parsed.
            let end = info.offset + info.n_bytes;
            if end > source.len() {
                return Err(FormatError::Truncated {
                    file: source.name().to_owned(),
                    field: format!("data of tensor {}", quoted(&info.name)),
                    needs_bytes: end,
                    file_bytes: source.len(),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
