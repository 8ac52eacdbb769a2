//! Dot products of bytes: kernels against the oracle that rounds activations alike, and against the exact product.

use aloud_cpu::CpuExecutor;
use aloud_engine::EngineOptions;
use aloud_format::DType;
use aloud_gpu::{GpuExecutor, GpuOptions};
use aloud_ops::{Executor, GroupScore, Recording, Route, Scoring, Step, Tensor, fuse};
use aloud_tests::places::{AnyEngine, Place, gpus, greedy};
use aloud_tests::tiny::{Family, SHORT, Tiny};
use aloud_tests::{
    FORMATS, Numbers, Scenario, executors_with, expose, floats, for_each, opened, relative_error, run, weight,
};
use std::ops::RangeInclusive;

/// f32 sums in another order than the oracle's f64 ones. Codes are the same, unless a device divides less exactly than IEEE
/// and a value lies between two: that one is off by 1/127 of its group's largest then.
const SUMS: f64 = 3e-6;

/// Rounding to 8 bits against not rounding: each value is off by 1/254 of the largest of its group of 32 at most. That is
/// 2.2 % of a group's norm where one value is much larger than the others; weights whose mean is not 0 may add errors up.
const ROUNDING: f64 = 3e-2;

/// What comes before and behind a product.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Around {
    Nothing,
    Bias,
    Add,
    Norm,
    /// Gate, up and SwiGLU.
    Gate,
    /// Weights of unlike formats side by side, some of which are multiplied exactly, behind a norm.
    Stacked,
}

const AROUND: [Around; 6] = [Around::Nothing, Around::Bias, Around::Add, Around::Norm, Around::Gate, Around::Stacked];

struct Product {
    dtype: DType,
    around: Around,
    t_max: u32,
    t: u32,
    n: u32,
    k: u32,
}

impl Product {
    /// Activations with outliers; the first group is zeros, and the second almost.
    fn x(&self, numbers: &mut Numbers) -> Vec<f32> {
        let mut x = numbers.with_outliers((self.t_max * self.k) as usize);
        x[..32].fill(0.0);
        if let Some(tiny) = x.get_mut(32..64) {
            tiny.iter_mut().for_each(|v| *v *= 1e-33);
        }
        x
    }

    fn recording<E: Executor>(&self, e: &mut E, at: Tensor) -> Recording {
        let &Product { dtype, around, t_max, n, k, .. } = self;
        let mut numbers = Numbers::new(u64::from(n * 31 + k));
        let x = floats(e, &[t_max, k], &self.x(&mut numbers));
        let norm = floats(e, &[k], &numbers.with_outliers(k as usize));
        let bias = floats(e, &[n], &numbers.with_outliers(n as usize));
        let into = floats(e, &[t_max, n], &numbers.with_outliers((t_max * n) as usize));
        let mut matrix = |e: &mut E, dtype, n| weight(e, dtype, n, k, &numbers.matrix(dtype, n, k));
        let w = matrix(e, dtype, n);
        let mut rec = Recording::new(at, t_max);
        match around {
            Around::Nothing => drop(aloud_ops::matmul(&mut rec, "matmul", x, w, None)),
            Around::Bias => drop(aloud_ops::matmul(&mut rec, "matmul", x, w, Some(bias))),
            Around::Add => aloud_ops::matmul_add(&mut rec, "matmul", x, w, into),
            Around::Norm => {
                let h = aloud_ops::rms_norm(&mut rec, x, norm, 1e-5);
                aloud_ops::matmul(&mut rec, "matmul", h, w, Some(bias));
            }
            Around::Gate => {
                let up = matrix(e, dtype, n);
                let h = aloud_ops::rms_norm(&mut rec, x, norm, 1e-5);
                let [gate, up] = [w, up].map(|w| aloud_ops::matmul(&mut rec, "matmul", h, w, None));
                aloud_ops::swiglu(&mut rec, gate, up);
            }
            Around::Stacked => {
                let weights = [w, matrix(e, DType::Q8_0, 5), matrix(e, DType::F32, 34)];
                let h = aloud_ops::rms_norm(&mut rec, x, norm, 1e-5);
                aloud_ops::matmul_stacked(&mut rec, "stacked", h, &weights, None);
            }
        }
        rec
    }
}

impl Scenario for Product {
    fn step(&self) -> Step {
        Step { n_tokens: self.t, ..Step::default() }
    }

