//! Every kernel against its CPU twin, over odd shapes with outliers, on every adapter, with and without subgroups.

use aloud_cpu::CpuExecutor;
use aloud_format::DType;
use aloud_gpu::GpuOptions;
use aloud_ops::{
    Attention, Elem, Executor, GqaProject, KvCache, Recording, RopePairing, SampleRow, SamplerBuffers, SamplerState,
    Step, Tensor,
};
use aloud_tests::scenarios::gqa::Heads;
use aloud_tests::{
    FORMATS, Numbers, Scenario, check, executors, expose, fill_cache, floats, for_each, integers, opened, run, weight,
    write_cache,
};

/// f32 sums in another order than the oracle's f64 ones; values differ by up to 40 times in size.
const SUMS: f64 = 3e-6;
/// Where nearly all of a sum may cancel out.
const CANCELLED: f64 = 1e-5;

fn step(pos: u32, n_tokens: u32) -> Step {
    Step { pos, n_tokens, ..Step::default() }
}

struct Matmul {
    dtype: DType,
    t_max: u32,
    t: u32,
    n: u32,
    k: u32,
    then: Then,
}

/// What becomes of a product.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Nothing,
    Bias,
    Add,
}

impl Scenario for Matmul {
    fn step(&self) -> Step {
        step(0, self.t)
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let mut numbers = Numbers::new(u64::from(self.n * 31 + self.k));
        let x = floats(e, &[self.t_max, self.k], &numbers.with_outliers((self.t_max * self.k) as usize));
        let w = numbers.matrix(self.dtype, self.n, self.k);
        let w = weight(e, self.dtype, self.n, self.k, &w);
        let bias = (self.then == Then::Bias).then(|| floats(e, &[self.n], &numbers.with_outliers(self.n as usize)));
        let mut rec = Recording::new(at, self.t_max);
        if self.then == Then::Add {
            let into = numbers.with_outliers((self.t_max * self.n) as usize);
            let into = floats(e, &[self.t_max, self.n], &into);
            aloud_ops::matmul_add(&mut rec, "matmul", x, w, into);
            return (rec, vec![into]);
        }
        aloud_ops::matmul(&mut rec, "matmul", x, w, bias);
        let y = expose(e, &mut rec);
        (rec, vec![y])
    }
}

#[test]
fn matvec() {
    let mut executors = executors();
    for dtype in FORMATS {
        for (n, k) in [(1, 256), (7, 512), (66, 768), (130, 2304)] {
            let case =
                Matmul { dtype, t_max: 1, t: 1, n, k, then: [Then::Nothing, Then::Bias, Then::Add][n as usize % 3] };
            check(&format!("matvec {dtype} [{n}, {k}]"), &case, 1, SUMS, &mut executors);
        }
    }
    for (n, k) in [(3, 32), (5, 96), (9, 576)] {
        for dtype in [DType::Q8_0, DType::F8_B32] {
            let case = Matmul { dtype, t_max: 1, t: 1, n, k, then: Then::Add };
            check(&format!("matvec {dtype} [{n}, {k}]"), &case, 1, SUMS, &mut executors);
        }
    }
}

#[test]
fn matmul() {
    let mut executors = executors();
    for dtype in FORMATS {
        for (t_max, t, n, k) in [(2, 2, 1, 256), (40, 33, 67, 512), (64, 1, 130, 256)] {
            let case = Matmul { dtype, t_max, t, n, k, then: [Then::Bias, Then::Add, Then::Nothing][t as usize % 3] };
            // One product of codes that are added to 64 first: what is left of it may be little, beside no other that is large.
            let cancels = n == 1 && matches!(dtype, DType::Q2_K | DType::Q3_K);
            let allowed = if cancels { CANCELLED } else { SUMS };
            check(&format!("matmul {dtype} {t} of {t_max} x [{n}, {k}]"), &case, t, allowed, &mut executors);
        }
    }
}

