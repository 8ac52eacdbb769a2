//! Routing tokens to experts, against the oracle, on every adapter, with and without subgroups.

use aloud_cpu::CpuExecutor;
use aloud_format::DType;
use aloud_gpu::{GpuExecutor, GpuOptions};
use aloud_ops::{Executor, GroupScore, Recording, Route, Routing, Scoring, Step, Tensor};
use aloud_tests::{FORMATS, Numbers, Scenario, check, executors, expose_all, floats, for_each, opened, run, weight};

/// f32 sums in another order than the oracle's f64 ones; values differ by up to 40 times in size.
const SUMS: f64 = 3e-6;

fn rows_step(n_tokens: u32) -> Step {
    Step { pos: 3, n_tokens, ..Step::default() }
}

struct Router {
    dtype: DType,
    t_max: u32,
    t: u32,
    n_experts: u32,
    d: u32,
}

impl Scenario for Router {
    fn step(&self) -> Step {
        rows_step(self.t)
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let mut numbers = Numbers::new(u64::from(self.d));
        let x = floats(e, &[self.t_max, self.d], &numbers.with_outliers((self.t_max * self.d) as usize));
        let norm = floats(e, &[self.d], &numbers.with_outliers(self.d as usize));
        let w = numbers.blocks(self.dtype, (self.n_experts * self.d) as usize);
        let w = weight(e, self.dtype, self.n_experts, self.d, &w);
        let mut rec = Recording::new(at, self.t_max);
        let (h, logits) = aloud_ops::router(&mut rec, x, norm, 1e-6, w);
        let outputs = expose_all(e, &mut rec, &[h, logits]);
        (rec, outputs)
    }
}

#[test]
fn router() {
    let mut executors = executors();
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for (t_max, t, n_experts, d) in
            [(1, 1, 8, 64), (5, 3, 66, 512), (8, 8, 13, 96), (40, 33, 16, 288), (3, 0, 8, 64)]
        {
            let case = Router { dtype, t_max, t, n_experts, d };
            let name = format!("router {dtype} {t} of {t_max} x [{n_experts}, {d}]");
            check(&name, &case, 3 + t, SUMS, &mut executors);
        }
    }
}

/// A model's way to choose, without its shared experts.
fn like(scoring: Scoring, [k, n_group, topk_group]: [u32; 3], routed_scaling_factor: f32) -> Route {
    let (group_score, norm_topk_prob) = match scoring {
        Scoring::Softmax => (GroupScore::Max, false),
        Scoring::Sigmoid => (GroupScore::TopTwoSum, true),
    };
    Route {
        scoring,
        num_experts_per_tok: k,
        n_group,
        topk_group,
        group_score,
        norm_topk_prob,
        routed_scaling_factor,
        n_shared: 0,
    }
}

struct Choose {
    params: Route,
    n_experts: u32,
    logits: Vec<f32>,
    bias: Option<Vec<f32>>,
    t: u32,
}

impl Choose {
    fn record_routing<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Routing) {
        let rows = self.logits.len() as u32 / self.n_experts;
        let logits = floats(e, &[rows, self.n_experts], &self.logits);
        let bias = self.bias.as_ref().map(|bias| floats(e, &[self.n_experts], bias));
        let mut rec = Recording::new(at, rows);
        let routing = aloud_ops::route(&mut rec, logits, bias, self.params);
        (rec, routing)
    }
}

impl Scenario for Choose {
    fn step(&self) -> Step {
        rows_step(self.t)
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let (mut rec, routing) = self.record_routing(e, at);
        let outputs = expose_all(e, &mut rec, &[routing.ids, routing.weights, routing.order]);
        (rec, outputs)
    }
}

/// Ids, weights and sorted slots must be the oracle's, bit for bit. Tiles are compared as far as there are any.
fn check_choice(name: &str, case: &Choose, executors: &mut [(String, GpuExecutor)]) {
    let expected = run(&mut CpuExecutor::new(), case, 1);
    for_each(executors, |(adapter, executor)| {
        let got = run(executor, case, 1);
        for (what, i) in [("ids", 0), ("weights", 1), ("order", 2)] {
            let words = |bytes: &[u8]| bytemuck::cast_slice::<u8, u32>(bytes).to_vec();
            let (got, expected) = (words(&got[i]), words(&expected[i]));
            let differ = (0..expected.len()).filter(|&at| got[at] != expected[at]).collect::<Vec<_>>();
            let first = differ.first().map(|&at| (at, got[at], expected[at]));
            assert!(
                first.is_none(),
                "{name}: {} {what} differ on {adapter}, first (at, got, wanted) {first:x?}",
                differ.len()
            );
        }
    });
}

