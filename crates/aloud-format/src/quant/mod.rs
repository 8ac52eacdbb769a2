//! Quant blocks: one file per format, with its layout and its scalar dequantiser.
//!
//! The dequantisers are the oracle that every kernel is tested against, so they are plain and in
//! the order of operations of the reference: each result is bit-exact with `gguf.quants.dequantize`
//! of PyPI's `gguf` 0.19.0, for the formats that it has. All fields are little-endian; `f16` is IEEE half.

pub mod bf16;
pub mod encode;
pub mod f16;
pub mod f32;
pub mod f8_b32;
pub mod f8_e4m3;
pub mod f8_e8m0;
pub mod iq4_nl;
pub mod iq4_xs;
pub mod mxfp4;
pub mod q2_k;
pub mod q3_k;
pub mod q4_0;
pub mod q4_1;
pub mod q4_k;
pub mod q5_0;
pub mod q5_1;
pub mod q5_k;
pub mod q6_k;
pub mod q8_0;

use crate::{BlockLayout, DType, FormatError};

/// Decodes whole blocks.
///
/// `bytes`: n blocks of `dtype.block_bytes()`; `out`: n times `dtype.block_elems()` values.
///
/// # Errors
/// [`FormatError::NotDequantised`] for a type outside [`DType::DEQUANTISED`];
/// [`FormatError::BufferLen`] if `bytes` is not whole blocks or `out` has another length.
pub fn dequantize(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<(), FormatError> {
    let decode = match dtype {
        DType::F32 => f32::dequantize_block,
        DType::F16 => f16::dequantize_block,
        DType::BF16 => bf16::dequantize_block,
        DType::Q4_0 => q4_0::dequantize_block,
        DType::Q4_1 => q4_1::dequantize_block,
        DType::Q5_0 => q5_0::dequantize_block,
        DType::Q5_1 => q5_1::dequantize_block,
        DType::Q8_0 => q8_0::dequantize_block,
        DType::Q2_K => q2_k::dequantize_block,
        DType::Q3_K => q3_k::dequantize_block,
        DType::Q4_K => q4_k::dequantize_block,
        DType::Q5_K => q5_k::dequantize_block,
        DType::Q6_K => q6_k::dequantize_block,
        DType::IQ4_NL => iq4_nl::dequantize_block,
        DType::IQ4_XS => iq4_xs::dequantize_block,
        DType::MXFP4 => mxfp4::dequantize_block,
        DType::F8_E4M3 => f8_e4m3::dequantize_block,
        DType::F8_E8M0 => f8_e8m0::dequantize_block,
        DType::F8_B32 => f8_b32::dequantize_block,
        _ => return Err(FormatError::NotDequantised { dtype }),
    };
    let BlockLayout { elems, bytes: block_bytes } = dtype.layout();
    if !bytes.len().is_multiple_of(block_bytes) {
        return Err(FormatError::BufferLen {
            what: format!("{dtype} blocks"),
            expected: format!("a multiple of {block_bytes} bytes"),
            found: bytes.len(),
        });
    }
    let n_elems = bytes.len() / block_bytes * elems;
    if out.len() != n_elems {
        return Err(FormatError::BufferLen {
            what: format!("values of {} bytes of {dtype}", bytes.len()),
            expected: format!("{n_elems} values"),
            found: out.len(),
        });
    }
    for (block, y) in bytes.chunks_exact(block_bytes).zip(out.chunks_exact_mut(elems)) {
        decode(block, y);
    }
    Ok(())
}

/// The half at byte `at` of a block.
fn f16_at(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The `u32` at byte `at` of a block.
fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// A signed byte of a block.
fn i8_at(block: &[u8], at: usize) -> i8 {
    block[at].cast_signed()
}

/// Scale `S(j)` and minimum `M(j)` of sub-block `j < 8` of Q4_K and Q5_K, 6 bits each in 12 bytes.
fn scale_min_k4(q: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (q[j] & 63, q[j + 4] & 63)
    } else {
        ((q[j + 4] & 15) | ((q[j - 4] >> 6) << 4), (q[j + 4] >> 4) | ((q[j] >> 6) << 4))
    }
}

#[cfg(test)]
mod tests;
