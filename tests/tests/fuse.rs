//! Joined ops against the ops that they stand for: op by op, and in whole models.

use aloud_cpu::CpuExecutor;
use aloud_engine::EngineOptions;
use aloud_format::DType;
use aloud_gpu::GpuOptions;
use aloud_ops::{Elem, Executor, GqaProject, Op, PROJECT_QUERY_BINDINGS, Recording, RopePairing, Step, Tensor, fuse};
use aloud_tests::places::{AnyEngine, Place, gpus, greedy};
use aloud_tests::scenarios::gqa::Heads;
use aloud_tests::scenarios::mla::{Absorbed, EPS, Layer, ODD};
use aloud_tests::tiny::{Family, SHORT, Tiny};
use aloud_tests::{FORMATS, Numbers, Scenario, check, executors, expose, floats, for_each, opened, run, weight};

/// f32 sums in another order than the oracle's f64 ones; values differ by up to 40 times in size.
const SUMS: f64 = 3e-6;

/// A norm and what follows it.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// One weight, with a bias or without.
    Matmul { bias: bool },
    /// Weights of unlike formats side by side, with a bias or without.
    Stacked { bias: bool },
    /// Gate, up and SwiGLU; without the norm if the rows come as they are.
    Gate { norm: bool },
}

struct Block {
    dtype: DType,
    then: Then,
    t_max: u32,
    t: u32,
    n: u32,
    d: u32,
}

impl Block {
    fn recording<E: Executor>(&self, e: &mut E, at: Tensor) -> Recording {
        let &Block { dtype, then, t_max, n, d, .. } = self;
        let mut numbers = Numbers::new(u64::from(n * 31 + d));
        let x = floats(e, &[t_max, d], &numbers.with_outliers((t_max * d) as usize));
        let norm = floats(e, &[d], &numbers.with_outliers(d as usize));
        let mut matrix = |e: &mut E, dtype, n| weight(e, dtype, n, d, &numbers.matrix(dtype, n, d));
        let mut rec = Recording::new(at, t_max);
        match then {
            Then::Matmul { bias } => {
                let w = matrix(e, dtype, n);
                let bias = bias.then(|| floats(e, &[n], &numbers.with_outliers(n as usize)));
                let h = aloud_ops::rms_norm(&mut rec, x, norm, 1e-5);
                aloud_ops::matmul(&mut rec, "matmul", h, w, bias);
            }
            Then::Stacked { bias } => {
                let weights = [matrix(e, dtype, n), matrix(e, DType::Q8_0, 5), matrix(e, DType::F32, 34)];
                let bias = bias.then(|| floats(e, &[n + 39], &numbers.with_outliers(n as usize + 39)));
                let h = aloud_ops::rms_norm(&mut rec, x, norm, 1e-5);
                aloud_ops::matmul_stacked(&mut rec, "stacked", h, &weights, bias);
            }
            Then::Gate { norm: normed } => {
                let weights = [matrix(e, dtype, n), matrix(e, dtype, n)];
                let h = if normed { aloud_ops::rms_norm(&mut rec, x, norm, 1e-5) } else { x };
                let [gate, up] = weights.map(|w| aloud_ops::matmul(&mut rec, "matmul", h, w, None));
                aloud_ops::swiglu(&mut rec, gate, up);
            }
        }
        rec
    }
}

impl Scenario for Block {
    fn step(&self) -> Step {
        Step { n_tokens: self.t, ..Step::default() }
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let mut rec = self.recording(e, at);
        let y = expose(e, &mut rec);
        (rec, vec![y])
    }
}

/// The same, joined to so many ops before it is run.
struct Fused<S>(S, usize);

impl<S: Scenario> Scenario for Fused<S> {
    fn step(&self) -> Step {
        self.0.step()
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let (rec, outputs) = self.0.record(e, at);
        let fused = fuse(&rec, u32::MAX, PROJECT_QUERY_BINDINGS);
        assert_eq!(fused.commands.len(), self.1, "{:?}", fused.commands);
        (fused, outputs)
    }
}

const ALL: [Then; 6] = [
    Then::Matmul { bias: false },
    Then::Matmul { bias: true },
    Then::Stacked { bias: false },
    Then::Stacked { bias: true },
    Then::Gate { norm: true },
    Then::Gate { norm: false },
];

#[test]
fn joined_ops_compute_what_the_single_ones_do() {
    let (mut joined, mut single) = (CpuExecutor::new(), CpuExecutor::new());
    for then in ALL {
        for t in [1, 3] {
            let block = |t| Block { dtype: DType::Q4_1, then, t_max: 3, t, n: 33, d: 256 };
            assert_eq!(
                run(&mut joined, &Fused(block(t), 1), 1),
                run(&mut single, &block(t), 1),
                "{then:?} of {t} rows"
            );
        }
    }
}

