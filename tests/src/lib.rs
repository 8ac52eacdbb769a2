//! What cross-crate tests share: adapters, deterministic numbers, and running a recording on two executors.

pub mod deepseek;
pub mod places;
pub mod r1;
pub mod scenarios;
pub mod tiny;

use aloud_format::DType;
use aloud_gpu::{Choice, Gpu, GpuExecutor, GpuOptions, adapters};
use aloud_ops::{Elem, Executor, GqaProject, KvCache, Recording, RopePairing, Step, Storage, Tensor};
use places::{Place, gpus};

/// The formats that have kernels.
pub const FORMATS: [DType; 15] = [
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::Q4_0,
    DType::Q4_1,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q8_0,
    DType::Q2_K,
    DType::Q3_K,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
    DType::IQ4_NL,
    DType::F8_B32,
];

/// SplitMix64: the same numbers everywhere.
pub struct Numbers(u64);

impl Numbers {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Numbers(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// In `[-1, 1)`, but one in fifty is up to 40 times larger, as activations of language models have it.
    pub fn with_outliers(&mut self, n: usize) -> Vec<f32> {
        (0..n)
            .map(|_| {
                let v = self.unit() * 2.0 - 1.0;
                (if self.bits().is_multiple_of(50) { v * 40.0 } else { v }) as f32
            })
            .collect()
    }

    /// Random blocks of a weight format with sensible scales; one scale for all in F8_B32, whose scales span rows.
    pub fn blocks(&mut self, dtype: DType, elems: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            (0..elems / dtype.block_elems() * dtype.block_bytes()).map(|_| self.bits() as u8).collect();
        let halves: &[usize] = match dtype {
            DType::F32 => return self.with_outliers(elems).iter().flat_map(|v| v.to_le_bytes()).collect(),
            DType::F16 => {
                return self.with_outliers(elems).iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
            }
            DType::BF16 => {
                return self.with_outliers(elems).iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect();
            }
            DType::F8_B32 => {
                let scale = (self.unit() * 0.01) as f32;
                return bytes.as_chunks::<36>().0.iter().flat_map(|block| f8_block(scale, block)).collect();
            }
            DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K => &[0, 2],
            DType::Q2_K => &[80, 82],
            DType::Q3_K => &[108],
            DType::Q6_K => &[208],
            _ => &[0],
        };
        for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
            for &at in halves {
                let v = half::f16::from_f64((self.unit() * 2.0 - 1.0) * 0.05);
                block[at..at + 2].copy_from_slice(&v.to_le_bytes());
            }
        }
        bytes
    }

    /// [`Self::blocks`] of a matrix; in F8_B32 with a scale for each 32 rows of 128 columns, as a device holds them.
    pub fn matrix(&mut self, dtype: DType, rows: u32, cols: u32) -> Vec<u8> {
        let mut bytes = self.blocks(dtype, rows as usize * cols as usize);
        if dtype == DType::F8_B32 {
            let (row_blocks, across) = (cols as usize / 32, cols.div_ceil(128) as usize);
            let scales: Vec<f32> =
                (0..rows.div_ceil(32) as usize * across).map(|_| (self.unit() * 0.01) as f32).collect();
            for (at, block) in bytes.as_chunks_mut::<36>().0.iter_mut().enumerate() {
                *block = f8_block(scales[at / row_blocks / 32 * across + at % row_blocks / 4], block);
            }
        }
        bytes
    }
}

/// A block of F8_B32 with this scale and the codes of another, but for those of NaN.
fn f8_block(scale: f32, block: &[u8; 36]) -> [u8; 36] {
    let mut block = block.map(|q| if q & 127 == 127 { q - 1 } else { q });
    block[..4].copy_from_slice(&scale.to_le_bytes());
    block
}

/// An executor on every adapter of this machine, in the variants of [`gpus`].
///
/// # Panics
/// If there is no adapter, unless `ALOUD_GPU=skip` is set, which is said aloud.
#[must_use]
pub fn executors() -> Vec<(String, GpuExecutor)> {
    executors_with(GpuOptions::default())
}