#[test]
fn matmul_in_parts() {
    // A weight larger than a binding is cut by rows; the cut must not show. 3 rows of Q4_1 with an odd number of blocks.
    for small in opened(GpuOptions { max_binding_bytes: Some(16 << 10), ..GpuOptions::default() }) {
        let mut small = [small];
        for dtype in [DType::Q4_1, DType::Q5_0, DType::F16, DType::F8_B32] {
            for t in [1, 3] {
                let case = Matmul { dtype, t_max: t, t, n: 301, k: 288, then: Then::Add };
                check(&format!("matmul in parts {dtype}"), &case, t, SUMS, &mut small);
            }
            check(&format!("embed in parts {dtype}"), &Embed { dtype, d: 288, v: 301 }, 1, 1e-7, &mut small);
        }
    }
}

/// The embedding of DeepSeek-R1-Distill-Qwen-7B, 306 MB in Q4_K, with rows that repeat: looked up and multiplied with.
struct QwenEmbedding;

impl QwenEmbedding {
    const V: u32 = 152_064;
    const D: u32 = 3584;
    /// Rows that differ; V is no multiple, so that no part begins like another.
    const PERIOD: u32 = 1000;

    fn rows() -> Vec<u8> {
        Numbers::new(11).blocks(DType::Q4_K, (Self::PERIOD * Self::D) as usize)
    }

    fn x() -> Vec<f32> {
        Numbers::new(12).with_outliers(Self::D as usize)
    }

    /// Lookup of some tokens, then the product of all rows with `x`.
    fn run(executor: &mut aloud_gpu::GpuExecutor, tokens: &[u32]) -> [Vec<f32>; 2] {
        let table = executor.create_weight("token_embd", DType::Q4_K, &[Self::V, Self::D]).expect("fits");
        let rows = Self::rows();
        let row_bytes = rows.len() / Self::PERIOD as usize;
        for first in (0..Self::V).step_by(Self::PERIOD as usize) {
            let n = Self::PERIOD.min(Self::V - first) as usize;
            executor.write_weight(table, first, &rows[..n * row_bytes]).expect("is written");
        }
        let at = integers(executor, &[4], &[0, tokens.len() as u32, 0, 0]);
        let ids = integers(executor, &[tokens.len() as u32], tokens);
        let mut looked_up = Recording::new(at, tokens.len() as u32);
        aloud_ops::embed(&mut looked_up, ids, table);
        let x = floats(executor, &[1, Self::D], &Self::x());
        let mut product = Recording::new(at, 1);
        aloud_ops::matmul(&mut product, "head", x, table, None);
        [looked_up, product].map(|mut recording| {
            let y = expose(executor, &mut recording);
            let plan = executor.compile(&recording).expect("compiles");
            executor.submit(&plan, 1, None).expect("runs");
            bytemuck::cast_slice(&pollster::block_on(executor.read_state(y)).expect("reads")).to_vec()
        })
    }
}

#[test]
fn qwen_embedding_with_bindings_of_128_mib() {
    let (d, period) = (QwenEmbedding::D as usize, QwenEmbedding::PERIOD as usize);
    let mut rows = vec![0.0; period * d];
    aloud_format::dequantize(DType::Q4_K, &QwenEmbedding::rows(), &mut rows).expect("whole blocks");
    let row = |id: u32| &rows[id as usize % period * d..][..d];
    let tokens = [0, 1, 65_535, 66_577, 70_001, 133_156, 152_063];
    let looked_up: Vec<f32> = tokens.iter().flat_map(|&id| row(id).to_vec()).collect();
    let mut products = vec![0.0; period];
    aloud_cpu::ops::matmul(&QwenEmbedding::x(), &rows, None, d, &mut products);
    let product: Vec<f32> = (0..QwenEmbedding::V as usize).map(|i| products[i % period]).collect();
    let options = GpuOptions { max_binding_bytes: Some(128 << 20), ..GpuOptions::default() };
    for (adapter, mut executor) in opened(options) {
        let got = QwenEmbedding::run(&mut executor, &tokens);
        for (got, expected, tolerance) in [(&got[0], &looked_up, 1e-7), (&got[1], &product, SUMS)] {
            let error = aloud_tests::relative_error(got, expected);
            assert!(error <= tolerance, "{adapter}: off by {error:.2e}, allowed {tolerance:.0e}");
        }
    }
}

