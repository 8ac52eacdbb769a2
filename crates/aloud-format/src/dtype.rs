//! Element types: names, numbers in GGUF, names in safetensors, block sizes.

use std::fmt;

use crate::quant;

/// How many values one block holds, and in how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLayout {
    /// Values per block.
    pub elems: usize,
    /// Bytes per block.
    pub bytes: usize,
}

impl BlockLayout {
    /// A layout of `elems` values in `bytes` bytes.
    pub const fn new(elems: usize, bytes: usize) -> Self {
        Self { elems, bytes }
    }
}

/// One row of [`TABLE`].
struct Row {
    dtype: DType,
    name: &'static str,
    ggml_id: Option<u32>,
    /// Name in a safetensors header.
    safetensors: Option<&'static str>,
    layout: BlockLayout,
}

/// Declares [`DType`] and [`TABLE`] from one list, so that neither can lack a type.
macro_rules! dtypes {
    ($($name:ident, $ggml:expr, $safetensors:expr, $layout:expr, $doc:literal;)*) => {
        /// The element type of a tensor, or the format of its quant blocks.
        ///
        /// All types of GGUF and safetensors are known by name and size, so that a file that has
        /// one is described rightly; [`DType::DEQUANTISED`] lists those that can be computed with.
        #[expect(non_camel_case_types, reason = "the names are the formats' own: Q4_K, F8_E4M3")]
        #[non_exhaustive]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DType { $(#[doc = $doc] $name,)* }

        /// One row per type, in the order of the variants.
        const TABLE: &[Row] = &[$(Row {
            dtype: DType::$name,
            name: stringify!($name),
            ggml_id: $ggml,
            safetensors: $safetensors,
            layout: $layout,
        },)*];
    };
}

const fn plain(bytes: usize) -> BlockLayout {
    BlockLayout::new(1, bytes)
}

// Numbers: `enum ggml_type` in ggml.h. Names: `Dtype` in safetensors' tensor.rs.
dtypes! {
    F32, Some(0), Some("F32"), quant::f32::LAYOUT, "IEEE single.";
    F16, Some(1), Some("F16"), quant::f16::LAYOUT, "IEEE half.";
    BF16, Some(30), Some("BF16"), quant::bf16::LAYOUT, "The upper half of an IEEE single.";
    Q4_0, Some(2), None, quant::q4_0::LAYOUT, "4 bits, scale.";
    Q4_1, Some(3), None, quant::q4_1::LAYOUT, "4 bits, scale and minimum.";
    Q5_0, Some(6), None, quant::q5_0::LAYOUT, "5 bits, scale.";
    Q5_1, Some(7), None, quant::q5_1::LAYOUT, "5 bits, scale and minimum.";
    Q8_0, Some(8), None, quant::q8_0::LAYOUT, "8 bits, scale.";
    Q2_K, Some(10), None, quant::q2_k::LAYOUT, "2 bits, super-block of 256.";
    Q3_K, Some(11), None, quant::q3_k::LAYOUT, "3 bits, super-block of 256.";
    Q4_K, Some(12), None, quant::q4_k::LAYOUT, "4 bits, super-block of 256.";
    Q5_K, Some(13), None, quant::q5_k::LAYOUT, "5 bits, super-block of 256.";
    Q6_K, Some(14), None, quant::q6_k::LAYOUT, "6 bits, super-block of 256.";
    IQ4_NL, Some(20), None, quant::iq4_nl::LAYOUT, "4 bits, uneven steps.";
    IQ4_XS, Some(23), None, quant::iq4_xs::LAYOUT, "4 bits, uneven steps, super-block of 256.";
    MXFP4, Some(39), None, quant::mxfp4::LAYOUT, "4-bit floats, one power of two for 32.";
    Q8_1, Some(9), None, BlockLayout::new(32, 36), "Run-time format of ggml; not dequantised.";
    Q8_K, Some(15), None, BlockLayout::new(256, 292), "Run-time format of ggml; not dequantised.";
    IQ2_XXS, Some(16), None, BlockLayout::new(256, 66), "Codebook format; not dequantised.";
    IQ2_XS, Some(17), None, BlockLayout::new(256, 74), "Codebook format; not dequantised.";
    IQ3_XXS, Some(18), None, BlockLayout::new(256, 98), "Codebook format; not dequantised.";
    IQ1_S, Some(19), None, BlockLayout::new(256, 50), "Codebook format; not dequantised.";
    IQ3_S, Some(21), None, BlockLayout::new(256, 110), "Codebook format; not dequantised.";
    IQ2_S, Some(22), None, BlockLayout::new(256, 82), "Codebook format; not dequantised.";
    IQ1_M, Some(29), None, BlockLayout::new(256, 56), "Codebook format; not dequantised.";
    TQ1_0, Some(34), None, BlockLayout::new(256, 54), "Ternary format; not dequantised.";
    TQ2_0, Some(35), None, BlockLayout::new(256, 66), "Ternary format; not dequantised.";
    NVFP4, Some(40), None, BlockLayout::new(64, 36), "4-bit floats; not dequantised.";
    Q1_0, Some(41), None, BlockLayout::new(128, 18), "1 bit, scale; not dequantised.";
    I8, Some(24), Some("I8"), plain(1), "Integer; not dequantised.";
    I16, Some(25), Some("I16"), plain(2), "Integer; not dequantised.";
    I32, Some(26), Some("I32"), plain(4), "Integer; not dequantised.";
    I64, Some(27), Some("I64"), plain(8), "Integer; not dequantised.";
    F64, Some(28), Some("F64"), plain(8), "IEEE double; not dequantised.";
    BOOL, None, Some("BOOL"), plain(1), "Truth value; not dequantised.";
    U8, None, Some("U8"), plain(1), "Integer; not dequantised.";
    U16, None, Some("U16"), plain(2), "Integer; not dequantised.";
    U32, None, Some("U32"), plain(4), "Integer; not dequantised.";
    U64, None, Some("U64"), plain(8), "Integer; not dequantised.";
    C64, None, Some("C64"), plain(8), "Complex of two singles; not dequantised.";
    F8_E4M3, None, Some("F8_E4M3"), quant::f8_e4m3::LAYOUT, "8-bit float; a weight's scales are another tensor.";
    F8_E5M2, None, Some("F8_E5M2"), plain(1), "8-bit float; not dequantised.";
    F8_E8M0, None, Some("F8_E8M0"), quant::f8_e8m0::LAYOUT, "Power of two: a scale.";
    F6_E2M3, None, Some("F6_E2M3"), BlockLayout::new(4, 3), "6-bit float; not dequantised.";
    F6_E3M2, None, Some("F6_E3M2"), BlockLayout::new(4, 3), "6-bit float; not dequantised.";
    F4, None, Some("F4"), BlockLayout::new(2, 1), "4-bit float; not dequantised.";
    F8_B32, None, None, quant::f8_b32::LAYOUT, "F8_E4M3 behind its scale, on the way to an executor; in no file.";
}

