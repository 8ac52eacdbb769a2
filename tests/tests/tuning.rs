//! What is measured of a device changes how work is shared, not what comes out, and leaves nothing behind.

use aloud_cpu::CpuExecutor;
use aloud_format::DType;
use aloud_gpu::{GpuExecutor, Tuning, Variant, Width};
use aloud_ops::{Executor, Recording, Step, Tensor};
use aloud_tests::{Numbers, Scenario, executors, expose, floats, relative_error, run, weight};
use std::time::Duration;

/// A decode step's products: of a narrow weight, and of a wider one of another format.
struct Products;

const SHAPES: [(DType, u32, u32); 2] = [(DType::Q4_1, 70, 288), (DType::Q8_0, 33, 1056)];

impl Scenario for Products {
    fn step(&self) -> Step {
        Step { n_tokens: 1, ..Step::default() }
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let mut numbers = Numbers::new(3);
        let mut rec = Recording::new(at, 1);
        let mut found = Vec::new();
        for (dtype, n, k) in SHAPES {
            let x = floats(e, &[1, k], &numbers.with_outliers(k as usize));
            let w = numbers.matrix(dtype, n, k);
            let w = weight(e, dtype, n, k, &w);
            aloud_ops::matmul(&mut rec, "product", x, w, None);
            found.push(expose(e, &mut rec));
        }
        (rec, found)
    }
}

fn values(bytes: &[Vec<u8>]) -> Vec<f32> {
    bytes.iter().flat_map(|b| bytemuck::cast_slice::<u8, f32>(b).to_vec()).collect()
}

#[test]
fn every_number_of_threads_says_the_same_but_for_rounding() {
    let expected = values(&run(&mut CpuExecutor::new(), &Products, 1));
    for (adapter, executor) in &mut executors() {
        let least = executor.gpu().caps.subgroup_size.unwrap_or(8);
        for threads in [4, 8, 16, 32, 64, 128].into_iter().filter(|&threads| threads >= least) {
            let mut tuning = Tuning::default();
            tuning.set(DType::Q4_1, Width::Narrow, Variant::Threads(threads));
            tuning.set(DType::Q8_0, Width::Middle, Variant::Threads(threads));
            executor.set_tuning(tuning);
            let error = relative_error(&values(&run(executor, &Products, 1)), &expected);
            assert!(error < 3e-6, "{threads} threads on {adapter}: {error:e}");
        }
    }
}

#[test]
fn what_is_measured_is_used_and_nothing_stays_behind() {
    for (adapter, executor) in &mut executors() {
        for (dtype, n, k) in SHAPES {
            executor.create_weight("weight", dtype, &[n, k]).expect("fits");
        }
        let before = executor.resident_bytes();
        let tune = |executor: &mut GpuExecutor, ms| {
            pollster::block_on(executor.tune(Duration::from_millis(ms))).expect("the device works")
        };
        assert_eq!(tune(executor, 0), [], "{adapter}: no time, nothing measured");
        let tuned = tune(executor, 600_000);
        let classes = [(DType::Q8_0, Width::Middle), (DType::Q4_1, Width::Narrow)];
        // Tiles where there is more than one, after how one row is multiplied.
        let rounds = 1 + usize::from(!executor.gpu().caps.row_by_row() && executor.gpu().caps.tiles.f16);
        let found: Vec<(DType, Width)> = tuned.iter().map(|tuned| (tuned.dtype, tuned.width)).collect();
        assert_eq!(found, classes.repeat(rounds), "{adapter}: the most bytes first");
        for tuned in &tuned {
            assert!(tuned.tried.len() > 1 && tuned.tried.iter().all(|&(_, speed)| speed > 0.0), "{adapter}: {tuned:?}");
            let known = &executor.gpu().caps.tuning;
            let chosen = match tuned.chosen {
                Variant::Threads(_) => known.threads(tuned.dtype, tuned.width).map(Variant::Threads),
                Variant::Tile(_) => known.tile(tuned.dtype, tuned.width).map(Variant::Tile),
            };
            assert_eq!(chosen, Some(tuned.chosen), "{adapter}");
        }
        assert_eq!(tune(executor, 600_000), [], "{adapter}: what is known is not measured again");
        assert_eq!(executor.resident_bytes(), before, "{adapter}");
        let text = executor.gpu().caps.tuning.to_string();
        assert_eq!(Tuning::parse(&text), executor.gpu().caps.tuning, "{adapter}: {text}");
    }
}