#[test]
fn joined_kernels() {
    let mut executors = executors();
    for (i, dtype) in FORMATS.into_iter().enumerate() {
        for (j, then) in ALL.into_iter().enumerate() {
            // A bias at one format in two, stacks at one in three: drivers for the CPU take long to compile each.
            let left_out = match then {
                Then::Matmul { bias } => bias == (i % 2 == 0),
                Then::Stacked { bias } => i % 3 != 0 || bias == (i % 2 == 0),
                Then::Gate { .. } => false,
            };
            if left_out {
                continue;
            }
            let (n, d) = [(32, 256), (66, 768), (7, 512)][(i + j) % 3];
            let block = Block { dtype, then, t_max: 1, t: 1, n, d };
            check(&format!("{then:?} {dtype} [{n}, {d}]"), &block, 1, SUMS, &mut executors);
        }
    }
    // Rows that are joined where they are multiplied one by one, and are not elsewhere; narrow ones.
    for then in ALL {
        for (t_max, t, n, d) in [(5, 4, 34, 96), (1, 1, 3, 32)] {
            let block = Block { dtype: DType::Q8_0, then, t_max, t, n, d };
            check(&format!("{then:?} {t} of {t_max} x [{n}, {d}]"), &block, 1, SUMS, &mut executors);
        }
    }
}

#[test]
fn heads_and_attention() {
    let (mut oracle, mut executors) = (CpuExecutor::new(), executors());
    for (shape, pos) in [([9, 3, 64], 300), ([4, 4, 32], 0), ([28, 4, 128], 127), ([8, 1, 8], 128), ([12, 1, 16], 40)] {
        for (elem, qk_norm, pairing) in [
            (Elem::F16, false, RopePairing::Halves),
            (Elem::F32, false, RopePairing::Interleaved),
            (Elem::F32, true, RopePairing::Halves),
        ] {
            let [n_heads, n_kv_heads, head_dim] = shape;
            let params = GqaProject { n_heads, n_kv_heads, head_dim, pairing, eps: 1e-5, block_tokens: 32 };
            let case = Heads { params, elem, qk_norm, pos, t_max: 1, t: 1, queries: false, attend: true };
            let at = oracle.create_state("step", Elem::U32, &[4]).expect("fits");
            let joined = fuse(&case.record(&mut oracle, at).0, 1, 8).commands.len();
            assert_eq!(joined, if n_heads / n_kv_heads > 8 { 2 } else { 1 });
            let name = format!("heads {shape:?} at {pos} {elem:?} {pairing:?}, norms: {qk_norm}");
            // Large scores: an error of 1e-6 in one is an error of 1e-5 in its weight.
            check(&name, &case, pos + 1, 2e-5, &mut executors);
        }
    }
}

#[test]
fn latents_and_queries() {
    for (q_lora, elem) in [(None, Elem::F32), (Some(64), Elem::F16)] {
        let layer = Layer { q_lora, elem, ..Layer::new(ODD, (40, 3, 2)) };
        let absorbed = || Absorbed { layer, attend: true };
        let mut oracle = CpuExecutor::new();
        let at = oracle.create_state("step", Elem::U32, &[4]).expect("fits");
        let (single, _) = absorbed().record(&mut oracle, at);
        let kinds = |rows, bindings| fuse(&single, rows, bindings).commands.iter().map(|c| c.op).collect::<Vec<_>>();
        let project_query = Op::ProjectQuery { eps: EPS, mla: layer.mla() };
        let product = q_lora.map(|_| Op::NormMatmul { eps: EPS });
        let expected: Vec<Op> = product.into_iter().chain([project_query, Op::MlaAttention(layer.mla())]).collect();
        assert_eq!(kinds(3, PROJECT_QUERY_BINDINGS), expected);
        assert_eq!(kinds(3, 8).len(), expected.len() + 1, "a device that binds no more");
        assert_eq!(kinds(2, PROJECT_QUERY_BINDINGS).len(), expected.len() + 1, "too many rows");
        let joined = run(&mut CpuExecutor::new(), &Fused(absorbed(), expected.len()), 42);
        assert_eq!(joined, run(&mut CpuExecutor::new(), &absorbed(), 42), "{q_lora:?} {elem:?}");
    }
}

#[test]
fn joined_kernels_in_parts() {
    // Weights larger than a binding are cut by rows; the cuts must not show.
    for small in opened(GpuOptions { max_binding_bytes: Some(16 << 10), ..GpuOptions::default() }) {
        let mut small = [small];
        for then in ALL {
            let block = Block { dtype: DType::Q4_1, then, t_max: 1, t: 1, n: 301, d: 288 };
            check(&format!("{then:?} in parts"), &block, 1, SUMS, &mut small);
        }
    }
}