    /// One row is joined with its norm, as a device does: that decides where values are rounded.
    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let mut rec = self.recording(e, at);
        if self.around == Around::Add {
            let into = rec.commands[0].outputs[0];
            return (rec, vec![into]);
        }
        let y = expose(e, &mut rec);
        (if self.t_max == 1 { fuse(&rec, 1, 8) } else { rec }, vec![y])
    }
}

/// One of the two halves of experts, of rows that every executor is given alike.
struct Experts {
    dtype: DType,
    down: bool,
    t_max: u32,
    t: u32,
    i: u32,
    d: u32,
}

impl Experts {
    const N: u32 = 8;
    const ROUTE: Route = Route {
        scoring: Scoring::Softmax,
        num_experts_per_tok: 3,
        n_group: 1,
        topk_group: 1,
        group_score: GroupScore::Max,
        norm_topk_prob: false,
        routed_scaling_factor: 1.5,
        n_shared: 1,
    };
}

impl Scenario for Experts {
    fn step(&self) -> Step {
        Step { n_tokens: self.t, ..Step::default() }
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let &Experts { dtype, down, t_max, i, d, .. } = self;
        let mut numbers = Numbers::new(u64::from(i + d));
        let mut rec = Recording::new(at, t_max);
        let logits: Vec<f32> = (0..t_max * Self::N).map(|_| numbers.unit() as f32).collect();
        let logits = floats(e, &[t_max, Self::N], &logits);
        let routing = aloud_ops::route(&mut rec, logits, None, Self::ROUTE);
        let mut stack = |e: &mut E, rows, cols| {
            let stack = e.create_weight("stack", dtype, &[Self::N + 1, rows, cols]).expect("fits");
            e.write_weight(stack, 0, &numbers.matrix(dtype, (Self::N + 1) * rows, cols)).expect("is written");
            stack
        };
        if down {
            let down = stack(e, d, i);
            let act = floats(e, &[t_max, 4 * i], &numbers.with_outliers((t_max * 4 * i) as usize));
            let into = floats(e, &[t_max, d], &numbers.with_outliers((t_max * d) as usize));
            aloud_ops::experts_down(&mut rec, into, act, down, &routing);
            return (rec, vec![into]);
        }
        let (gate, up) = (stack(e, i, d), stack(e, i, d));
        let h = floats(e, &[t_max, d], &numbers.with_outliers((t_max * d) as usize));
        aloud_ops::experts_gate_up(&mut rec, h, gate, up, &routing);
        let y = expose(e, &mut rec);
        (rec, vec![y])
    }
}

/// On every adapter, with subgroups and without; those without have the driver's index checks on.
fn executors() -> Vec<(String, GpuExecutor)> {
    executors_with(GpuOptions { int8: true, ..GpuOptions::default() })
}

/// A device against the oracle that rounds alike, and what rounding made of the exact product.
fn check(case: &Product, executors: &mut [(String, GpuExecutor)]) {
    let &Product { dtype, around, t_max, t, n, k } = case;
    let name = format!("{around:?} {dtype} {t} of {t_max} x [{n}, {k}]");
    // The product of two inexact factors is off by both. Of few values one may be small by chance.
    let allowed = if around == Around::Gate { 2.0 * ROUNDING } else { ROUNDING };
    check_scenario(&name, case, if n < 60 { 0.0..=f64::MAX } else { 1e-4..=allowed }, executors);
}

/// The same of any scenario; the distance to the exact result is in `allowed`.
fn check_scenario(
    name: &str,
    case: &impl Scenario,
    allowed: RangeInclusive<f64>,
    executors: &mut [(String, GpuExecutor)],
) {
    let only = |all: Vec<Vec<u8>>| bytemuck::cast_slice::<u8, f32>(&all[0]).to_vec();
    let alike = only(run(&mut CpuExecutor::with_int8(), case, 1));
    let exact = only(run(&mut CpuExecutor::new(), case, 1));
    let off = relative_error(&alike, &exact);
    assert!(allowed.contains(&off), "{name}: rounding is off by {off:.2e}, allowed {allowed:?}");
    for_each(executors, |(adapter, executor)| {
        let error = relative_error(&only(run(executor, case, 1)), &alike);
        assert!(error <= SUMS, "{name} on {adapter}: off by {error:.2e}, allowed {SUMS:.0e}");
    });
}

