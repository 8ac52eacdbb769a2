//! One small recording for each kind of kernel.

mod deepseek;

use aloud_gpu::Tile;
use aloud_ops::{
    Attention, DType, Elem, Executor, GqaProject, GroupScore, KvCache, Recording, RopePairing, Route, SampleRow,
    SamplerBuffers, SamplerState, Scoring, Step, Tensor,
};
use aloud_tests::scenarios::drafts::{Lookup, Predict, Verify};
use aloud_tests::scenarios::gqa::Heads;
use aloud_tests::scenarios::mla::{Absorbed, Project};
use aloud_tests::scenarios::mla_expanded::Expanded;
use aloud_tests::{Numbers, Scenario, expose, expose_all, fill_cache, floats, integers, weight, write_cache};

/// f32 sums in another order than the oracle's f64 ones; values differ by up to 40 times in size.
const SUMS: f64 = 3e-6;
/// Large scores: an error of 1e-6 in one is an error of 1e-5 in its weight.
const SCORES: f64 = 2e-5;
/// One rounding apart at most.
const ROUNDING: f64 = 1e-7;

/// How results are compared.
#[derive(Clone, Copy)]
pub enum Compare {
    /// By the relative error of the whole.
    Floats,
    /// By the number of bytes that differ.
    Bytes,
}

/// A recording and how exact it has to be.
pub struct Case {
    /// Its kernels.
    pub name: String,
    /// The largest error.
    pub tolerance: f64,
    /// What an error is.
    pub compare: Compare,
    kind: Kind,
}

enum Kind {
    Embed(DType),
    /// Rows, and how many of them are real.
    Matmul {
        dtype: DType,
        t_max: u32,
        t: u32,
        bias: bool,
    },
    RmsNorm,
    Heads(Heads),
    Attention {
        elem: Elem,
        pos: u32,
        t_max: u32,
        t: u32,
    },
    Swiglu,
    MatmulAdd,
    LastRow,
    Router,
    Route(Route),
    /// Rows there may be.
    Experts(u32),
    Sampler(SamplerState),
    MlaProject(Project),
    MlaAbsorbed(Absorbed),
    MlaExpanded(Expanded),
    Lookup(Lookup),
    Predict(Predict),
    Verify(Verify),
}

/// Products of several rows by one tile. Halves are rounded to on both sides: a device may do so towards zero.
pub fn tiles(tile: Tile) -> Vec<Case> {
    let formats = [DType::F16, DType::BF16, DType::Q4_1, DType::Q8_0, DType::Q4_K, DType::Q6_K, DType::F8_B32];
    let case = |dtype| Case {
        name: format!("matmul {dtype} by {}", tile.name()),
        tolerance: if tile == Tile::Half { 1e-3 } else { SUMS },
        compare: Compare::Floats,
        kind: Kind::Matmul { dtype, t_max: 5, t: 4, bias: true },
    };
    formats.map(case).into()
}