struct Embed {
    dtype: DType,
    d: u32,
    v: u32,
}

impl Scenario for Embed {
    fn step(&self) -> Step {
        step(5, 4)
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let tokens = integers(e, &[5], &[0, self.v - 1, 3, 2, 1]);
        let table = Numbers::new(7).matrix(self.dtype, self.v, self.d);
        let table = weight(e, self.dtype, self.v, self.d, &table);
        let mut rec = Recording::new(at, 5);
        aloud_ops::embed(&mut rec, tokens, table);
        let y = expose(e, &mut rec);
        (rec, vec![y])
    }
}

#[test]
fn embed() {
    let mut executors = executors();
    for dtype in FORMATS {
        // One rounding apart at most: the same few operations on the same block.
        check(&format!("embed {dtype}"), &Embed { dtype, d: 768, v: 45 }, 1, 1e-7, &mut executors);
    }
}

/// An op on rows of floats: what it reads, and how it is recorded.
struct Rows<F> {
    t_max: u32,
    step: Step,
    inputs: Vec<Vec<u32>>,
    record: F,
}

trait RecordRows {
    fn record(&self, rec: &mut Recording, inputs: &[Tensor]);
}

impl<F: Fn(&mut Recording, &[Tensor]) + Sync> RecordRows for F {
    fn record(&self, rec: &mut Recording, inputs: &[Tensor]) {
        self(rec, inputs);
    }
}

impl<F: RecordRows + Sync> Scenario for Rows<F> {
    fn step(&self) -> Step {
        self.step
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let mut numbers = Numbers::new(99);
        let inputs: Vec<Tensor> = self
            .inputs
            .iter()
            .map(|shape| floats(e, shape, &numbers.with_outliers(shape.iter().product::<u32>() as usize)))
            .collect();
        let mut rec = Recording::new(at, self.t_max);
        self.record.record(&mut rec, &inputs);
        let y = expose(e, &mut rec);
        (rec, vec![y])
    }
}

fn check_rows(
    name: &str,
    t_max: u32,
    step: Step,
    inputs: &[&[u32]],
    tolerance: f64,
    record: impl Fn(&mut Recording, &[Tensor]) + Sync,
) {
    let case = Rows { t_max, step, inputs: inputs.iter().map(|s| s.to_vec()).collect(), record };
    check(name, &case, step.pos + step.n_tokens, tolerance, &mut executors());
}

#[test]
fn rms_norm() {
    for (t_max, t, width, d) in [(1, 1, 576, 576), (3, 2, 33, 33), (5, 5, 4 * 64, 64), (2, 2, 2000, 2000)] {
        check_rows("rms_norm", t_max, step(3, t), &[&[t_max, width], &[d]], SUMS, |rec, x| {
            aloud_ops::rms_norm(rec, x[0], x[1], 1e-5);
        });
    }
}

#[test]
fn norm_concat() {
    for (t_max, t, d) in [(1, 1, 64), (3, 2, 33), (5, 5, 300)] {
        check_rows("norm_concat", t_max, step(3, t), &[&[t_max, d], &[d], &[t_max, d], &[d]], SUMS, |rec, x| {
            aloud_ops::norm_concat(rec, x[0], x[1], x[2], x[3], 1e-5);
        });
    }
}

/// Weights of unlike formats, one after the other.
struct Stacked {
    t_max: u32,
    t: u32,
    bias: bool,
}

impl Scenario for Stacked {
    fn step(&self) -> Step {
        step(0, self.t)
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let mut numbers = Numbers::new(3);
        let x = floats(e, &[self.t_max, 256], &numbers.with_outliers((self.t_max * 256) as usize));
        let parts = [(DType::Q4_K, 37), (DType::Q8_0, 5), (DType::F32, 130)].map(|(dtype, n)| {
            let blocks = numbers.blocks(dtype, n as usize * 256);
            weight(e, dtype, n, 256, &blocks)
        });
        let mut rec = Recording::new(at, self.t_max);
        let bias = self.bias.then(|| floats(e, &[172], &numbers.with_outliers(172)));
        aloud_ops::matmul_stacked(&mut rec, "stacked", x, &parts, bias);
        let y = expose(e, &mut rec);
        (rec, vec![y])
    }
}