/// The same, otherwise opened like this.
///
/// # Panics
/// As [`executors`].
#[must_use]
pub fn executors_with(options: GpuOptions) -> Vec<(String, GpuExecutor)> {
    let opened = |place: Place| {
        let Place::Gpu { index, options: GpuOptions { subgroups, .. }, .. } = place else { unreachable!("a GPU") };
        // The plain variant also runs with the driver's index checks on: both must agree with the oracle.
        (place.to_string(), open(index, GpuOptions { subgroups, checked_shaders: !subgroups, ..options }))
    };
    gpus().into_iter().map(opened).collect()
}

/// An executor on every adapter, opened like this.
#[must_use]
pub fn opened(options: GpuOptions) -> Vec<(String, GpuExecutor)> {
    let summaries = pollster::block_on(adapters());
    summaries.into_iter().map(|summary| (summary.name, open(summary.index, options))).collect()
}

/// An executor on the adapter of this number.
///
/// # Panics
/// If it does not open.
#[must_use]
pub fn open(index: usize, options: GpuOptions) -> GpuExecutor {
    GpuExecutor::new(pollster::block_on(Gpu::open(&Choice::Named(index.to_string()), options)).expect("opens"))
}

/// Something that can be recorded on any executor: it creates its inputs and returns the tensors to compare.
pub trait Scenario: Sync {
    /// Builds inputs and recording; `step` is created for it.
    fn record<E: Executor>(&self, executor: &mut E, step: Tensor) -> (Recording, Vec<Tensor>);

    /// Where the sequence stands.
    fn step(&self) -> Step;
}

/// A state filled with floats.
pub fn floats<E: Executor>(executor: &mut E, shape: &[u32], values: &[f32]) -> Tensor {
    let state = executor.create_state("floats", Elem::F32, shape).expect("fits");
    executor.write_state(state, 0, bytemuck::cast_slice(values));
    state
}

/// A state filled with integers.
pub fn integers<E: Executor>(executor: &mut E, shape: &[u32], values: &[u32]) -> Tensor {
    let state = executor.create_state("integers", Elem::U32, shape).expect("fits");
    executor.write_state(state, 0, bytemuck::cast_slice(values));
    state
}

/// A weight filled with blocks, in slices of six rows, or of 32 where a format asks for that.
pub fn weight<E: Executor>(executor: &mut E, dtype: DType, rows: u32, cols: u32, bytes: &[u8]) -> Tensor {
    let weight = executor.create_weight("weight", dtype, &[rows, cols]).expect("fits");
    let row_bytes = cols as usize / dtype.block_elems() * dtype.block_bytes();
    let n = if dtype == DType::F8_B32 { 32 } else { 6 };
    for (i, slice) in bytes.chunks(row_bytes * n).enumerate() {
        executor.write_weight(weight, (i * n) as u32, slice).expect("is written");
    }
    weight
}

/// Makes the last op write a state that can be read back.
pub fn expose<E: Executor>(executor: &mut E, recording: &mut Recording) -> Tensor {
    let outputs = &mut recording.commands.last_mut().expect("an op").outputs;
    assert!(matches!(outputs[0].storage, Storage::Scratch(_)), "only scratch needs exposing");
    outputs[0] = executor.create_state("exposed", Elem::F32, outputs[0].shape()).expect("fits");
    outputs[0]
}

/// Makes scratch tensors states that can be read back, in every op that has them.
pub fn expose_all<E: Executor>(e: &mut E, rec: &mut Recording, tensors: &[Tensor]) -> Vec<Tensor> {
    let state = |t: &Tensor| e.create_state("exposed", t.elem, t.shape()).expect("fits");
    let states: Vec<Tensor> = tensors.iter().map(state).collect();
    for command in &mut rec.commands {
        for tensor in command.inputs.iter_mut().chain(&mut command.outputs) {
            if let Some(i) = tensors.iter().position(|t| t == tensor) {
                *tensor = states[i];
            }
        }
    }
    states
}

