//! GGUF and safetensors: bytes to metadata, tensor tables and quant blocks.
//!
//! ```
//! # fn main() -> Result<(), aloud_format::FormatError> {
//! # pollster::block_on(async {
//! use aloud_format::{DType, Gguf, GgufWriter, MemorySource, MetaValue, dequantize};
//!
//! let bytes = GgufWriter::new()
//!     .metadata("general.architecture", MetaValue::String("qwen2".to_owned()))
//!     .tensor("output_norm.weight", DType::F32, &[2], &[0, 0, 128, 63, 0, 0, 0, 64])
//!     .finish();
//! let source = MemorySource::new("tiny.gguf", bytes);
//!
//! let gguf = Gguf::open(&source).await?;
//! assert_eq!(gguf.metadata.str("general.architecture")?, "qwen2");
//! let info = &gguf.tensors[0];
//! let mut blocks = vec![0; 8];
//! info.read(&source, &mut blocks).await?;
//! let mut values = [0.0; 2];
//! dequantize(info.dtype, &blocks, &mut values)?;
//! assert_eq!(values, [1.0, 2.0]);
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! The crate does no IO: it is handed a [`ByteSource`] and asks it for ranges. A file is never
//! held whole; the header is parsed from a window that grows, tensor data is read by range.
//!
//! Every file is taken for hostile. All sums are checked, nothing is allocated on the word of a
//! length that the file cannot back, and what is refused is refused with a [`FormatError`] that
//! names the field, what was expected and what was found.

mod dtype;
mod error;
mod gguf;
mod metadata;
pub mod quant;
mod safetensors;
mod shard_index;
mod source;
mod tensor;
mod write;

pub use dtype::{BlockLayout, DType};
pub use error::FormatError;
pub use gguf::{Gguf, MAX_HEADER_BYTES, split_names};
pub use metadata::{MetaArray, MetaValue, Metadata, StringArray};
pub use quant::encode::{quantize, quantize_fp8};
pub use quant::{dequantize, f8_b32::Fp8Scales};
pub use safetensors::{MAX_JSON_BYTES, Safetensors};
pub use shard_index::ShardIndex;
pub use source::{ByteSource, MemorySource};
pub use tensor::{TensorInfo, TensorSet};
pub use write::{GgufWriter, safetensors_header, write_safetensors};