#[test]
fn matmul_stacked() {
    let mut executors = executors();
    for (t_max, t, bias) in [(1, 1, false), (1, 1, true), (9, 7, true), (3, 3, false)] {
        check("matmul_stacked", &Stacked { t_max, t, bias }, t, SUMS, &mut executors);
    }
}

#[test]
fn gqa_project() {
    let mut executors = executors();
    for (n_heads, n_kv_heads, head_dim, t_max, t) in
        [(9, 3, 64, 1, 1), (2, 1, 128, 5, 3), (3, 2, 10, 4, 4), (8, 8, 8, 2, 2)]
    {
        for (pairing, qk_norm, elem) in [
            (RopePairing::Halves, false, Elem::F16),
            (RopePairing::Interleaved, false, Elem::F32),
            (RopePairing::Halves, true, Elem::F32),
            (RopePairing::Interleaved, true, Elem::F32),
        ] {
            let params = GqaProject { n_heads, n_kv_heads, head_dim, pairing, eps: 1e-5, block_tokens: 32 };
            // Of other shapes, attention has no kernel.
            let attend = n_heads % n_kv_heads == 0 && head_dim % 8 == 0;
            let case = Heads { params, elem, qk_norm, pos: 45, t_max, t, queries: true, attend };
            let name = format!("gqa_project {n_heads}/{n_kv_heads} heads of {head_dim} {pairing:?} {elem:?}");
            check(&name, &case, 45 + t, 2e-5, &mut executors);
        }
    }
}

#[test]
fn elementwise() {
    for (t_max, t, d) in [(1, 1, 1), (4, 3, 65), (2, 2, 1536)] {
        let two: &[&[u32]] = &[&[t_max, d], &[t_max, d]];
        // e^-z of a software driver is a polynomial.
        check_rows("swiglu", t_max, step(0, t), two, 3e-6, |rec, x| {
            aloud_ops::swiglu(rec, x[0], x[1]);
        });
        check_rows("last_row", t_max, step(0, t), &two[..1], 0.0, |rec, x| {
            aloud_ops::last_row(rec, x[0]);
        });
    }
}

struct Attend {
    params: Attention,
    elem: Elem,
    slots: u32,
    t_max: u32,
    step: Step,
}

impl Scenario for Attend {
    fn step(&self) -> Step {
        self.step
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let a = self.params;
        let mut numbers = Numbers::new(u64::from(self.slots));
        let width = a.n_kv_heads * a.head_dim;
        // The blocks lie in reverse, so that a kernel that ignores the table is found out.
        let n_blocks = self.slots / a.block_tokens;
        let table: Vec<u32> = (0..n_blocks).rev().collect();
        let side = |e: &mut E| e.create_state("cache", self.elem, &[self.slots, width]).expect("fits");
        let cache = KvCache {
            k: side(e),
            v: side(e),
            block_table: integers(e, &[n_blocks], &table),
            block_tokens: a.block_tokens,
        };
        // Fill what came before the step by the op that fills it in life.
        let before = self.step.pos;
        if before > 0 {
            let [k, v] = [(); 2].map(|()| numbers.with_outliers((before * width) as usize));
            fill_cache(e, &k, &v, &cache);
        }
        let mut rec = Recording::new(at, self.t_max);
        let [k, v] = [(); 2].map(|()| numbers.with_outliers((self.t_max * width) as usize));
        write_cache(e, &mut rec, self.step.pos, &k, &v, &cache);
        let q_width = a.n_heads * a.head_dim;
        let q = floats(e, &[self.t_max, q_width], &numbers.with_outliers((self.t_max * q_width) as usize));
        aloud_ops::attention(&mut rec, q, &cache, a);
        let y = expose(e, &mut rec);
        (rec, vec![y])
    }
}

