//! Absorbed latent attention: its kernels against their CPU twins, and all of it against the plain form.

use aloud_cpu::CpuExecutor;
use aloud_format::DType;
use aloud_gpu::{GpuExecutor, GpuOptions};
use aloud_ops::{Elem, Op};
use aloud_tests::scenarios::mla::{Absorbed, EPS, LITE, Layer, ODD, Project, TINY};
use aloud_tests::{FORMATS, Scenario, check, executors, for_each, integers, opened, relative_error, run};

/// f32 sums in another order than the oracle's f64 ones; values differ by up to 40 times in size.
const SUMS: f64 = 3e-6;
/// Large scores: an error of 1e-6 in one is an error of 1e-5 in its weight.
const SCORES: f64 = 2e-5;

#[test]
fn mla_project() {
    let mut executors = executors();
    let q_lora = [None, Some(1536), Some(48)];
    for (i, shape) in [LITE, TINY, ODD].into_iter().enumerate() {
        for (j, at) in [(0, 1, 1), (31, 5, 3), (150, 2, 2)].into_iter().enumerate() {
            for elem in [Elem::F32, Elem::F16] {
                let layer = Layer { q_lora: q_lora[(i + j) % 3], elem, ..Layer::new(shape, at) };
                check_project(&layer, &mut executors);
            }
        }
    }
}

fn check_project(layer: &Layer, executors: &mut [(String, GpuExecutor)]) {
    let n_kv = layer.pos + layer.t;
    let expected = run(&mut CpuExecutor::new(), &Project(*layer), n_kv);
    for_each(executors, |(adapter, executor)| {
        let got = run(executor, &Project(*layer), n_kv);
        for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let halves = i == 0 && layer.elem == Elem::F16;
            let half = |b: &[u8]| half::f16::from_le_bytes([b[0], b[1]]).to_f32();
            let float = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            let got: Vec<f32> =
                if halves { got.chunks_exact(2).map(half).collect() } else { got.chunks_exact(4).map(float).collect() };
            let error = relative_error(&got, bytemuck::cast_slice(expected));
            // Of two values that differ by 1e-7, one in some thousands is rounded to another half.
            let tolerance = if halves { 1e-4 } else { SUMS };
            assert!(error <= tolerance, "mla_project, {}, output {i}, on {adapter}: off by {error:.2e}", layer.name());
        }
    });
}

fn check_absorbed(layer: Layer, attend: bool, executors: &mut [(String, GpuExecutor)]) {
    let (what, tolerance) = if attend { ("mla_attention", SCORES) } else { ("mla_query", SUMS) };
    let name = format!("{what}, {}", layer.name());
    check(&name, &Absorbed { layer, attend }, layer.pos + layer.t, tolerance, executors);
}

/// Whether rows of so many values are whole blocks.
fn fits(dtype: DType, cols: u32) -> bool {
    cols.is_multiple_of(dtype.block_elems() as u32)
}

#[test]
fn mla_query() {
    let mut executors = executors();
    for dtype in FORMATS {
        for joint in [true, false] {
            let shape = [4, 512, 64, 128, 32];
            if fits(dtype, shape[if joint { 1 } else { 3 }]) {
                check_absorbed(Layer { dtype, joint, ..Layer::new(shape, (3, 1, 1)) }, false, &mut executors);
            }
        }
    }
    for (shape, at) in [(LITE, (7, 1, 1)), (LITE, (7, 5, 3)), (TINY, (0, 32, 31)), (ODD, (9, 4, 4)), (ODD, (1, 9, 9))] {
        for (joint, dtype) in [(true, DType::BF16), (false, DType::Q8_0)] {
            let layer = Layer { dtype, joint, q_lora: (shape == ODD).then_some(64), ..Layer::new(shape, at) };
            check_absorbed(layer, false, &mut executors);
        }
    }
}