impl DType {
    /// The types that [`dequantize`](crate::dequantize) decodes.
    pub const DEQUANTISED: &[Self] = &[
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::IQ4_NL,
        Self::IQ4_XS,
        Self::MXFP4,
        Self::F8_E4M3,
        Self::F8_E8M0,
        Self::F8_B32,
    ];

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Every type, in the order of the variants.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.dtype)
    }

    /// The name that GGML or safetensors gives the type.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Values and bytes per block; one value for types without blocks.
    pub fn layout(self) -> BlockLayout {
        self.row().layout
    }

    /// Values per block.
    pub fn block_elems(self) -> usize {
        self.layout().elems
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        self.layout().bytes
    }

    /// The type's number in GGUF; none for the types that only safetensors has.
    pub fn ggml_id(self) -> Option<u32> {
        self.row().ggml_id
    }

    /// The type with this number in GGUF.
    pub fn from_ggml(id: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.ggml_id == Some(id)).map(|row| row.dtype)
    }

    /// The type with this name in a safetensors header.
    pub fn from_safetensors(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.safetensors == Some(name)).map(|row| row.dtype)
    }

    /// Bytes that `elems` values take; none if they are not whole blocks or do not fit in 64 bits.
    pub fn bytes_for(self, elems: u64) -> Option<u64> {
        let BlockLayout { elems: per_block, bytes } = self.layout();
        if !elems.is_multiple_of(per_block as u64) {
            return None;
        }
        (elems / per_block as u64).checked_mul(bytes as u64)
    }

    /// Whether [`dequantize`](crate::dequantize) decodes the type.
    pub fn is_dequantised(self) -> bool {
        Self::DEQUANTISED.contains(&self)
    }

    /// The format itself, or the one that `llama-quantize` takes instead if rows of `row_elems` values are not whole blocks
    /// of it.
    #[must_use]
    pub fn for_rows_of(self, row_elems: u64) -> Self {
        if row_elems.is_multiple_of(self.block_elems() as u64) {
            return self;
        }
        let instead = match self {
            Self::Q2_K | Self::Q3_K => Self::Q4_0,
            Self::Q4_K => Self::Q5_0,
            Self::Q5_K => Self::Q5_1,
            Self::Q6_K => Self::Q8_0,
            Self::IQ4_XS => Self::IQ4_NL,
            _ => Self::F16,
        };
        instead.for_rows_of(row_elems)
    }

    /// Whether a file can have the type.
    pub fn is_of_files(self) -> bool {
        self.row().ggml_id.is_some() || self.row().safetensors.is_some()
    }

    /// The names of those of [`DType::DEQUANTISED`] that a file can have, for messages.
    pub(crate) fn dequantised_names() -> String {
        Self::DEQUANTISED
            .iter()
            .filter(|dtype| dtype.is_of_files())
            .map(|dtype| dtype.name())
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique() {
        for a in TABLE {
            for b in TABLE.iter().filter(|b| b.dtype != a.dtype) {
                assert_ne!(a.name, b.name);
                assert!(a.ggml_id.is_none() || a.ggml_id != b.ggml_id, "{} {}", a.name, b.name);
            }
            assert_eq!(a.dtype.row().name, a.name);
        }
    }

    #[test]
    fn sizes_are_checked() {
        assert_eq!(DType::Q4_K.bytes_for(512), Some(288));
        assert_eq!(DType::Q4_K.bytes_for(511), None);
        assert_eq!(DType::F32.bytes_for(u64::MAX / 2), None);
        assert_eq!(DType::F4.bytes_for(3), None);
        assert_eq!(DType::from_ggml(4), None);
        assert_eq!(DType::from_ggml(39), Some(DType::MXFP4));
        assert_eq!(DType::from_safetensors("F8_E4M3"), Some(DType::F8_E4M3));
        assert_eq!(DType::from_safetensors("Q4_K"), None);
        assert_eq!(DType::IQ4_XS.to_string(), "IQ4_XS");
    }
}
