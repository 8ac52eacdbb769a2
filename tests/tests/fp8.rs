//! FP8 weights from their two tensors to products on every adapter.

use aloud_format::{DType, Fp8Scales, quant::f8_e4m3, quantize_fp8};
use aloud_gpu::GpuOptions;
use aloud_ops::{Executor, Recording, Step, Tensor};
use aloud_tests::{Numbers, Scenario, check, executors, expose, floats, integers, opened, relative_error, run, weight};

/// f32 sums in another order than f64 ones; values differ by up to 40 times in size.
const SUMS: f64 = 3e-6;

/// Looks up a row with every code but those of NaN, in units of 1.
struct EveryCode;

impl EveryCode {
    fn codes() -> Vec<u8> {
        (0..=255).map(|q: u8| if q & 127 == 127 { 0 } else { q }).collect()
    }
}

impl Scenario for EveryCode {
    fn step(&self) -> Step {
        Step { n_tokens: 1, ..Step::default() }
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let scales = Fp8Scales::new(1, 256, vec![1.0; 2]).expect("one per tile");
        let table = weight(e, DType::F8_B32, 1, 256, &scales.blocks(0, &Self::codes()).expect("whole rows"));
        let tokens = integers(e, &[1], &[0]);
        let mut rec = Recording::new(at, 1);
        aloud_ops::embed(&mut rec, tokens, table);
        let y = expose(e, &mut rec);
        (rec, vec![y])
    }
}

#[test]
fn every_code_is_decoded_exactly() {
    let expected: Vec<f32> = EveryCode::codes().into_iter().map(f8_e4m3::decode).collect();
    for (adapter, executor) in &mut executors() {
        let got = run(executor, &EveryCode, 1);
        assert_eq!(bytemuck::cast_slice::<u8, f32>(&got[0]), expected, "{adapter}");
    }
}

/// A weight as a file has it: codes, and a scale per tile of 128 x 128, in the last ones partly filled.
struct FileWeight {
    t: u32,
    n: u32,
    k: u32,
}

impl FileWeight {
    fn x(&self) -> Vec<f32> {
        Numbers::new(3).with_outliers((self.t * self.k) as usize)
    }

    fn codes(&self) -> (Vec<u8>, Fp8Scales) {
        let (n, k) = (self.n as usize, self.k as usize);
        let (codes, scales) = quantize_fp8(&Numbers::new(4).with_outliers(n * k), n, k, false);
        (codes, Fp8Scales::new(n, k, scales).expect("one per tile"))
    }

    fn expected(&self) -> Vec<f32> {
        let (codes, scales) = self.codes();
        let (n, k) = (self.n as usize, self.k as usize);
        let w = |i: usize, j: usize| f64::from(f8_e4m3::decode(codes[i * k + j])) * f64::from(scales.at(i, j));
        let product = |x: &[f32], i| x.iter().enumerate().map(|(j, &x)| f64::from(x) * w(i, j)).sum::<f64>() as f32;
        self.x().chunks_exact(k).flat_map(|x| (0..n).map(move |i| product(x, i))).collect()
    }
}

impl Scenario for FileWeight {
    fn step(&self) -> Step {
        Step { n_tokens: self.t, ..Step::default() }
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let (codes, scales) = self.codes();
        let w = e.create_weight("weight", DType::F8_B32, &[self.n, self.k]).expect("fits");
        for (i, codes) in codes.chunks(32 * self.k as usize).enumerate() {
            let blocks = scales.blocks(32 * i, codes).expect("whole rows");
            e.write_weight(w, 32 * i as u32, &blocks).expect("is written");
        }
        let x = floats(e, &[self.t, self.k], &self.x());
        let mut rec = Recording::new(at, self.t);
        aloud_ops::matmul(&mut rec, "matmul", x, w, None);
        let y = expose(e, &mut rec);
        (rec, vec![y])
    }
}

#[test]
fn products_are_those_of_codes_times_scales() {
    let mut executors = executors();
    for (n, k) in [(130, 160), (257, 384), (576, 1024)] {
        for t in [1, 3] {
            let case = FileWeight { t, n, k };
            let expected = case.expected();
            for (adapter, executor) in &mut executors {
                let error = relative_error(bytemuck::cast_slice(&run(executor, &case, t)[0]), &expected);
                println!("{t} x [{n}, {k}] on {adapter}: off by {error:.1e}");
                assert!(error <= SUMS, "{t} x [{n}, {k}] on {adapter}: off by {error:.2e}");
            }
        }
    }
}

/// All matrices of a stack, multiplied as one; written from the last to the first.
struct Stack {
    dtype: DType,
    shape: [u32; 3],
}

impl Scenario for Stack {
    fn step(&self) -> Step {
        Step { n_tokens: 1, ..Step::default() }
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let [n, rows, k] = self.shape;
        let bytes = Numbers::new(9).matrix(self.dtype, n * rows, k);
        let stack = e.create_weight("stack", self.dtype, &self.shape).expect("fits");
        for (i, matrix) in bytes.chunks_exact(bytes.len() / n as usize).enumerate().rev() {
            e.write_weight(stack, i as u32 * rows, matrix).expect("is written");
        }
        let x = floats(e, &[1, k], &Numbers::new(10).with_outliers(k as usize));
        let mut rec = Recording::new(at, 1);
        aloud_ops::matmul(&mut rec, "stack", x, stack.reshaped(&[n * rows, k]), None);
        let y = expose(e, &mut rec);
        (rec, vec![y])
    }
}

#[test]
fn stacks_in_parts_of_whole_matrices() {
    // Two matrices of 96 rows of 160 bytes fit into a binding.
    for small in opened(GpuOptions { max_binding_bytes: Some(32 << 10), ..GpuOptions::default() }) {
        let mut small = [small];
        for dtype in [DType::F8_B32, DType::Q8_0] {
            check(&format!("stack in {dtype}"), &Stack { dtype, shape: [5, 96, 160] }, 1, SUMS, &mut small);
        }
        let error = small[0].1.create_weight("experts", DType::F8_B32, &[4, 40, 64]).expect_err("would share scales");
        assert!(error.to_string().contains("multiple of 32"), "{error}");
    }
}

/// An expert's weight of DeepSeek-R1 takes on the device what it takes in the file, codes and scales, and a thousandth.
#[test]
fn weights_stay_as_small_as_in_the_file() {
    let Some((adapter, mut executor)) = executors().into_iter().next() else { return };
    let (n, k) = (7168, 2048);
    let w = executor.create_weight("weight", DType::F8_B32, &[n, k]).expect("fits");
    let file_bytes = n * k + n / 128 * k / 128 * 4;
    let (held, _) = executor.resident_bytes();
    let factor = held as f64 / f64::from(file_bytes);
    println!("{held} bytes held on {adapter}, {factor:.5} of the file's");
    assert!((1.0..=1.001).contains(&factor), "{held} bytes held, {factor:.5} of the file's");
    assert_eq!(w.n_bytes(), held, "what a weight counts is what it takes");
}