#[test]
fn attention() {
    let mut executors = executors();
    for (n_heads, n_kv_heads, head_dim, pos, t_max, t) in [
        (9, 3, 64, 0, 1, 1),
        (9, 3, 64, 300, 1, 1),
        (4, 4, 32, 127, 1, 1),
        (28, 4, 128, 128, 1, 1),
        (6, 2, 16, 40, 7, 5),
        (9, 3, 64, 130, 32, 31),
        (20, 2, 8, 3, 3, 3),
        (2, 1, 96, 250, 2, 2),
    ] {
        for elem in [Elem::F16, Elem::F32] {
            let scale = 0.3 / f64::from(head_dim).sqrt();
            let params = Attention { n_heads, n_kv_heads, head_dim, scale: scale as f32, block_tokens: 32 };
            let case = Attend { params, elem, slots: 352, t_max, step: step(pos, t) };
            let name = format!("attention {n_heads}/{n_kv_heads} heads of {head_dim} at {pos}+{t} {elem:?}");
            // Large scores: an error of 1e-6 in one is an error of 1e-5 in its weight.
            check(&name, &case, pos + t, 2e-5, &mut executors);
        }
    }
}

struct Sampling {
    logits: Vec<f32>,
    counts: Vec<u32>,
    state: SamplerState,
    step: Step,
}

impl Scenario for Sampling {
    fn step(&self) -> Step {
        self.step
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let v = self.logits.len() as u32;
        let logits = floats(e, &[1, v], &self.logits);
        let buffers = SamplerBuffers::create(e, v, 4).expect("fits");
        e.write_state(buffers.sampler, 0, bytemuck::bytes_of(&self.state));
        e.write_state(buffers.counts, 0, bytemuck::cast_slice(&self.counts));
        let mut rec = Recording::new(at, 4);
        aloud_ops::penalize(&mut rec, logits, &buffers, SampleRow::default());
        aloud_ops::sample(&mut rec, &buffers, SampleRow::default());
        (rec, vec![at, buffers.result, buffers.counts])
    }
}

/// Step, result and counts after sampling must be the oracle's exactly.
fn check_sampling(name: &str, case: &Sampling, executors: &mut [(String, aloud_gpu::GpuExecutor)]) {
    let expected = run(&mut CpuExecutor::new(), case, 1);
    for_each(executors, |(adapter, executor)| {
        let got = run(executor, case, 1);
        for (what, (got, expected)) in ["step", "result", "counts"].iter().zip(got.iter().zip(&expected)) {
            let words = |b: &[u8]| bytemuck::cast_slice::<u8, u32>(b).to_vec();
            assert_eq!(words(got), words(expected), "{name}: {what} on {adapter}");
        }
    });
}

#[test]
fn sampling() {
    let mut executors = executors();
    let mut numbers = Numbers::new(5);
    for (i, v) in [10u32, 257, 1000, 4099].into_iter().enumerate() {
        // Steps of 1/8 make ties, and keep sums exact enough that no cut depends on rounding.
        let logits: Vec<f32> = (0..v).map(|_| (numbers.unit() * 60.0).floor() as f32 / 8.0).collect();
        let counts: Vec<u32> = (0..v).map(|_| [0, 0, 1, 3, 1 << 31][numbers.bits() as usize % 5]).collect();
        for round in 0..8u32 {
            let odd = round % 2 == 1;
            let mut state = SamplerState {
                temperature: [0.0, 0.6, 1.0, 1.5][round as usize % 4],
                top_k: [0, 5, 40, 0][(round / 2) as usize],
                top_p: [0.95, 1.0, 0.5, 0.9][(round / 2) as usize],
                min_p: if round == 7 { 0.05 } else { 0.0 },
                repetition_penalty: if odd { 1.3 } else { 1.0 },
                presence_penalty: if round == 6 { 0.7 } else { 0.0 },
                frequency_penalty: if round == 5 { 0.2 } else { 0.0 },
                seed: round * 7919 + 13,
                n_vocab: v - 2,
                n_stop: 3,
                max_tokens: 40 + round,
                think_open: 1,
                think_close: 2,
                think_budget: 20,
                ..SamplerState::default()
            };
            state.stop_ids[..3].copy_from_slice(&[0, 3, 4]);
            let step = Step {
                pos: 17,
                n_tokens: 1 + u32::from(odd),
                n_generated: 16 + round,
                thinking: [0, 1, 22][round as usize % 3],
            };
            let case = Sampling { logits: logits.clone(), counts: counts.clone(), state, step };
            check_sampling(&format!("V {v}, case {i}, round {round}"), &case, &mut executors);
        }
        let state = SamplerState { n_vocab: v, ..SamplerState::default() };
        let ended = Sampling { logits: logits.clone(), counts, state, step: step(9, 0) };
        check_sampling("after the end nothing moves", &ended, &mut executors);
    }
}

