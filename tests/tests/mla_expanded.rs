//! Latent attention over expanded keys and values against its oracle, on every adapter, with and without subgroups.

use aloud_cpu::CpuExecutor;
use aloud_format::DType;
use aloud_gpu::GpuOptions;
use aloud_ops::{Elem, Executor};
use aloud_tests::scenarios::mla_expanded::Expanded;
use aloud_tests::{Scenario, check, executors, integers, opened, relative_error, run};

/// Scores of some units of e: an error of 1e-6 in one is an error of 1e-5 in its weight.
const WEIGHTS: f64 = 2e-5;

fn check_all(cases: &[Expanded]) {
    let mut executors = executors();
    for case in cases {
        check(&case.name(), case, case.n_kv(), WEIGHTS, &mut executors);
    }
}

#[test]
fn sizes_and_positions() {
    use Elem::{F16, F32};
    let lite = |h| [h, 512, 64, 128, 128];
    let tiny = [4, 64, 16, 32, 32];
    check_all(&[
        Expanded::new(lite(16), F16, DType::Q8_0, true, [31, 20, 17]),
        Expanded::new(lite(4), F16, DType::Q5_0, false, [1100, 33, 33]),
        Expanded::new(lite(4), F32, DType::BF16, true, [300, 16, 16]),
        Expanded::new(tiny, F32, DType::F32, true, [0, 40, 40]),
        Expanded::new(tiny, F32, DType::F32, false, [1100, 1, 1]),
        Expanded::new(tiny, F16, DType::Q8_0, false, [700, 512, 512]),
        Expanded::new(tiny, F16, DType::Q8_0, true, [511, 3, 2]),
        Expanded::new([5, 96, 24, 40, 56], F16, DType::BF16, true, [300, 17, 16]),
        Expanded::new([4, 256, 32, 64, 96], F32, DType::Q4_K, true, [31, 5, 3]),
        Expanded::new([4, 128, 16, 64, 64], F16, DType::F8_B32, true, [31, 5, 3]),
        Expanded::new([7, 32, 48, 96, 8], F16, DType::BF16, false, [1100, 130, 100]),
        Expanded::new([128, 32, 16, 32, 32], F16, DType::Q4_0, true, [70, 9, 9]),
    ]);
}

#[test]
fn formats_of_transposed_keys() {
    // Rows of the transposed keys are short: formats with blocks of 256 values cannot hold them.
    use DType::{BF16, F16, F32, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
    let mut cases = Vec::new();
    for dtype in [F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0] {
        cases.push(Expanded::new([4, 64, 16, 64, 32], Elem::F16, dtype, false, [150, 4, 4]));
    }
    check_all(&cases);
}

#[test]
fn small_bindings() {
    // Weights in parts of one to three heads, keys and values for 128 tokens at a time.
    for subgroups in [true, false] {
        let options = GpuOptions { max_binding_bytes: Some(420 << 10), subgroups, ..GpuOptions::default() };
        for small in opened(options) {
            let mut small = [small];
            for joint in [true, false] {
                let case = Expanded::new([4, 512, 32, 64, 64], Elem::F16, DType::F32, joint, [300, 5, 5]);
                check(&case.name(), &case, case.n_kv(), WEIGHTS, &mut small);
            }
        }
    }
}

/// What the paper says, one pair of row and position after the other.
fn naive(case: &Expanded) -> Vec<f32> {
    let m = &case.mla;
    let [h, r, p, n, v] = [m.num_attention_heads, m.kv_lora_rank, m.qk_rope_head_dim, m.qk_nope_head_dim, m.v_head_dim]
        .map(|d| d as usize);
    let (weights, latents, q, table) = (case.weights(), case.latents(), case.q(), case.table());
    let up = |head: usize, row: usize, s: usize| -> f64 {
        let w = &weights[0][(head * (n + v) + row) * r..][..r];
        w.iter().zip(&latents[s * (r + p)..]).map(|(&w, &c)| f64::from(w) * f64::from(c)).sum()
    };
    let mut out = Vec::new();
    for t in 0..case.step.n_tokens as usize {
        let at = case.step.pos as usize + t;
        for head in 0..h {
            let q = &q[t * case.q_width() as usize + head * (n + p)..][..n + p];
            let score = |s: usize| {
                let k_rope = &latents[s * (r + p) + r..][..p];
                let nope: f64 = (0..n).map(|d| f64::from(q[d]) * up(head, d, s)).sum();
                let rope: f64 = (0..p / 2)
                    .map(|i| {
                        let [cos, sin] = [0, 1].map(|j| f64::from(table[at * p + 2 * i + j]));
                        let [x, y] = [0, 1].map(|j| f64::from(q[n + 2 * i + j]));
                        let [kx, ky] = [0, 1].map(|j| f64::from(k_rope[2 * i + j]));
                        (x * cos - y * sin) * kx + (x * sin + y * cos) * ky
                    })
                    .sum();
                ((nope + rope) * f64::from(m.scale)).exp()
            };
            let weights: Vec<f64> = (0..=at).map(score).collect();
            let sum: f64 = weights.iter().sum();
            out.extend((0..v).map(|d| {
                let weighted = weights.iter().enumerate().map(|(s, w)| w * up(head, n + d, s));
                (weighted.sum::<f64>() / sum) as f32
            }));
        }
    }
    out
}

#[test]
fn equals_naive_attention() {
    let case = Expanded::new([4, 64, 16, 32, 32], Elem::F32, DType::F32, true, [37, 9, 9]);
    let expected = naive(&case);
    let floats = |bytes: Vec<Vec<u8>>| bytemuck::pod_collect_to_vec::<u8, f32>(&bytes[0]);
    let oracle = relative_error(&floats(run(&mut CpuExecutor::new(), &case, case.n_kv())), &expected);
    assert!(oracle < 1e-7, "the oracle is off by {oracle:.2e}");
    for (adapter, executor) in &mut executors() {
        let error = relative_error(&floats(run(executor, &case, case.n_kv())), &expected);
        assert!(error < WEIGHTS, "{adapter} is off by {error:.2e}");
    }
}

#[test]
fn nothing_runs_after_the_end() {
    let case = Expanded::new([4, 64, 16, 32, 32], Elem::F16, DType::F32, false, [40, 4, 0]);
    for (adapter, executor) in &mut executors() {
        let got = run(executor, &case, 44);
        assert!(got[0].iter().all(|&b| b == 0), "{adapter} wrote after the end");
    }
}

#[test]
fn a_run_repeats_what_a_chunk_needs() {
    let case = Expanded::new([4, 64, 16, 32, 32], Elem::F16, DType::F32, false, [1100, 4, 4]);
    for (adapter, executor) in &mut executors() {
        let at = integers(executor, &[4], &[1100, 4, 0, 0]);
        let (recording, _) = case.record(executor, at);
        let plan = executor.compile(&recording).expect("compiles");
        // Begin; gather, two products, attention, move on.
        assert_eq!(plan.figures(4, case.n_kv()).dispatches, 6, "{adapter}");
        let before = executor.gpu().counters();
        executor.submit(&plan, case.n_kv(), None).expect("runs");
        let during = executor.gpu().counters() - before;
        assert_eq!((during.dispatches, during.passes), (1 + 3 * 5, 1), "{adapter}: three chunks of 512");
        assert_eq!((during.buffers, during.bind_groups, during.pipelines, during.writes), (0, 0, 0, 0), "{adapter}");
    }
}