#[test]
fn mla_attention() {
    let mut executors = executors();
    let steps = [(0, 1, 1), (31, 1, 1), (32, 1, 1), (150, 1, 1), (700, 1, 1)];
    let few = [(0, 5, 3), (31, 5, 5), (700, 5, 3)];
    let cases = |shape, at: &[(u32, u32, u32)]| at.iter().map(|&at| (shape, at)).collect::<Vec<_>>();
    let cases = [cases(TINY, &steps), cases(TINY, &few), cases(ODD, &steps), cases(LITE, &steps), cases(LITE, &few)];
    for (turn, &(shape, at)) in cases.concat().iter().chain([&(TINY, (130, 32, 31))]).enumerate() {
        let elem = [Elem::F16, Elem::F32][turn % 2];
        for (joint, dtype) in [(true, DType::F32), (false, DType::Q8_0)] {
            let layer = Layer { joint, dtype, elem, q_lora: Some(32), ..Layer::new(shape, at) };
            check_absorbed(layer, true, &mut executors);
        }
    }
    for dtype in FORMATS {
        // Both parts in every format: of few rows, and of one, where what is cached comes with the queries.
        for (at, elem) in [((70, 2, 2), Elem::F16), ((70, 1, 1), Elem::F32)] {
            let layer = Layer { dtype, elem, ..Layer::new([4, 512, 32, 32, 64], at) };
            check_absorbed(layer, true, &mut executors);
        }
    }
}

#[test]
fn weights_in_parts() {
    for small in opened(GpuOptions { max_binding_bytes: Some(16 << 10), ..GpuOptions::default() }) {
        let mut small = [small];
        for joint in [true, false] {
            for dtype in [DType::F32, DType::Q8_0, DType::Q5_0] {
                let at = (29, 2, 2);
                let layer = Layer { joint, dtype, elem: Elem::F16, q_lora: Some(32), ..Layer::new(TINY, at) };
                for attend in [false, true] {
                    check_absorbed(layer, attend, &mut small);
                }
            }
        }
    }
}

#[test]
fn nothing_runs_after_the_end() {
    let layer = Layer { joint: false, ..Layer::new(TINY, (40, 1, 0)) };
    for (adapter, executor) in &mut executors() {
        for attend in [false, true] {
            let got = run(executor, &Absorbed { layer, attend }, 41);
            assert!(got[0].iter().all(|&b| b == 0), "{adapter} wrote after the end");
        }
        let got = run(executor, &Project(Layer { pos: 0, q_lora: Some(32), ..layer }), 1);
        assert!(got.iter().flatten().all(|&b| b == 0), "{adapter} wrote after the end");
    }
}

#[test]
fn each_part_of_the_weights_counts_once() {
    let e = &mut CpuExecutor::new();
    for joint in [true, false] {
        let layer = Layer { joint, dtype: DType::Q8_0, ..Layer::new(LITE, (99, 1, 1)) };
        let at = integers(e, &[4], &[0; 4]);
        let (rec, _) = Absorbed { layer, attend: true }.record(e, at);
        let cost = rec.cost(1, 100);
        assert_eq!(cost.weight_bytes, DType::Q8_0.block_bytes() as u64 * 16 * 256 * 512 / 32);
        assert_eq!(cost.kv_bytes, (100 + 1) * 576 * 4);
        assert!(matches!(rec.commands[2].op, Op::MlaAttention(_)));
        // Per head and position 576 + 512 products, per head 256 * 512 of weights.
        let flops = 2 * 16 * (100 * (576 + 512) + 256 * 512);
        assert!((flops..flops + flops / 100).contains(&cost.flops), "{} FLOP, expected {flops}", cost.flops);
    }
}

