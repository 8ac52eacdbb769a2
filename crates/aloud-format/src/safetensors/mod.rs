//! Safetensors, in one file or sharded by `model.safetensors.index.json`.
//!
//! ```text
//! n: u64 | n bytes of JSON | tensor data
//! {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, "__metadata__": {...}}
//! ```
//!
//! Shapes are row-major; offsets count from the start of the data, which the tensors fill without
//! hole or overlap up to the end of the file. Nothing promises alignment. Source: `tensor.rs` of
//! safetensors.

mod header;

use std::collections::BTreeMap;

use crate::error::quoted;
use crate::{ByteSource, FormatError, ShardIndex, TensorInfo};

/// The longest JSON header that is read, as in the reference implementation.
pub const MAX_JSON_BYTES: u64 = 100_000_000;

/// The header of a safetensors model: tensor table and free-form metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Safetensors {
    /// All tensors, in the order of the files and of their data.
    pub tensors: Vec<TensorInfo>,
    /// `__metadata__`; of the first file if there are several.
    pub metadata: BTreeMap<String, String>,
}

impl Safetensors {
    /// Reads the header of a model in one file.
    ///
    /// # Errors
    /// What the source reports, and every departure from the format.
    pub async fn open<S: ByteSource>(source: &S) -> Result<Self, FormatError> {
        let prefix_bytes = 8;
        let refuse_short = |field: &str, needs_bytes| FormatError::Truncated {
            file: source.name().to_owned(),
            field: field.to_owned(),
            needs_bytes,
            file_bytes: source.len(),
        };
        if source.len() < prefix_bytes {
            return Err(refuse_short("header length", prefix_bytes));
        }
        let mut prefix = [0; 8];
        source.read_at(0, &mut prefix).await?;
        let json_bytes = u64::from_le_bytes(prefix);
        if json_bytes > MAX_JSON_BYTES {
            let expected = format!("at most {MAX_JSON_BYTES} bytes; is this a safetensors file?");
            return Err(FormatError::field(source.name(), "header length", expected, json_bytes));
        }
        let data_offset = prefix_bytes + json_bytes;
        if data_offset > source.len() {
            return Err(refuse_short("JSON header", data_offset));
        }
        // At most MAX_JSON_BYTES, which fits `usize` everywhere.
        let mut json = vec![0; json_bytes as usize];
        source.read_at(prefix_bytes, &mut json).await?;
        let header = header::parse(source.name(), &json)?;
        drop(json);
        let tensors = header::place_tensors(source.name(), header.tensors, data_offset, source.len())?;
        Ok(Self { tensors, metadata: header.metadata })
    }

    /// Reads the headers of a sharded model: the text of its index, and its files by the names that
    /// the index uses, in any order.
    ///
    /// [`TensorInfo::file`] is the index into `files`. The index decides: each tensor is taken from
    /// the file it is mapped to, and tensors that a file holds beyond those are left out.
    /// [`ShardIndex::parse`] tells which files to open.
    ///
    /// # Errors
    /// As [`open`](Self::open), an index that does not parse, a file that was not given, a mapped
    /// tensor that its file does not hold.
    pub async fn open_sharded<S: ByteSource>(index_json: &[u8], files: &[(String, S)]) -> Result<Self, FormatError> {
        let index = ShardIndex::parse(index_json)?;
        let mut model = Self::default();
        let mut n_found = vec![0_usize; index.files.len()];
        for (shard, name) in index.files.iter().enumerate() {
            let Some(file) = files.iter().position(|(given, _)| given == name) else {
                return Err(FormatError::MissingShard { file: quoted(name), n_files: files.len() });
            };
            let part = Self::open(&files[file].1).await?;
            if shard == 0 {
                model.metadata = part.metadata;
            }
            for mut info in part.tensors {
                if index.weight_map.get(&info.name) == Some(&shard) {
                    n_found[shard] += 1;
                    info.file = file;
                    model.tensors.push(info);
                }
            }
        }
        index.refuse_unfound(&n_found, &model.tensors)?;
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, MemorySource, write_safetensors};

    const JSON: &str = r#"{"a":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]},"b":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[8,11]}}     "#;

    fn file_of(json: &str, n_data_bytes: usize) -> Vec<u8> {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json.as_bytes());
        bytes.resize(bytes.len() + n_data_bytes, 0);
        bytes
    }

    fn open(bytes: impl AsRef<[u8]>) -> Result<Safetensors, FormatError> {
        pollster::block_on(Safetensors::open(&MemorySource::new("m.safetensors", bytes)))
    }

    #[test]
    fn the_minimal_file_opens() {
        let bytes = file_of(JSON, 11);
        let data_offset = bytes.len() as u64 - 11;
        let model = open(bytes).unwrap();
        let [a, b] = &model.tensors[..] else { panic!("two tensors") };
        assert_eq!((a.name.as_str(), a.dtype, &a.shape[..]), ("a", DType::F16, &[2, 2][..]));
        assert_eq!((b.dtype, b.offset, b.n_bytes), (DType::F8_E4M3, data_offset + 8, 3));
        assert!(open(file_of("{}", 0)).unwrap().tensors.is_empty());
    }

    #[test]
    fn every_cut_is_refused() {
        let bytes = file_of(JSON, 11);
        for n in 0..bytes.len() {
            let error = open(&bytes[..n]).unwrap_err();
            assert!(matches!(error, FormatError::Truncated { .. }), "{n}: {error}");
        }
    }

    #[test]
    fn metadata_scalars_and_empty_tensors_are_read() {
        let json = r#"{"__metadata__":{"format":"pt"},"e":{"dtype":"F32","shape":[0,4],"data_offsets":[0,0]},"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
        let model = open(file_of(json, 4)).unwrap();
        assert_eq!(model.metadata["format"], "pt");
        assert_eq!(model.tensors[0].name, "e");
        assert_eq!((model.tensors[1].n_elems(), model.tensors[1].n_bytes), (1, 4));
    }

    #[test]
    fn shards_are_joined_by_their_index() {
        let shard = |name| MemorySource::new(name, write_safetensors(&[(name, DType::F32, &[1], &[0; 4])]));
        let files = [("2".to_owned(), shard("b")), ("1".to_owned(), shard("a"))];
        let index = br#"{"metadata":{"total_size":8},"weight_map":{"a":"1","b":"2"}}"#;
        let model = pollster::block_on(Safetensors::open_sharded(index, &files)).unwrap();
        let places: Vec<_> = model.tensors.iter().map(|info| (info.name.as_str(), info.file)).collect();
        assert_eq!(places, [("a", 1), ("b", 0)]);

        let error = pollster::block_on(Safetensors::open_sharded(index, &files[..1])).unwrap_err();
        assert!(error.to_string().contains("file \"1\""), "{error}");
        let index = br#"{"weight_map":{"a":"1","c":"1"}}"#;
        let error = pollster::block_on(Safetensors::open_sharded(index, &files)).unwrap_err();
        assert!(error.to_string().contains("tensor \"c\""), "{error}");
    }
}