/// Formats whose values are whole numbers times a scale, but for the one that is Q8_0 on a device; the others are multiplied exactly.
fn in_bytes() -> impl Iterator<Item = DType> {
    let others = [DType::F32, DType::F16, DType::BF16, DType::F8_B32, DType::IQ4_NL];
    FORMATS.into_iter().filter(move |dtype| !others.contains(dtype))
}

#[test]
fn one_row() {
    let mut executors = executors();
    for (i, dtype) in in_bytes().enumerate() {
        // What is around a product is the same text for all formats: each has half of it.
        for (j, around) in AROUND.into_iter().enumerate().skip(i % 2).step_by(2) {
            let (n, k) = [(66, 768), (7, 512), (130, 2304), (1, 256)][(i + j / 2) % 4];
            check(&Product { dtype, around, t_max: 1, t: 1, n, k }, &mut executors);
        }
    }
    for (n, k) in [(3, 64), (5, 96), (9, 576)] {
        check(&Product { dtype: DType::Q5_0, around: Around::Add, t_max: 1, t: 1, n, k }, &mut executors);
    }
}

#[test]
fn many_rows() {
    let mut executors = executors();
    for (i, dtype) in in_bytes().enumerate() {
        // Each in one shape and a few in all: SwiftShader takes seconds to compile a tile.
        for (j, (t_max, t, n, k)) in [(70, 67, 133, 512), (2, 2, 1, 256), (64, 1, 130, 256)].into_iter().enumerate() {
            let around = [Around::Bias, Around::Add, Around::Nothing][(i + j) % 3];
            if j == 0 || [DType::Q2_K, DType::Q4_0].contains(&dtype) {
                check(&Product { dtype, around, t_max, t, n, k }, &mut executors);
            }
        }
    }
}

#[test]
fn experts() {
    let mut executors = executors();
    for (n, dtype) in in_bytes().enumerate() {
        for down in [false, true] {
            // Few rows look their experts up, many are sorted by expert first.
            let (t_max, t) = [(1, 1), (40, 33)][(n + usize::from(down)) % 2];
            let all = [DType::Q2_K, DType::Q4_0].contains(&dtype);
            for (t_max, t) in [(t_max, t), (41 - t_max, 34 - t)].into_iter().take(1 + usize::from(all)) {
                let case = Experts { dtype, down, t_max, t, i: 256, d: 512 };
                let name = format!("experts {dtype}, down: {down}, {t} of {t_max}");
                check_scenario(&name, &case, 1e-4..=2.0 * ROUNDING, &mut executors);
            }
        }
    }
}

#[test]
fn in_parts() {
    for small in opened(GpuOptions { int8: true, max_binding_bytes: Some(16 << 10), ..GpuOptions::default() }) {
        let mut small = [small];
        for dtype in [DType::Q4_1, DType::Q5_0] {
            for t in [1, 3] {
                check(&Product { dtype, around: Around::Add, t_max: t, t, n: 301, k: 288 }, &mut small);
            }
        }
    }
}

#[test]
fn formats_without_whole_numbers_are_multiplied_exactly() {
    for (adapter, mut executor) in executors() {
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::F8_B32] {
            for t in [1, 3] {
                let case = Product { dtype, around: Around::Nothing, t_max: t, t, n: 34, k: 256 };
                let [got, exact] = [run(&mut executor, &case, 1), run(&mut CpuExecutor::new(), &case, 1)];
                let error = relative_error(bytemuck::cast_slice(&got[0]), bytemuck::cast_slice(&exact[0]));
                assert!(error <= SUMS, "{dtype} on {adapter}: off by {error:.2e}");
            }
        }
    }
}

#[test]
fn models_say_what_the_oracle_says() {
    for family in [Family::Llama, Family::DeepseekV3] {
        let model = Tiny::new(family).gguf(DType::Q8_0, 1);
        let options = || EngineOptions { n_ctx: 128, chunks: vec![32], ..EngineOptions::default() };
        let mut oracle = AnyEngine::Cpu(Box::new(model.engine(CpuExecutor::with_int8(), options())));
        let expected = oracle.generate(&greedy(&SHORT, 12)).0;
        for place in gpus() {
            let Place::Gpu { name, index, options: gpu } = place else { unreachable!("GPUs are asked for") };
            let place = Place::Gpu { name, index, options: GpuOptions { int8: true, ..gpu } };
            let tokens = place.engine(&model, options()).generate(&greedy(&SHORT, 12)).0;
            assert_eq!(tokens, expected, "{family:?} on {place}");
        }
    }
}
