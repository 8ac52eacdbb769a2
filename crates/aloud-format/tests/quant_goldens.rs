//! Every dequantiser of a GGUF type against the values of `gguf.quants.dequantize`, bit for bit.
//!
//! `tests/goldens/quant/make_quant_goldens.py` makes the files: random blocks, half of them with
//! ordinary scales and half with extreme ones.

use std::fs;
use std::path::PathBuf;

use aloud_format::{DType, dequantize, quantize};

fn golden(dtype: DType, extension: &str) -> Vec<u8> {
    read(&format!("{}.{extension}", dtype.name().to_lowercase()))
}

fn read(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/quant");
    let path = folder.join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run make_quant_goldens.py beside it", path.display()))
}

/// The bits of a value; all NaN count as one, since their payload differs between processors.
fn bits(value: f32) -> u32 {
    if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }
}

#[test]
fn bit_exact_with_the_reference() {
    for &dtype in DType::DEQUANTISED.iter().filter(|dtype| dtype.ggml_id().is_some()) {
        let blocks = golden(dtype, "blocks");
        let expected: Vec<f32> = golden(dtype, "f32").as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        let n_blocks = blocks.len() / dtype.block_bytes();
        assert!(n_blocks >= 20, "{dtype}: {n_blocks} blocks");
        let mut found = vec![0.0; n_blocks * dtype.block_elems()];
        dequantize(dtype, &blocks, &mut found).unwrap();
        assert_eq!(found.len(), expected.len(), "{dtype}");
        for (at, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(bits(found), bits(expected), "{dtype} value {at}: found {found}, expected {expected}");
        }
    }
}

#[test]
fn encoders_without_a_search_give_the_reference_bytes() {
    let values: Vec<f32> = read("encode.f32").as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    let types = [DType::BF16, DType::Q4_0, DType::Q4_1, DType::Q5_0, DType::Q5_1, DType::Q8_0, DType::MXFP4];
    for dtype in types {
        let found = quantize(dtype, &values);
        let expected = golden(dtype, "encoded");
        assert_eq!(found.len(), expected.len(), "{dtype}");
        let at = found.iter().zip(&expected).position(|(a, b)| a != b);
        assert_eq!(at, None, "{dtype}: first byte that differs");
    }
}