/// Everything, as it is multiplied by default.
pub fn all() -> Vec<Case> {
    let floats = |name: String, tolerance, kind| Case { name, tolerance, compare: Compare::Floats, kind };
    let exact = |name: &str, kind| Case { name: name.to_owned(), tolerance: 0.0, compare: Compare::Bytes, kind };
    let matvec = |dtype| floats(format!("matvec {dtype}"), SUMS, Kind::Matmul { dtype, t_max: 1, t: 1, bias: false });
    let mut cases: Vec<Case> =
        [DType::F16, DType::Q4_1, DType::Q8_0, DType::Q4_K, DType::Q6_K, DType::F8_B32].map(matvec).into();
    let matmul = |dtype| Kind::Matmul { dtype, t_max: 5, t: 4, bias: true };
    let greedy = SamplerState { n_vocab: 998, ..SamplerState::default() };
    let drawn = SamplerState {
        temperature: 0.6,
        top_k: 40,
        top_p: 0.95,
        repetition_penalty: 1.3,
        presence_penalty: 0.7,
        seed: 7932,
        ..greedy
    };
    cases.extend([
        floats("embed Q4_1".to_owned(), ROUNDING, Kind::Embed(DType::Q4_1)),
        floats("matmul Q4_1, add_bias".to_owned(), SUMS, matmul(DType::Q4_1)),
        floats("matmul F8_B32, add_bias".to_owned(), SUMS, matmul(DType::F8_B32)),
        floats("rms_norm".to_owned(), SUMS, Kind::RmsNorm),
        floats("gqa_project with norms".to_owned(), SUMS, Kind::Heads(Heads { queries: true, attend: false, ..HEADS })),
        floats(
            "project_attention, attention_merge with norms and an f32 cache".to_owned(),
            SCORES,
            Kind::Heads(Heads { t_max: 1, t: 1, ..HEADS }),
        ),
        floats(
            "project_attention, attention_merge with an f16 cache: over two splits".to_owned(),
            SCORES,
            Kind::Heads(Heads { qk_norm: false, elem: Elem::F16, pos: 150, t_max: 1, t: 1, ..HEADS }),
        ),
        floats(
            "gqa_project, attention, attention_merge with an f16 cache: a chunk".to_owned(),
            SCORES,
            Kind::Attention { elem: Elem::F16, pos: 20, t_max: 4, t: 3 },
        ),
        floats(
            "gqa_project, attention, attention_merge with an f32 cache: a step over two splits".to_owned(),
            SCORES,
            Kind::Attention { elem: Elem::F32, pos: 150, t_max: 1, t: 1 },
        ),
        // e^-z of a software driver is a polynomial.
        floats("swiglu".to_owned(), SUMS, Kind::Swiglu),
        floats("matmul_add Q8_0".to_owned(), SUMS, Kind::MatmulAdd),
        exact("last_row", Kind::LastRow),
        floats("router F32".to_owned(), SUMS, Kind::Router),
        exact("route, route_sort as DeepSeek-V2 does", Kind::Route(ROUTES[0])),
        exact("route with a bias, route_sort as DeepSeek-V3 does", Kind::Route(ROUTES[1])),
        floats("experts_gate_up, experts_down Q8_0".to_owned(), SUMS, Kind::Experts(4)),
        floats("grouped_matmul, swiglu, experts_combine Q8_0".to_owned(), SUMS, Kind::Experts(12)),
        exact("penalize, sample: the most likely token", Kind::Sampler(greedy)),
        exact("penalize, sample: a draw with penalties, top-k and top-p", Kind::Sampler(drawn)),
    ]);
    cases.extend(deepseek::cases());
    cases
}

const ROUTES: [Route; 2] = [
    Route {
        scoring: Scoring::Softmax,
        num_experts_per_tok: 6,
        n_group: 8,
        topk_group: 3,
        group_score: GroupScore::Max,
        norm_topk_prob: false,
        routed_scaling_factor: 16.0,
        n_shared: 2,
    },
    Route {
        scoring: Scoring::Sigmoid,
        num_experts_per_tok: 8,
        n_group: 8,
        topk_group: 4,
        group_score: GroupScore::TopTwoSum,
        norm_topk_prob: true,
        routed_scaling_factor: 2.5,
        n_shared: 1,
    },
];

fn step(pos: u32, n_tokens: u32) -> Step {
    Step { pos, n_tokens, ..Step::default() }
}

/// Heads with norms behind five positions.
const HEADS: Heads = Heads {
    params: GqaProject {
        n_heads: 3,
        n_kv_heads: 1,
        head_dim: 64,
        pairing: RopePairing::Halves,
        eps: 1e-5,
        block_tokens: 32,
    },
    elem: Elem::F32,
    qk_norm: true,
    pos: 5,
    t_max: 4,
    t: 3,
    queries: false,
    attend: true,
};