/// Logits as they come, and as they should not: equal ones, huge ones, a bit apart, zeros of both signs, tiny ones.
fn awkward_logits(numbers: &mut Numbers, rows: u32, n_experts: u32) -> Vec<f32> {
    let mut all = Vec::new();
    for row in 0..rows {
        let base = (numbers.unit() * 10.0 - 5.0) as f32;
        let step = [1.0, 1e-3, 1e-6, 0.125][row as usize / 7 % 4];
        for _ in 0..n_experts {
            let u = (numbers.unit() * 2.0 - 1.0) as f32;
            all.push(match row % 7 {
                0 | 1 => u * 6.0,
                2 => base + (u * 3.0).round() * step,
                3 => f32::from_bits(base.to_bits() + (numbers.bits() % 3) as u32),
                4 => [1e4, -1e4, u * 1e4, u, 88.0, -88.0, -69.5, 69.5][numbers.bits() as usize % 8],
                5 => [0.0, -0.0, 1e-40, -1e-40, 1.2e-38, u * 1e-30][numbers.bits() as usize % 6],
                _ => u * 100.0,
            });
        }
    }
    all
}

#[test]
fn ten_thousand_tokens_are_routed_bit_for_bit_alike() {
    let mut executors = executors();
    let mut numbers = Numbers::new(2024);
    let sigmoid = Scoring::Sigmoid;
    // V2-Lite, V2, V3, Moonlight, one group of many, and sizes at the limits.
    for (name, n_experts, params, biased, n_shared) in [
        ("V2-Lite", 64, like(Scoring::Softmax, [6, 1, 1], 1.0), false, 2),
        ("V2", 160, like(Scoring::Softmax, [6, 8, 3], 16.0), false, 2),
        ("V3", 256, like(sigmoid, [8, 8, 4], 2.5), true, 1),
        ("Moonlight", 64, like(sigmoid, [6, 1, 1], 2.446), true, 2),
        ("pairs", 128, like(sigmoid, [32, 64, 21], 0.7), true, 0),
        ("many", 512, like(Scoring::Softmax, [32, 1, 1], 1.5), true, 1),
        ("few", 5, Route { norm_topk_prob: false, ..like(sigmoid, [5, 1, 1], 1.0) }, false, 1),
    ] {
        for rows in [1, 2400 / (n_experts / 128 + 1)] {
            let bias = |_| match numbers.bits() % 4 {
                0 => [0.0, -0.0, 1e-40, -1e-38][numbers.bits() as usize % 4],
                1 => -((numbers.unit() * 8.0) as f32).round() / 8.0,
                _ => (numbers.unit() - 0.5) as f32,
            };
            let bias = biased.then(|| (0..n_experts).map(bias).collect());
            let logits = awkward_logits(&mut numbers, rows, n_experts);
            let params = Route { n_shared, ..params };
            let case = Choose { params, n_experts, logits, bias, t: rows - rows / 100 };
            check_choice(name, &case, &mut executors);
        }
    }
}

/// What a hand, transformers 5.23 and NumPy in f64 agree on.
#[test]
fn known_choices() {
    let logits = [0.5, -1.0, 2.0, 0.1, -0.3, 1.2, 0.7, -2.0].to_vec();
    let bias = [0.1, 0.0, -0.9, 0.2, 0.0, -0.2, 0.05, 0.3].to_vec();
    let (softmax, sigmoid) = (Scoring::Softmax, Scoring::Sigmoid);
    let mut executors = executors();
    for (params, bias, ids, weights) in [
        (like(sigmoid, [3, 4, 2], 2.5), Some(bias.clone()), [6, 5, 4], [0.897007, 1.031704, 0.571289]),
        (like(sigmoid, [3, 1, 1], 2.5), Some(bias), [3, 0, 6], [0.722862, 0.857086, 0.920051]),
        (like(softmax, [3, 1, 1], 1.0), None, [2, 5, 6], [0.441907, 0.198561, 0.120434]),
        (like(softmax, [3, 4, 2], 16.0), None, [2, 5, 3], [7.070507, 3.176984, 1.057526]),
    ] {
        let case = Choose { params, n_experts: 8, logits: logits.clone(), bias, t: 1 };
        check_choice("known choices", &case, &mut executors);
        let got = run(&mut CpuExecutor::new(), &case, 1);
        assert_eq!(bytemuck::cast_slice::<u8, u32>(&got[0]), ids);
        for (got, expected) in bytemuck::cast_slice::<u8, f32>(&got[1]).iter().zip(weights) {
            assert!((got - expected).abs() < 1e-6, "{got} is not {expected}");
        }
    }
}

#[test]
fn an_ended_sequence_chooses_nothing() {
    let params = like(Scoring::Sigmoid, [2, 1, 1], 1.0);
    for rows in [1, 9] {
        let case = Choose { params, n_experts: 8, logits: vec![1.0; 8 * rows], bias: None, t: 0 };
        for (adapter, mut executor) in executors() {
            let got = run(&mut executor, &case, 1);
            assert!(got.iter().flatten().all(|&byte| byte == 0), "{adapter} wrote something");
        }
    }
}

/// A token's experts, from ids that are given.
struct Experts {
    dtype: DType,
    t_max: u32,
    t: u32,
    /// E, k, shared experts.
    count: [u32; 3],
    i: u32,
    d: u32,
    ids: Ids,
}

/// Which experts the tokens have.
#[derive(Clone, Copy)]
enum Ids {
    Mixed,
    /// Every token the first k: nobody chooses the others.
    AllTheSame,
}

