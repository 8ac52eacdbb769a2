//! One block per type with hand-checkable values.
//!
//! Byte `i` of each block is `(37 i + 11) & 255`, then the scale fields are set as listed. The
//! digest is over all values as little-endian `f32` after adding `+0.0`, which turns −0 into +0.

use sha2::{Digest, Sha256};

use super::*;

struct Golden {
    dtype: DType,
    /// Halves to set: offset and value.
    halves: &'static [(usize, f32)],
    first: [f32; 4],
    middle: f32,
    last: f32,
    sum: f64,
    sha256_prefix: &'static str,
}

#[rustfmt::skip]
const GOLDENS: &[Golden] = &[
    Golden { dtype: DType::Q4_0, halves: &[(0, 0.125)], first: [-0.375, 0.25, 0.875, -0.5], middle: -0.375, last: 0.0, sum: -2.625, sha256_prefix: "4296dc9d1f901efb" },
    Golden { dtype: DType::Q4_1, halves: &[(0, 0.125), (2, -0.5)], first: [1.375, 0.0, 0.625, 1.25], middle: 0.625, last: 1.0, sum: 14.625, sha256_prefix: "9167c68822bed518" },
    Golden { dtype: DType::Q5_0, halves: &[(0, 0.125)], first: [1.125, -0.25, 0.375, -1.0], middle: 1.75, last: 0.125, sum: 1.875, sha256_prefix: "7a2830f5789f59ee" },
    Golden { dtype: DType::Q5_1, halves: &[(0, 0.125), (2, -0.5)], first: [1.875, 2.5, 3.125, 1.75], middle: 1.875, last: 0.125, sum: 47.125, sha256_prefix: "22c5cbe7b47139ac" },
    Golden { dtype: DType::Q8_0, halves: &[(0, 0.03125)], first: [2.65625, 3.8125, -3.03125, -1.875], middle: -2.84375, last: -1.5, sum: -5.5, sha256_prefix: "7a45c72b5ce7e246" },
    Golden { dtype: DType::Q2_K, halves: &[(80, 0.125), (82, 0.0625)], first: [4.125, 0.0, 1.375, 2.75], middle: 0.9375, last: 0.5625, sum: 257.375, sha256_prefix: "a82e6152dc886bf9" },
    Golden { dtype: DType::Q3_K, halves: &[(108, 0.03125)], first: [2.53125, -3.375, 0.84375, -1.6875], middle: 0.0625, last: 1.3125, sum: 29.9375, sha256_prefix: "bad1cb42d2f22b5c" },
    Golden { dtype: DType::Q4_K, halves: &[(0, 0.03125), (2, 0.015625)], first: [9.859375, -0.796875, 4.046875, 8.890625], middle: 13.21875, last: 1.515625, sum: 1701.25, sha256_prefix: "dfae377b23ca74f1" },
    Golden { dtype: DType::Q5_K, halves: &[(0, 0.03125), (2, 0.015625)], first: [25.359375, -0.796875, 19.546875, 8.890625], middle: 32.71875, last: 3.390625, sum: 3631.75, sha256_prefix: "ee753dba7aca8e89" },
    Golden { dtype: DType::Q6_K, halves: &[(208, 0.0078125)], first: [-11.1796875, 13.25, 4.5546875, -4.140625], middle: -2.7421875, last: -0.46875, sum: 36.03125, sha256_prefix: "752a08cce24d01d6" },
    Golden { dtype: DType::IQ4_NL, halves: &[(0, 0.0078125)], first: [-0.2734375, 0.1953125, 0.8828125, -0.3828125], middle: -0.2734375, last: 0.0078125, sum: -2.007812, sha256_prefix: "f0902cbc97925b08" },
    Golden { dtype: DType::IQ4_XS, halves: &[(0, 0.0078125)], first: [0.5078125, -0.0078125, -0.5390625, 0.6484375], middle: -4.5703125, last: -0.125, sum: -85.976562, sha256_prefix: "7b557835e0aa2b10" },
    Golden { dtype: DType::MXFP4, halves: &[], first: [0.0, 0.75, -0.25, -1.5], middle: 0.375, last: 0.75, sum: 3.125, sha256_prefix: "e5780e616aa39f11" },
    Golden { dtype: DType::F8_B32, halves: &[], first: [-0.003_662_109_4, -0.09375, -2.25, 0.000_854_492_2], middle: -3.75, last: 0.002_441_406_2, sum: -5.028259277, sha256_prefix: "41f1fe3a30f5845f" },
];

fn block_of(golden: &Golden) -> Vec<u8> {
    let n_bytes = golden.dtype.block_bytes();
    let mut block: Vec<u8> = (0..n_bytes).map(|i| ((37 * i + 11) & 255) as u8).collect();
    for &(at, value) in golden.halves {
        block[at..at + 2].copy_from_slice(&half::f16::from_f32(value).to_le_bytes());
    }
    match golden.dtype {
        DType::MXFP4 => block[0] = 125,
        DType::F8_B32 => block[..4].copy_from_slice(&0.03125_f32.to_le_bytes()),
        _ => {}
    }
    block
}

#[test]
fn golden_blocks() {
    for golden in GOLDENS {
        let name = golden.dtype.name();
        let mut y = vec![f32::NAN; golden.dtype.block_elems()];
        dequantize(golden.dtype, &block_of(golden), &mut y).unwrap();
        assert_eq!(y[..4], golden.first, "{name}");
        assert_eq!(y[y.len() / 2], golden.middle, "{name}");
        assert_eq!(y[y.len() - 1], golden.last, "{name}");
        let sum: f64 = y.iter().map(|&v| f64::from(v)).sum();
        assert!((sum - golden.sum).abs() < 1e-6, "{name}: sum {sum}");
        let mut sha256 = Sha256::new();
        y.iter().for_each(|v| sha256.update((v + 0.0).to_le_bytes()));
        let digest: String = sha256.finalize()[..8].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(digest, golden.sha256_prefix, "{name}");
    }
}

#[test]
fn every_quant_type_has_a_golden() {
    for dtype in DType::DEQUANTISED {
        let plain = dtype.block_elems() == 1;
        assert!(plain || GOLDENS.iter().any(|g| g.dtype == *dtype), "{dtype}");
    }
}

#[test]
fn wrong_lengths_and_types_are_refused() {
    let check = |dtype, n_bytes, n_values, needle: &str| {
        let error = dequantize(dtype, &vec![0; n_bytes], &mut vec![0.0; n_values]).unwrap_err();
        assert!(error.to_string().contains(needle), "{error}");
    };
    check(DType::Q4_K, 143, 256, "Q4_K blocks: expected a multiple of 144 bytes, found 143");
    check(DType::Q4_K, 288, 256, "expected 512 values, found 256");
    check(DType::IQ1_S, 50, 256, "use a file in one of");
}