#[test]
fn what_others_see_or_change_is_left_alone() {
    let mut cpu = CpuExecutor::new();
    let at = cpu.create_state("step", Elem::U32, &[4]).expect("fits");
    let block = Block { dtype: DType::F32, then: Then::Matmul { bias: false }, t_max: 2, t: 2, n: 32, d: 32 };
    let kinds = |rec: &Recording| fuse(rec, 2, 10).commands.iter().map(|c| c.op).collect::<Vec<_>>();
    let rec = block.recording(&mut cpu, at);
    assert_eq!(kinds(&rec), [Op::NormMatmul { eps: 1e-5 }]);
    assert_eq!(fuse(&rec, 1, 10).commands, rec.commands, "too many rows");

    // Somebody else reads the normed rows.
    let mut read = rec.clone();
    let h = read.commands[0].outputs[0];
    aloud_ops::last_row(&mut read, h);
    assert_eq!(kinds(&read).len(), 3);

    // They outlive the recording.
    let mut kept = rec.clone();
    let state = cpu.create_state("kept", h.elem, h.shape()).expect("fits");
    kept.redirect(h, state);
    assert_eq!(kinds(&kept).len(), 2);

    // What is normalised changes before it is multiplied.
    let mut changed = rec.clone();
    let (x, w) = (changed.commands[0].inputs[0], changed.commands[1].inputs[1]);
    aloud_ops::matmul_add(&mut changed, "add", x, w, x);
    changed.commands.swap(1, 2);
    assert_eq!(kinds(&changed).len(), 3);

    // Gate and up that are looked at.
    let block = Block { then: Then::Gate { norm: true }, ..block };
    let mut rec = block.recording(&mut cpu, at);
    assert_eq!(kinds(&rec), [Op::GateUp { eps: Some(1e-5) }]);
    let up = rec.commands[2].outputs[0];
    aloud_ops::last_row(&mut rec, up);
    let (norm, gate) = (Op::NormMatmul { eps: 1e-5 }, Op::Swiglu);
    assert_eq!(kinds(&rec), [norm, norm, gate, Op::LastRow]);
}

/// The place with every op by itself.
fn single(place: &Place) -> Place {
    let Place::Gpu { name, index, options } = place else { unreachable!("the oracle joins nothing") };
    Place::Gpu { name: name.clone(), index: *index, options: GpuOptions { fused: false, ..*options } }
}

/// Dispatches of a layer: by dense layers, then by those with experts.
fn dispatches(family: Family) -> [usize; 2] {
    match family {
        Family::Llama | Family::Qwen2 | Family::Qwen3 => [6, 0],
        // Where queries have a latent, it has a projection more.
        Family::DeepseekV2Lite => [7, 9],
        Family::DeepseekV2 | Family::DeepseekV3 => [8, 10],
    }
}

#[test]
fn joined_models_say_the_same_in_fewer_dispatches() {
    for family in Family::ALL {
        let tiny = Tiny::new(family);
        let model = tiny.gguf(DType::Q8_0, 1);
        let options = || EngineOptions { n_ctx: 128, chunks: vec![32], ..EngineOptions::default() };
        for_each(&mut gpus(), |place| {
            let [joined, single] = [place.clone(), single(place)].map(|place| {
                let mut engine = place.engine(&model, options());
                let tokens = engine.generate(&greedy(&SHORT, 24)).0;
                let AnyEngine::Gpu(engine) = engine else { unreachable!("a GPU") };
                let config = engine.config();
                let experts = (0..config.num_hidden_layers).filter(|&i| config.experts_of(i).is_some()).count();
                let dense = config.num_hidden_layers as usize - experts;
                let foretold = config.decode_dispatches() as usize;
                let figures = engine.plans().decode.figures(1, 9);
                (tokens, figures, [dense, experts], foretold, config.latent.is_some())
            });
            let [dense, experts] = joined.2;
            println!("{family:?} on {place}: {} dispatches, {}", joined.1.dispatches, single.1.dispatches);
            assert_eq!(joined.0, single.0, "{family:?} on {place}");
            // A device that binds no more than 8 buffers caches latents by themselves.
            let few_bindings = matches!(place, Place::Gpu { options, .. } if !options.subgroups);
            let apart = usize::from(few_bindings && joined.4);
            let [per_dense, per_experts] = dispatches(family).map(|n| n + apart);
            assert_eq!(joined.1.dispatches, dense * per_dense + experts * per_experts + 4, "{family:?} on {place}");
            let foretold = joined.3 + (dense + experts) * apart;
            assert_eq!(foretold, joined.1.dispatches, "what is foretold of {family:?}");
            assert_eq!(joined.1.cost.weight_bytes, single.1.cost.weight_bytes, "{family:?} on {place}");
        });
    }
}
