//! Routing tokens to experts, against the oracle, on every adapter, with and without subgroups.

use aloud_cpu::CpuExecutor;
use aloud_format::DType;
use aloud_gpu::GpuExecutor;
use aloud_ops::{Executor, GroupScore, Recording, Route, Routing, Scoring, Step, Tensor};
use aloud_tests::{Numbers, Scenario, check, executors, floats, run, weight};

/// f32 sums in another order than the oracle's f64 ones; values differ by up to 40 times in size.
const SUMS: f64 = 3e-6;

fn rows_step(n_tokens: u32) -> Step {
    Step { pos: 3, n_tokens, ..Step::default() }
}

/// Makes scratch tensors states that can be read back.
fn expose_all<E: Executor>(e: &mut E, rec: &mut Recording, tensors: &[Tensor]) -> Vec<Tensor> {
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
    for (adapter, executor) in executors {
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
    }
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