/// Writes keys and values, rows as wide as the cache's, by the op that does so in life: as heads that are not turned.
pub fn write_cache<E: Executor>(e: &mut E, rec: &mut Recording, pos: u32, k: &[f32], v: &[f32], cache: &KvCache) {
    let [_, width] = cache.k.dims2();
    let head_dim = [16, 8, 4, 2].into_iter().find(|c| width.is_multiple_of(*c)).expect("values come in pairs");
    let (rows, query) = (k.len() as u32 / width, vec![0.0; head_dim as usize]);
    let pairs = k.chunks_exact(width as usize).zip(v.chunks_exact(width as usize));
    let qkv: Vec<f32> = pairs.flat_map(|(k, v)| [&query, k, v].concat()).collect();
    let qkv = floats(e, &[rows, head_dim + 2 * width], &qkv);
    let unturned = [1.0, 0.0].repeat(((pos + rows) * head_dim / 2) as usize);
    let table = floats(e, &[pos + rows, head_dim], &unturned);
    let params = GqaProject {
        n_heads: 1,
        n_kv_heads: width / head_dim,
        head_dim,
        pairing: RopePairing::Halves,
        eps: 0.0,
        block_tokens: cache.block_tokens,
    };
    aloud_ops::gqa_project(rec, qkv, None, table, cache, params);
}

/// As [`write_cache`], from position 0 on and at once, some rows at a time.
pub fn fill_cache<E: Executor>(e: &mut E, k: &[f32], v: &[f32], cache: &KvCache) {
    let [_, width] = cache.k.dims2();
    let rows = 8 * width as usize;
    for (i, (k, v)) in k.chunks(rows).zip(v.chunks(rows)).enumerate() {
        let (pos, n) = (8 * i as u32, k.len() as u32 / width);
        let at = integers(e, &[4], &[pos, n, 0, 0]);
        let mut rec = Recording::new(at, n);
        write_cache(e, &mut rec, pos, k, v, cache);
        let plan = e.compile(&rec).expect("compiles");
        e.submit(&plan, pos + n, None).expect("runs");
    }
}

/// Runs a scenario once and reads its tensors.
pub fn run<E: Executor>(executor: &mut E, scenario: &impl Scenario, n_kv: u32) -> Vec<Vec<u8>> {
    let step = executor.create_state("step", Elem::U32, &[4]).expect("fits");
    executor.write_state(step, 0, bytemuck::bytes_of(&scenario.step()));
    let (recording, outputs) = scenario.record(executor, step);
    let plan = executor.compile(&recording).expect("compiles");
    executor.submit(&plan, n_kv, None).expect("runs");
    outputs.iter().map(|&o| pollster::block_on(executor.read_state(o)).expect("reads")).collect()
}

/// How far floats are off: `|a - b| / |b|` in the 2-norm, and no value is not a number.
#[must_use]
pub fn relative_error(got: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().all(|v| v.is_finite()), "a result is not finite");
    let norm = |i: &mut dyn Iterator<Item = f64>| i.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut got.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    difference / norm(&mut expected.iter().map(|&v| f64::from(v))).max(f64::MIN_POSITIVE)
}

/// Compares the floats of a scenario with the oracle's on every adapter, on all at once: most of the time is the drivers' compilers'.
///
/// # Panics
/// If an adapter is off by more than `tolerance`.
#[cfg(not(target_arch = "wasm32"))] // a browser's devices stay in their thread
pub fn check(name: &str, scenario: &impl Scenario, n_kv: u32, tolerance: f64, executors: &mut [(String, GpuExecutor)]) {
    let expected = run(&mut aloud_cpu::CpuExecutor::new(), scenario, n_kv);
    for_each(executors, |(adapter, executor)| {
        for (i, (got, expected)) in run(executor, scenario, n_kv).iter().zip(&expected).enumerate() {
            let error = relative_error(bytemuck::cast_slice(got), bytemuck::cast_slice(expected));
            assert!(
                error <= tolerance,
                "{name}, output {i}, on {adapter}: off by {error:.2e}, allowed {tolerance:.0e}"
            );
        }
    });
}

/// Does the same with all of them at once.
///
/// # Panics
/// If it does with one of them, with what that said.
pub fn for_each<T: Send>(all: &mut [T], what: impl Fn(&mut T) + Sync) {
    std::thread::scope(|scope| {
        let threads: Vec<_> = all.iter_mut().map(|one| scope.spawn(|| what(one))).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}
