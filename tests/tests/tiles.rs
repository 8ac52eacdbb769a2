//! Tiles whose factors are halves: kernels against the oracle that rounds alike, and against the exact product.

use aloud_cpu::CpuExecutor;
use aloud_engine::EngineOptions;
use aloud_format::DType;
use aloud_gpu::{GpuExecutor, GpuOptions, Tile, adapters};
use aloud_ops::{Executor, Recording, Step, Tensor};
use aloud_tests::places::{AnyEngine, Place, greedy};
use aloud_tests::tiny::{Family, SHORT, Tiny};
use aloud_tests::{
    FORMATS, Numbers, Scenario, executors_with, expose, floats, for_each, opened, relative_error, run, weight,
};

/// A device may round factors towards zero, and the oracle rounds to the nearest: they are one step of a half apart at most.
const SUMS: f64 = 1e-3;
/// Two factors of 11 bits against exact ones: what is said of these tiles wherever they are offered.
const ROUNDING: f64 = 2e-3;

struct Product {
    dtype: DType,
    t_max: u32,
    t: u32,
    n: u32,
    k: u32,
    add: bool,
}

impl Product {
    /// Activations with outliers: a row of values that no half holds, one of values too small for one, one of zeros.
    fn x(&self, numbers: &mut Numbers) -> Vec<f32> {
        let mut x = numbers.with_outliers((self.t_max * self.k) as usize);
        let scales = [1.0, 3e6, 1e-9, 0.0];
        for (row, scale) in x.chunks_exact_mut(self.k as usize).zip(scales.iter().cycle()) {
            row.iter_mut().for_each(|v| *v *= scale);
        }
        x
    }
}

impl Scenario for Product {
    fn step(&self) -> Step {
        Step { n_tokens: self.t, ..Step::default() }
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let &Product { dtype, t_max, n, k, add, .. } = self;
        let mut numbers = Numbers::new(u64::from(n * 31 + k));
        let x = floats(e, &[t_max, k], &self.x(&mut numbers));
        let w = weight(e, dtype, n, k, &numbers.matrix(dtype, n, k));
        let mut rec = Recording::new(at, t_max);
        if add {
            let into = floats(e, &[t_max, n], &vec![0.0; (t_max * n) as usize]);
            aloud_ops::matmul_add(&mut rec, "matmul", x, w, into);
            return (rec, vec![into]);
        }
        aloud_ops::matmul(&mut rec, "matmul", x, w, None);
        let y = expose(e, &mut rec);
        (rec, vec![y])
    }
}

/// On every adapter that has what the tile needs.
fn executors(tile: Tile) -> Vec<(String, GpuExecutor)> {
    let skipped = std::env::var("ALOUD_GPU").is_ok_and(|v| v == "skip");
    assert!(skipped || !pollster::block_on(adapters()).is_empty(), "no GPU");
    let mut all = opened(GpuOptions { tile: Some(tile), ..GpuOptions::default() });
    all.retain(|(_, executor)| executor.gpu().caps.tiles.offers(tile));
    if all.is_empty() {
        eprintln!("SKIPPED: no adapter offers what a tile by {} needs", tile.name());
    }
    all
}

/// Each row against the oracle's that rounds alike, and what rounding made of the exact product.
fn check(case: &Product, executors: &mut [(String, GpuExecutor)]) {
    let &Product { dtype, t_max, t, n, k, .. } = case;
    let rows = |bytes: &[Vec<u8>]| -> Vec<Vec<f32>> {
        let all: &[f32] = bytemuck::cast_slice(&bytes[0]);
        all.chunks_exact(n as usize).take(t as usize).map(<[f32]>::to_vec).collect()
    };
    let alike = rows(&run(&mut CpuExecutor::with_halves(), case, 1));
    let exact = rows(&run(&mut CpuExecutor::new(), case, 1));
    for_each(executors, |(adapter, executor)| {
        let got = rows(&run(executor, case, 1));
        for (row, ((got, alike), exact)) in got.iter().zip(&alike).zip(&exact).enumerate() {
            for (what, other, allowed) in [("alike", alike, SUMS), ("exact", exact, ROUNDING)] {
                let error = relative_error(got, other);
                let name = format!("{dtype} {t} of {t_max} x [{n}, {k}], row {row}");
                assert!(error <= allowed, "{name} on {adapter}: off by {error:.2e} from {what}, allowed {allowed:.0e}");
            }
        }
    });
}

fn check_all(tile: Tile) {
    let mut executors = executors(tile);
    for (i, dtype) in FORMATS.into_iter().enumerate() {
        // Each in one shape and one in all: drivers for the CPU take a second to compile a tile.
        for (j, (t_max, t, n, k)) in [(5, 4, 67, 512), (70, 67, 133, 256), (64, 1, 70, 96)].into_iter().enumerate() {
            if j == 0 || dtype == DType::Q8_0 {
                check(&Product { dtype, t_max, t, n, k, add: (i + j) % 2 == 0 }, &mut executors);
            }
        }
    }
}

