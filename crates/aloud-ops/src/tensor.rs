//! Handles to data: what an op reads and writes.

use aloud_format::DType;

/// What one element of a tensor is, on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elem {
    /// 32-bit float: activations, norms, tables.
    F32,
    /// IEEE half, stored as pairs in 32-bit words (no device feature is needed to read them): the KV cache.
    F16,
    /// 32-bit unsigned: token ids, tables, step state.
    U32,
    /// A weight matrix that keeps the block format of its file.
    Weight(DType),
}

impl Elem {
    /// Bytes of `n` elements of this kind, whole blocks for weights; as on the device where that differs from the file.
    #[must_use]
    pub fn bytes(self, n: u64) -> u64 {
        match self {
            Elem::F32 | Elem::U32 => n * 4,
            Elem::F16 => n.div_ceil(2) * 4,
            // On the device a scale (4 bytes) serves 32 rows of 128 columns.
            Elem::Weight(DType::F8_B32) => n + n.div_ceil(32 * 128) * 4,
            Elem::Weight(dtype) => n.div_ceil(dtype.block_elems() as u64) * dtype.block_bytes() as u64,
        }
    }
}

/// Who owns a tensor's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    /// Lives inside one recording, between the op that writes it and the last that reads it.
    Scratch(u32),
    /// A weight of the executor, in the order of creation.
    Weight(u32),
    /// A persistent buffer of the executor (cache, step, tables), in the order of creation.
    State(u32),
}

/// A handle: owner, element and shape. Row-major, last axis contiguous, at most three axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// Who owns the memory.
    pub storage: Storage,
    /// What an element is.
    pub elem: Elem,
    dims: [u32; 3],
    rank: u8,
}

impl Tensor {
    /// A handle of the given shape.
    ///
    /// # Panics
    /// With no axis or more than three.
    #[must_use]
    #[track_caller]
    pub fn new(storage: Storage, elem: Elem, shape: &[u32]) -> Self {
        assert!((1..=3).contains(&shape.len()), "a tensor has one to three axes, got {shape:?}");
        let mut dims = [1; 3];
        dims[..shape.len()].copy_from_slice(shape);
        Tensor { storage, elem, dims, rank: shape.len() as u8 }
    }

    /// The shape, outermost axis first.
    #[must_use]
    pub fn shape(&self) -> &[u32] {
        &self.dims[..usize::from(self.rank)]
    }

    /// The one axis of a vector.
    ///
    /// # Panics
    /// If the tensor is not a vector.
    #[must_use]
    #[track_caller]
    pub fn dims1(&self) -> [u32; 1] {
        assert_eq!(self.rank, 1, "expected a vector, got {:?}", self.shape());
        [self.dims[0]]
    }

    /// Rows and columns of a matrix.
    ///
    /// # Panics
    /// If the tensor is not a matrix.
    #[must_use]
    #[track_caller]
    pub fn dims2(&self) -> [u32; 2] {
        assert_eq!(self.rank, 2, "expected a matrix, got {:?}", self.shape());
        [self.dims[0], self.dims[1]]
    }

    /// Width of a row, whatever the number of axes.
    #[must_use]
    pub fn cols(&self) -> u32 {
        self.dims[usize::from(self.rank) - 1]
    }

    /// Number of elements.
    #[must_use]
    pub fn n_elems(&self) -> u64 {
        self.shape().iter().map(|&d| u64::from(d)).product()
    }

    /// Whether it is a weight.
    #[must_use]
    pub fn is_weight(&self) -> bool {
        matches!(self.elem, Elem::Weight(_))
    }

    /// Whether it ends with its recording.
    #[must_use]
    pub fn is_scratch(&self) -> bool {
        matches!(self.storage, Storage::Scratch(_))
    }

    /// Bytes in the file's (or the device's) layout.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.elem.bytes(self.n_elems())
    }

    /// The same memory under another shape of as many elements.
    ///
    /// # Panics
    /// If the number of elements differs.
    #[must_use]
    #[track_caller]
    pub fn reshaped(&self, shape: &[u32]) -> Self {
        let other = Tensor::new(self.storage, self.elem, shape);
        assert_eq!(self.n_elems(), other.n_elems(), "{:?} does not reshape to {shape:?}", self.shape());
        other
    }
}
