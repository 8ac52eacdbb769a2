//! One tensor's place in its file, and the set of all tensors by name.

use crate::error::quoted;
use crate::{ByteSource, DType, FormatError, Gguf, Safetensors};

/// Where one tensor lies, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name in the file.
    pub name: String,
    /// Element type or block format.
    pub dtype: DType,
    /// Row-major, outermost axis first: `[out, in]`. That is GGUF's `ne` reversed.
    pub shape: Vec<u64>,
    /// Which of the set's sources holds it, by index.
    pub file: usize,
    /// First byte, from the start of that file.
    pub offset: u64,
    /// Length of the data in bytes.
    pub n_bytes: u64,
}

impl TensorInfo {
    /// How many values the tensor holds; the product was checked when the file was opened.
    pub fn n_elems(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Reads all of the data into `buf`, which has `n_bytes` bytes.
    ///
    /// `source` is number [`file`](Self::file) of the set. For parts of a tensor, read the range
    /// from [`offset`](Self::offset) on directly.
    ///
    /// # Errors
    /// [`FormatError::BufferLen`] for another length, and what the source reports.
    pub async fn read<S: ByteSource>(&self, source: &S, buf: &mut [u8]) -> Result<(), FormatError> {
        if buf.len() as u64 != self.n_bytes {
            return Err(FormatError::BufferLen {
                what: format!("buffer for tensor {}", quoted(&self.name)),
                expected: format!("{} bytes", self.n_bytes),
                found: buf.len(),
            });
        }
        source.read_at(self.offset, buf).await
    }
}

/// All tensors of a model, by name: the same view of GGUF and safetensors, single and split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TensorSet {
    /// In the order of their names.
    tensors: Vec<TensorInfo>,
}

impl TensorSet {
    /// The tensor with this name.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        let at = self.tensors.binary_search_by(|info| info.name.as_str().cmp(name)).ok()?;
        Some(&self.tensors[at])
    }

    /// The tensor with this name, which has to be there with this row-major shape.
    ///
    /// # Errors
    /// [`FormatError::MissingTensor`] and [`FormatError::TensorShape`].
    pub fn expect(&self, name: &str, shape: &[u64]) -> Result<&TensorInfo, FormatError> {
        let info = self
            .get(name)
            .ok_or_else(|| FormatError::MissingTensor { name: name.to_owned(), n_tensors: self.len() })?;
        if info.shape != shape {
            return Err(FormatError::TensorShape {
                name: quoted(name),
                expected: shape.to_vec(),
                found: info.shape.clone(),
            });
        }
        Ok(info)
    }

    /// All tensors in the order of their names.
    pub fn iter(&self) -> std::slice::Iter<'_, TensorInfo> {
        self.tensors.iter()
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }
}

impl<'a> IntoIterator for &'a TensorSet {
    type Item = &'a TensorInfo;
    type IntoIter = std::slice::Iter<'a, TensorInfo>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Vec<TensorInfo>> for TensorSet {
    fn from(mut tensors: Vec<TensorInfo>) -> Self {
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        Self { tensors }
    }
}

impl From<Gguf> for TensorSet {
    fn from(gguf: Gguf) -> Self {
        gguf.tensors.into()
    }
}

impl From<Safetensors> for TensorSet {
    fn from(safetensors: Safetensors) -> Self {
        safetensors.tensors.into()
    }
}

/// Refuses a name that occurs twice; `file` is what messages call the file.
pub(crate) fn refuse_duplicates(file: &str, tensors: &[TensorInfo]) -> Result<(), FormatError> {
    let mut names: Vec<&str> = tensors.iter().map(|info| info.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(FormatError::Duplicate { file: file.to_owned(), what: "tensor", name: quoted(pair[0]) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemorySource;

    fn info(name: &str, shape: &[u64]) -> TensorInfo {
        let n_bytes = shape.iter().product::<u64>() * 4;
        TensorInfo { name: name.to_owned(), dtype: DType::F32, shape: shape.to_vec(), file: 0, offset: 4, n_bytes }
    }

    #[test]
    fn a_set_finds_by_name_and_checks_shapes() {
        let set = TensorSet::from(vec![info("b", &[2, 3]), info("a", &[1])]);
        assert_eq!(set.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(set.get("b").unwrap().n_elems(), 6);
        assert!(set.get("c").is_none());
        assert!(set.expect("b", &[2, 3]).is_ok());
        let shape = set.expect("b", &[3, 2]).unwrap_err().to_string();
        assert_eq!(shape, r#"tensor "b": expected shape [3, 2], found [2, 3]"#);
        let missing = set.expect("c", &[1]).unwrap_err().to_string();
        assert!(missing.starts_with("tensor `c`"), "{missing}");
    }

    #[test]
    fn reading_wants_the_exact_length() {
        let source = MemorySource::new("m", [0, 0, 0, 0, 1, 2, 3, 4]);
        let mut buf = [0; 4];
        pollster::block_on(info("a", &[1]).read(&source, &mut buf)).unwrap();
        assert_eq!(buf, [1, 2, 3, 4]);
        let error = pollster::block_on(info("a", &[1]).read(&source, &mut buf[..3])).unwrap_err();
        assert!(error.to_string().contains("expected 4 bytes, found 3"), "{error}");
    }

    #[test]
    fn duplicates_are_named() {
        let error = refuse_duplicates("m", &[info("a", &[1]), info("a", &[2])]).unwrap_err();
        assert!(error.to_string().contains("duplicate tensor \"a\""), "{error}");
    }
}