impl Scenario for Case {
    fn step(&self) -> Step {
        match self.kind {
            Kind::Matmul { t, .. } => step(0, t),
            Kind::Attention { pos, t, .. } => step(pos, t),
            Kind::Sampler(_) => Step { n_generated: 16, ..step(17, 1) },
            Kind::Heads(case) => case.step(),
            Kind::MlaProject(ref case) => case.step(),
            Kind::MlaAbsorbed(ref case) => case.step(),
            Kind::MlaExpanded(ref case) => case.step(),
            Kind::Lookup(ref case) => case.step(),
            Kind::Predict(ref case) => case.step(),
            Kind::Verify(ref case) => case.step(),
            _ => step(5, 3),
        }
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let mut numbers = Numbers::new(11);
        let mut rows =
            |e: &mut E, shape: &[u32]| floats(e, shape, &numbers.with_outliers(shape.iter().product::<u32>() as usize));
        let mut rec = Recording::new(at, 4);
        match self.kind {
            Kind::Embed(dtype) => {
                let tokens = integers(e, &[4], &[0, 12, 3, 2]);
                let table = weight(e, dtype, 13, 96, &Numbers::new(7).blocks(dtype, 13 * 96));
                aloud_ops::embed(&mut rec, tokens, table);
            }
            Kind::Matmul { dtype, t_max, bias, .. } => {
                rec = Recording::new(at, t_max);
                let (n, k) = (67, 512);
                let x = rows(e, &[t_max, k]);
                let bias = bias.then(|| rows(e, &[n]));
                let w = weight(e, dtype, n, k, &Numbers::new(31).matrix(dtype, n, k));
                aloud_ops::matmul(&mut rec, "matmul", x, w, bias);
            }
            Kind::RmsNorm => {
                let (x, scale) = (rows(e, &[4, 576]), rows(e, &[576]));
                aloud_ops::rms_norm(&mut rec, x, scale, 1e-5);
            }
            Kind::Heads(case) => return case.record(e, at),
            Kind::Attention { elem, pos, t_max, .. } => return attend(e, at, elem, pos, t_max),
            Kind::Swiglu => {
                let (a, b) = (rows(e, &[4, 65]), rows(e, &[4, 65]));
                aloud_ops::swiglu(&mut rec, a, b);
            }
            Kind::MatmulAdd => {
                let (x, into) = (rows(e, &[4, 96]), rows(e, &[4, 13]));
                let w = weight(e, DType::Q8_0, 13, 96, &Numbers::new(7).blocks(DType::Q8_0, 13 * 96));
                aloud_ops::matmul_add(&mut rec, "matmul_add", x, w, into);
                return (rec, vec![into]);
            }
            Kind::LastRow => {
                let x = rows(e, &[4, 65]);
                aloud_ops::last_row(&mut rec, x);
            }
            Kind::Router => {
                let (x, norm) = (rows(e, &[4, 96]), rows(e, &[96]));
                let w = weight(e, DType::F32, 13, 96, &Numbers::new(7).blocks(DType::F32, 13 * 96));
                let (h, logits) = aloud_ops::router(&mut rec, x, norm, 1e-6, w);
                let outputs = expose_all(e, &mut rec, &[h, logits]);
                return (rec, outputs);
            }
            Kind::Route(params) => return route(e, at, params),
            Kind::Experts(t_max) => return experts(e, at, t_max),
            Kind::Sampler(state) => return sample(e, at, &state),
            Kind::MlaProject(ref case) => return case.record(e, at),
            Kind::MlaAbsorbed(ref case) => return case.record(e, at),
            Kind::MlaExpanded(ref case) => return case.record(e, at),
            Kind::Lookup(ref case) => return case.record(e, at),
            Kind::Predict(ref case) => return case.record(e, at),
            Kind::Verify(ref case) => return case.record(e, at),
        }
        let y = expose(e, &mut rec);
        (rec, vec![y])
    }
}

