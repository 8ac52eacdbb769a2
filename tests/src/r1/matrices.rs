//! Weights of random blocks that are too large to be kept.

use crate::Numbers;
use aloud_format::{DType, dequantize};
use aloud_gpu::GpuExecutor;
use aloud_ops::{Executor, Tensor};

/// A stack of matrices of random blocks, made anew whenever it is needed.
#[derive(Clone, Copy, Debug)]
pub struct Matrices {
    pub(super) seed: u64,
    pub(super) dtype: DType,
    /// How many, rows and columns.
    pub shape: [u32; 3],
    /// Standard deviation of the values.
    pub(super) spread: f64,
}

impl Matrices {
    /// Bytes of one matrix.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        let elems: u64 = self.shape[1..].iter().map(|&d| u64::from(d)).product();
        elems / self.dtype.block_elems() as u64 * self.dtype.block_bytes() as u64
    }

    fn blocks(&self, i: u32) -> Vec<u8> {
        let mut numbers = Numbers::new(self.seed << 16 | u64::from(i));
        if self.dtype == DType::F32 {
            let n = self.file_bytes() as usize / 4;
            return numbers.with_outliers(n).iter().flat_map(|v| (v * self.spread as f32).to_le_bytes()).collect();
        }
        let mut bytes: Vec<u8> = (0..self.file_bytes() / 8).flat_map(|_| numbers.bits().to_le_bytes()).collect();
        for block in bytes.chunks_exact_mut(self.dtype.block_bytes()) {
            let d = self.spread * (0.8 + 0.4 * numbers.unit());
            let halves = match self.dtype {
                // d * S * q - dmin * M with S and M up to 63, q up to 15: as much below 0 as above.
                DType::Q4_K => vec![d / 424.0, 7.5 * d / 424.0],
                DType::Q5_0 => vec![d / 9.2],
                other => unreachable!("no tensor here is in {other}"),
            };
            for (at, half) in block.chunks_exact_mut(2).zip(halves) {
                at.copy_from_slice(&half::f16::from_f64(half).to_le_bytes());
            }
        }
        bytes
    }

    /// Matrix `i`, dequantised.
    #[must_use]
    pub fn values(&self, i: u32) -> Vec<f32> {
        let mut values = vec![0.0; (self.shape[1] * self.shape[2]) as usize];
        dequantize(self.dtype, &self.blocks(i), &mut values).expect("whole blocks");
        values
    }

    pub(super) fn create(&self, e: &mut GpuExecutor, rank: usize) -> Tensor {
        e.create_weight("weight", self.dtype, &self.shape[3 - rank..]).expect("fits")
    }

    pub(super) fn write(&self, e: &mut GpuExecutor, weight: Tensor) {
        for i in 0..self.shape[0] {
            e.write_weight(weight, i * self.shape[1], &self.blocks(i)).expect("is written");
        }
    }
}