/// What a cut may be among is few, or many, or all the same: lists fit, or are filled by later passes, or never.
#[test]
fn sampling_of_flat_and_peaked_scores() {
    let mut executors = executors();
    let mut numbers = Numbers::new(6);
    let mut eighths = |v: u32, range: f64| -> Vec<f32> {
        (0..v).map(|_| (numbers.unit() * range * 8.0).floor() as f32 / 8.0).collect()
    };
    let below = |mut scores: Vec<f32>, from: usize, by: f32| {
        scores[from..].iter_mut().for_each(|s| *s -= by);
        let third = scores.len() / 3;
        scores.rotate_right(third);
        scores
    };
    let never = f32::NEG_INFINITY;
    let cases = [
        ("one id", vec![0.5]),
        ("all the same", vec![-2.0; 3001]),
        ("two values", (0..3001).map(|id| (id % 3 / 2) as f32 * 4.0).collect()),
        ("few that are possible", (0..3001).map(|id| if id % 600 == 3 { id as f32 / 512.0 } else { never }).collect()),
        ("flat", eighths(20_011, 7.0)),
        ("flat below nought", below(eighths(20_011, 3.0), 0, 40.0)),
        ("wide", eighths(20_011, 60.0)),
        ("few near, many far below", below(eighths(151_936, 8.0), 30, 14.0)),
        ("three near, many out of reach", below(eighths(151_936, 8.0), 3, 100.0)),
        ("more near than are listed", below(eighths(151_936, 8.0), 5000, 30.0)),
    ];
    for (name, logits) in cases {
        let v = logits.len() as u32;
        for (temperature, top_k, top_p, min_p) in [
            (0.5, 0, 0.95, 0.0),
            (1.0, 40, 1.0, 0.0),
            (1.0, 40, 0.5, 0.0),
            (2.0, 1500, 0.75, 0.0),
            (1.0, 0, 0.25, 0.1),
            (1.0, v, 1.0, 0.25),
        ] {
            let seed = v ^ top_k ^ 11;
            let state = SamplerState { temperature, top_k, top_p, min_p, seed, n_vocab: v, ..SamplerState::default() };
            let state = SamplerState { repetition_penalty: 1.0, max_tokens: 99, think_budget: u32::MAX, ..state };
            let state = SamplerState { think_open: u32::MAX, think_close: u32::MAX, ..state };
            let case = Sampling { logits: logits.clone(), counts: vec![0; v as usize], state, step: step(9, 1) };
            let name = format!("{name}: temperature {temperature}, top-k {top_k}, top-p {top_p}, min-p {min_p}");
            check_sampling(&name, &case, &mut executors);
        }
    }
}

#[test]
fn nothing_runs_after_the_end() {
    // With no rows left every kernel returns: the output keeps its zeros.
    let case = Matmul { dtype: DType::Q4_0, t_max: 1, t: 0, n: 9, k: 64, then: Then::Bias };
    for (adapter, executor) in &mut executors() {
        let got = run(executor, &case, 1);
        assert!(got[0].iter().all(|&b| b == 0), "{adapter} wrote after the end");
    }
}