fn stack<E: Executor>(e: &mut E, numbers: &mut Numbers, dtype: DType, shape: [u32; 3]) -> Tensor {
    let [n, rows, cols] = shape;
    let stack = e.create_weight("stack", dtype, &shape).expect("fits");
    let bytes = numbers.matrix(dtype, n * rows, cols);
    e.write_weight(stack, 0, &bytes).expect("is written");
    stack
}

impl Scenario for Experts {
    fn step(&self) -> Step {
        rows_step(self.t)
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let mut numbers = Numbers::new(u64::from(self.i + self.d));
        let [n_experts, k, n_shared] = self.count;
        let params = Route { n_shared, ..like(Scoring::Softmax, [k, 1, 1], 1.5) };
        let logit = |row: u32, e: u32| match self.ids {
            Ids::Mixed => ((row * 37 + e * 101 + row * e * 13) % 97) as f32 / 97.0 * 3.0,
            Ids::AllTheSame => (n_experts - e) as f32 / n_experts as f32,
        };
        let logits = (0..self.t_max).flat_map(|row| (0..n_experts).map(move |e| logit(row, e))).collect();
        let (mut rec, routing) = Choose { params, n_experts, logits, bias: None, t: self.t }.record_routing(e, at);
        let n = n_experts + n_shared;
        let h = floats(e, &[self.t_max, self.d], &numbers.with_outliers((self.t_max * self.d) as usize));
        let into = floats(e, &[self.t_max, self.d], &numbers.with_outliers((self.t_max * self.d) as usize));
        let gate = stack(e, &mut numbers, self.dtype, [n, self.i, self.d]);
        let up = stack(e, &mut numbers, self.dtype, [n, self.i, self.d]);
        let down = stack(e, &mut numbers, self.dtype, [n, self.d, self.i]);
        let act = aloud_ops::experts_gate_up(&mut rec, h, gate, up, &routing);
        aloud_ops::experts_down(&mut rec, into, act, down, &routing);
        let act = expose_all(e, &mut rec, &[act])[0];
        (rec, vec![act, into])
    }
}

fn check_experts(case: &Experts, executors: &mut [(String, GpuExecutor)]) {
    let Experts { dtype, t_max, t, count: [n, k, shared], i, d, .. } = case;
    let name = format!("experts {dtype} {t} of {t_max}, {k} of {n} and {shared}, I {i}, D {d}");
    check(&name, case, 3 + t, SUMS, executors);
}

#[test]
fn experts_of_every_format() {
    let mut executors = executors();
    for dtype in FORMATS {
        for (t_max, t, count, ids) in
            [(1, 1, [8, 3, 1], Ids::Mixed), (8, 8, [8, 3, 1], Ids::Mixed), (12, 11, [8, 3, 1], Ids::AllTheSame)]
        {
            let case = Experts { dtype, t_max, t, count, i: 256, d: 512, ids };
            check_experts(&case, &mut executors);
        }
    }
}

#[test]
fn experts_of_every_shape() {
    let mut executors = executors();
    for (dtype, t_max, t, count, i, d) in [
        (DType::Q4_0, 1, 1, [64, 6, 2], 32, 64),
        (DType::Q8_0, 5, 3, [64, 7, 2], 96, 160),
        (DType::Q5_0, 8, 8, [16, 2, 1], 1088, 224),
        (DType::F16, 40, 33, [64, 6, 2], 32, 64),
        (DType::Q4_1, 40, 40, [16, 8, 1], 96, 160),
        (DType::Q8_0, 128, 128, [8, 2, 1], 64, 96),
        (DType::Q4_0, 128, 101, [8, 1, 0], 160, 64),
    ] {
        for ids in [Ids::Mixed, Ids::AllTheSame] {
            check_experts(&Experts { dtype, t_max, t, count, i, d, ids }, &mut executors);
        }
    }
}

#[test]
fn experts_in_parts() {
    for subgroups in [true, false] {
        // 25 KiB hold two matrices of 64 x 96 in F16, three in Q8_0.
        let options = GpuOptions { subgroups, max_binding_bytes: Some(25 << 10), ..GpuOptions::default() };
        for small in opened(options) {
            let mut small = [small];
            for (dtype, t) in [(DType::Q8_0, 2), (DType::Q5_0, 11), (DType::F16, 1), (DType::F16, 12)] {
                let case = Experts { dtype, t_max: t, t, count: [4, 2, 1], i: 64, d: 96, ids: Ids::Mixed };
                check_experts(&case, &mut small);
            }
        }
    }
}

#[test]
fn an_ended_sequence_leaves_the_experts_sums() {
    for t_max in [2, 10] {
        let case = Experts { dtype: DType::Q8_0, t_max, t: 0, count: [8, 2, 1], i: 32, d: 64, ids: Ids::Mixed };
        for (adapter, mut executor) in executors() {
            let expected = run(&mut CpuExecutor::new(), &case, 1);
            assert!(run(&mut executor, &case, 1) == expected, "{adapter} changed something");
        }
    }
}