/// Attention as the paper writes it first: keys and values of every head expanded from all latents.
fn plain(layer: &Layer, keys: &[f64], values: &[f64]) -> Vec<f64> {
    let [h, r, p, n, v] = layer.shape.map(|d| d as usize);
    let (width, mla) = ((layer.x_width() + layer.mla().latent_dim()) as usize, layer.mla());
    let (a, kv_norm, table) = (layer.projected(), layer.kv_norm(), layer.table());
    let rotate = |x: &[f32], pos: usize| -> Vec<f64> {
        let turn = |i: usize| {
            let [c, s] = [0, 1].map(|j| f64::from(table[pos * p + 2 * i + j]));
            let [x, y] = [0, 1].map(|j| f64::from(x[2 * i + j]));
            [x * c - y * s, x * s + y * c]
        };
        (0..p / 2).flat_map(turn).collect()
    };
    let last = (layer.pos + layer.t) as usize;
    let latents: Vec<(Vec<f64>, Vec<f64>)> = (0..last)
        .map(|pos| {
            let a = &a[(pos + 1) * width - r - p..][..r + p];
            let mean = a[..r].iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / r as f64;
            let norm = |j: usize| f64::from(a[j]) / (mean + f64::from(EPS)).sqrt() * f64::from(kv_norm[j]);
            ((0..r).map(norm).collect(), rotate(&a[r..], pos))
        })
        .collect();
    let times = |w: &[f64], c: &[f64]| -> Vec<f64> { w.chunks(r).map(|w| dot(w, c)).collect() };
    let mut out = Vec::new();
    for t in layer.pos as usize..last {
        for head in 0..h {
            let q = &a[t * width + head * (n + p)..][..n + p];
            let nope: Vec<f64> = q[..n].iter().map(|&x| f64::from(x)).collect();
            let turned = rotate(&q[n..], t);
            let score = |(c, k): &(Vec<f64>, Vec<f64>)| {
                let expanded = times(&keys[head * n * r..][..n * r], c);
                (f64::from(mla.scale) * (dot(&nope, &expanded) + dot(&turned, k))).exp()
            };
            let weights: Vec<f64> = latents[..=t].iter().map(score).collect();
            let sum: f64 = weights.iter().sum();
            let mut o = vec![0.0; v];
            for ((c, _), weight) in latents.iter().zip(&weights) {
                let value = times(&values[head * v * r..][..v * r], c);
                o.iter_mut().zip(value).for_each(|(o, value)| *o += weight / sum * value);
            }
            out.extend(o);
        }
    }
    out
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn absorbed_is_plain_attention() {
    for shape in [TINY, ODD] {
        for joint in [true, false] {
            let layer = Layer { joint, ..Layer::new(shape, (77, 3, 3)) };
            let [h, r, _, n, v] = shape;
            let values = |seed, elems| -> Vec<f64> {
                layer
                    .blocks(seed, elems)
                    .chunks(4)
                    .map(|b| f32::from_le_bytes(b.try_into().expect("4")).into())
                    .collect()
            };
            let (keys, values) = if joint {
                let all = values(4, h * (n + v) * r);
                let heads = || all.chunks(((n + v) * r) as usize);
                let (keys, values) = (heads().map(|w| &w[..(n * r) as usize]), heads().map(|w| &w[(n * r) as usize..]));
                (keys.collect::<Vec<_>>().concat(), values.collect::<Vec<_>>().concat())
            } else {
                let transposed = values(5, h * r * n);
                let at = |head: u32, d: u32, j: u32| transposed[((head * r + j) * n + d) as usize];
                let row = |head, d| (0..r).map(move |j| (head, d, j));
                let all = (0..h).flat_map(|head| (0..n).flat_map(move |d| row(head, d)));
                (all.map(|(head, d, j)| at(head, d, j)).collect(), values(6, h * v * r))
            };
            let expected: Vec<f32> = plain(&layer, &keys, &values).into_iter().map(|x| x as f32).collect();
            for (adapter, executor) in &mut executors() {
                let got = run(executor, &Absorbed { layer, attend: true }, 80);
                let error = relative_error(bytemuck::cast_slice(&got[0]), &expected);
                assert!(error <= SCORES, "{} on {adapter}: off by {error:.2e}", layer.name());
            }
        }
    }
}