#[test]
fn by_halves() {
    check_all(Tile::Half);
}

/// Drivers for the CPU have cooperative matrices from Mesa 26 on.
#[test]
fn by_cooperative_matrices() {
    check_all(Tile::Matrix);
}

/// Few rows are multiplied with what is unpacked once for four of them, exactly; the last four are not all there.
#[test]
fn few_rows_share_what_is_unpacked() {
    use DType::{BF16, F8_B32, F16, F32, Q2_K, Q3_K, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0};
    // Formats are unpacked as where rows are single: each once, since drivers for the CPU take a second for four rows.
    let floats: &[DType] = &[F32, F16, BF16, F8_B32, Q4_0, Q4_1, Q2_K, Q4_K, Q6_K];
    for (int8, formats) in [(false, floats), (true, &[Q5_0, Q5_1, Q8_0, Q3_K, Q5_K])] {
        let mut executors = executors_with(GpuOptions { tile: Some(Tile::Few), int8, ..GpuOptions::default() });
        for (i, &dtype) in formats.iter().enumerate() {
            let case = Product { dtype, t_max: 7, t: 6, n: 67, k: 512, add: i % 2 == 0 };
            let mut oracle = if int8 { CpuExecutor::with_int8() } else { CpuExecutor::new() };
            let expected = run(&mut oracle, &case, 1);
            for_each(&mut executors, |(adapter, executor)| {
                let got = run(executor, &case, 1);
                let rows = |bytes: &[Vec<u8>]| -> Vec<f32> { bytemuck::cast_slice(&bytes[0])[..6 * 67].to_vec() };
                for (row, (got, expected)) in rows(&got).chunks(67).zip(rows(&expected).chunks(67)).enumerate() {
                    // Codes of Q2_K and Q3_K are added to 64 first, which costs what cancels.
                    let allowed = if matches!(dtype, DType::Q2_K | DType::Q3_K) { 1e-5 } else { 3e-6 };
                    let error = relative_error(got, expected);
                    assert!(error <= allowed, "{dtype}, int8 {int8}, row {row} on {adapter}: off by {error:.2e}");
                }
            });
        }
    }
}

#[test]
fn a_weight_of_f32_stays_as_it_is() {
    for (adapter, mut executor) in executors(Tile::Half) {
        let case = Product { dtype: DType::F32, t_max: 3, t: 3, n: 70, k: 256, add: false };
        let [got, exact] = [run(&mut executor, &case, 1), run(&mut CpuExecutor::new(), &case, 1)];
        let error = relative_error(bytemuck::cast_slice(&got[0]), bytemuck::cast_slice(&exact[0]));
        assert!(error <= 3e-6, "on {adapter}: off by {error:.2e}");
    }
}

#[test]
fn a_weight_in_parts() {
    let options = GpuOptions { tile: Some(Tile::Half), max_binding_bytes: Some(16 << 10), ..GpuOptions::default() };
    let mut small = opened(options);
    small.retain(|(_, executor)| executor.gpu().caps.tiles.f16);
    for dtype in [DType::Q4_1, DType::Q5_0] {
        check(&Product { dtype, t_max: 3, t: 3, n: 301, k: 288, add: true }, &mut small);
    }
}

#[test]
fn models_say_what_they_say_otherwise() {
    for family in [Family::Llama, Family::DeepseekV3] {
        let model = Tiny::new(family).gguf(DType::Q8_0, 1);
        let options = || EngineOptions { n_ctx: 128, chunks: vec![32], ..EngineOptions::default() };
        let mut oracle = AnyEngine::Cpu(Box::new(model.engine(CpuExecutor::new(), options())));
        let expected = oracle.generate(&greedy(&SHORT, 12)).0;
        for (index, adapter) in pollster::block_on(adapters()).into_iter().enumerate().filter(|(_, a)| a.f16) {
            // Chunks of 8 are few rows, whose attention is spread over workgroups as well.
            for (tile, chunk) in [(Tile::Half, 32), (Tile::Matrix, 32), (Tile::Few, 8)] {
                let wanted = GpuOptions { tile: Some(tile), ..GpuOptions::default() };
                let place = Place::Gpu { name: adapter.name.clone(), index, options: wanted };
                let options = EngineOptions { chunks: vec![chunk], ..options() };
                let tokens = place.engine(&model, options).generate(&greedy(&SHORT, 12)).0;
                assert_eq!(tokens, expected, "{family:?} on {place}, by {}", tile.name());
            }
        }
    }
}