/// Fills a cache up to `pos` by the op that fills it in life, then attends to it.
fn attend<E: Executor>(e: &mut E, at: Tensor, elem: Elem, pos: u32, t_max: u32) -> (Recording, Vec<Tensor>) {
    let params = Attention { n_heads: 9, n_kv_heads: 3, head_dim: 64, scale: 0.04, block_tokens: 32 };
    let (width, slots) = (3 * 64, 160u32);
    let mut numbers = Numbers::new(5);
    // The blocks lie in reverse, so that a kernel that ignores the table is found out.
    let table: Vec<u32> = (0..slots / params.block_tokens).rev().collect();
    let side = |e: &mut E| e.create_state("cache", elem, &[slots, width]).expect("fits");
    let cache = KvCache {
        k: side(e),
        v: side(e),
        block_table: integers(e, &[table.len() as u32], &table),
        block_tokens: params.block_tokens,
    };
    let [k, v] = [(); 2].map(|()| numbers.with_outliers((pos * width) as usize));
    fill_cache(e, &k, &v, &cache);

    let mut rec = Recording::new(at, t_max);
    let [k, v] = [(); 2].map(|()| numbers.with_outliers((t_max * width) as usize));
    write_cache(e, &mut rec, pos, &k, &v, &cache);
    let q = floats(e, &[t_max, 9 * 64], &numbers.with_outliers((t_max * 9 * 64) as usize));
    aloud_ops::attention(&mut rec, q, &cache, params);
    let y = expose(e, &mut rec);
    (rec, vec![y])
}

fn route<E: Executor>(e: &mut E, at: Tensor, params: Route) -> (Recording, Vec<Tensor>) {
    let mut numbers = Numbers::new(11);
    let logits = floats(e, &[12, 64], &numbers.with_outliers(12 * 64));
    let bias = floats(e, &[64], &numbers.with_outliers(64));
    let mut rec = Recording::new(at, 12);
    let bias = (params.scoring == Scoring::Sigmoid).then_some(bias);
    let routing = aloud_ops::route(&mut rec, logits, bias, params);
    let outputs = expose_all(e, &mut rec, &[routing.ids, routing.weights, routing.order]);
    (rec, outputs)
}

fn experts<E: Executor>(e: &mut E, at: Tensor, t_max: u32) -> (Recording, Vec<Tensor>) {
    let mut numbers = Numbers::new(11);
    let mut rows = |e: &mut E, n: u32| floats(e, &[t_max, n], &numbers.with_outliers((t_max * n) as usize));
    let (h, into, logits) = (rows(e, 96), rows(e, 96), rows(e, 8));
    let mut stack = |e: &mut E, shape: [u32; 3]| {
        let stack = e.create_weight("stack", DType::Q8_0, &shape).expect("fits");
        let blocks = numbers.blocks(DType::Q8_0, 10 * 64 * 96);
        e.write_weight(stack, 0, &blocks).expect("is written");
        stack
    };
    let [gate, up, down] = [[10, 64, 96], [10, 64, 96], [10, 96, 64]].map(|shape| stack(e, shape));
    let mut rec = Recording::new(at, t_max);
    let params = Route { num_experts_per_tok: 2, n_group: 1, topk_group: 1, ..ROUTES[0] };
    let routing = aloud_ops::route(&mut rec, logits, None, params);
    let act = aloud_ops::experts_gate_up(&mut rec, h, gate, up, &routing);
    aloud_ops::experts_down(&mut rec, into, act, down, &routing);
    (rec, vec![into])
}

fn sample<E: Executor>(e: &mut E, at: Tensor, state: &SamplerState) -> (Recording, Vec<Tensor>) {
    let v = 1000;
    let mut numbers = Numbers::new(5);
    // Steps of 1/8 make ties, and keep sums exact enough that no cut depends on rounding.
    let values: Vec<f32> = (0..v).map(|_| (numbers.unit() * 60.0).floor() as f32 / 8.0).collect();
    let counts: Vec<u32> = (0..v).map(|_| [0, 0, 1, 3, 1 << 31][numbers.bits() as usize % 5]).collect();
    let logits = floats(e, &[1, v], &values);
    let buffers = SamplerBuffers::create(e, v, 4).expect("fits");
    e.write_state(buffers.sampler, 0, bytemuck::bytes_of(state));
    e.write_state(buffers.counts, 0, bytemuck::cast_slice(&counts));
    let mut rec = Recording::new(at, 4);
    aloud_ops::penalize(&mut rec, logits, &buffers, SampleRow::default());
    aloud_ops::sample(&mut rec, &buffers, SampleRow::default());
    (rec, vec![at, buffers.result, buffers.counts])
}
