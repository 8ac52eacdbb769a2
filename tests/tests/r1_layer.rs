//! One layer of DeepSeek-R1 at its true widths, with as many experts as fit here: against the CPU's ops, and what it costs.

use aloud_cpu::ops;
use aloud_ops::{Executor, PROJECT_QUERY_BINDINGS};
use aloud_tests::places::{fastest_gpu, gpus};
use aloud_tests::r1::{Case, D, EPS, H, HEAD, I, Matrices, OnDevice, P, Q_LORA, R, R1, SLOTS, Seen};
use aloud_tests::relative_error;

/// f32 sums in another order than the oracle's f64 ones. Scores are 15 at most, so that their rounding moves weights by no
/// more than 15 / 2^24, and norms keep what comes later from growing.
const SUMS: f64 = 3e-6;
/// So close to a value is its nearest half, or one as good.
const HALF: f32 = 1.01 / 2048.0;
/// Of a sum of terms that cancel, so much is rounding.
const CANCELLED: f32 = 10.0 * SUMS as f32;

const N_EXPERTS: u32 = 64;

fn product(matrix: &Matrices, x: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; matrix.shape[1] as usize];
    ops::matmul(x, &matrix.values(0), None, x.len(), &mut y);
    y
}

fn row<T>(values: &[T], t: usize, rows: u32) -> &[T] {
    let width = values.len() / rows as usize;
    &values[t * width..][..width]
}

fn plus(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// What the layer makes of the token in row `t`, by the oracle's ops from the weights' blocks. Only the cache is the device's,
/// the new rows after a look at them, since halves that are rounded otherwise are no error; and the ids, after the device's
/// logits led the oracle to the same.
struct Reference<'a> {
    on: &'a OnDevice,
    case: &'a Case,
    seen: &'a Seen,
    table: Vec<f32>,
}

impl Reference<'_> {
    fn off(&self, what: &str, t: usize, got: &[f32], expected: &[f32], tolerance: f64) {
        let error = relative_error(got, expected);
        println!("{:?}, row {t}: {what} off by {error:.1e}", self.case);
        assert!(error <= tolerance, "{:?}, row {t}: {what} off by {error:.2e}, allowed {tolerance:.0e}", self.case);
    }

    /// Attention added to the row `x` of the embedding.
    fn attention(&self, t: usize, x: &[f32]) -> Vec<f32> {
        let (case, pos) = (self.case, self.case.pos + t as u32);
        let mla = self.on.config.mla(32).expect("latents are cached");
        let [mut h, mut latent] = [D, Q_LORA].map(|n| vec![0.0; n as usize]);
        ops::rms_norm(x, &R1::norm(20, D), EPS, &mut h);
        let a = product(&R1::a(), &h);
        ops::rms_norm(&a[..Q_LORA as usize], &R1::norm(21, Q_LORA), EPS, &mut latent);
        let cached = ops::mla_project(&a[Q_LORA as usize..], &R1::norm(22, R), EPS, &self.table, &mla, pos as usize);
        let blocks = OnDevice::block_table();
        let new = row(&self.seen.cache, ops::slot(&blocks, 32, pos), SLOTS);
        let halves = new.iter().zip(&cached).all(|(half, v)| (half - v).abs() <= v.abs() * HALF + CANCELLED);
        assert!(halves, "{case:?}, row {t}: the cache is {new:?}, expected {cached:?}");
        let q = product(&R1::q_b(), &latent);
        let kv_b: Vec<Vec<f32>> =
            R1::kv_b(case.joint).iter().map(|m| (0..H).flat_map(|head| m.values(head)).collect()).collect();
        let mut query = vec![0.0; (H * (R + P)) as usize];
        ops::mla_query(&q, q.len(), &kv_b[0], &self.table, &mla, pos as usize, &mut query);
        let mut o = vec![0.0; (H * HEAD) as usize];
        ops::mla_attention(&query, &self.seen.cache, &blocks, kv_b.last().expect("values"), &mla, pos, &mut o);
        self.off("attention", t, row(&self.seen.attention, t, case.t), &o, SUMS);
        plus(x, &product(&R1::o(), &o))
    }

    /// Experts added to `x`.
    fn experts(&self, t: usize, x: &[f32]) -> Vec<f32> {
        let (r1, seen, rows) = (&self.on.r1, self.seen, self.case.t);
        let mut h = vec![0.0; D as usize];
        let mut logits = vec![0.0; r1.n_experts as usize];
        ops::router(x, &R1::norm(23, D), EPS, &r1.router().values(0), &mut h, &mut logits);
        self.off("logits", t, row(&seen.logits, t, rows), &logits, SUMS);
        let params = self.on.config.experts.expect("there are experts").route(true);
        let (ids, weights) = ops::route(row(&seen.logits, t, rows), Some(&r1.bias()), &params);
        assert_eq!((row(&seen.ids, t, rows), row(&seen.weights, t, rows)), (&ids[..], &weights[..]), "{:?}", self.case);
        let [gate, up, down] = r1.experts();
        let (mut acts, mut sum) = (Vec::new(), x.to_vec());
        for (&e, &weight) in ids.iter().zip(&weights) {
            let mut act = vec![0.0; I as usize];
            ops::gate_up(&h, &gate.values(e), &up.values(e), h.len(), &mut act);
            ops::experts_down(&act, &[weight], [&down.values(e)[..]].into_iter(), &mut sum);
            acts.extend(act);
        }
        self.off("what experts pass on", t, row(&seen.act, t, rows), &acts, SUMS);
        sum
    }

    fn check(&self, t: usize) {
        let x = &R1::embed().values(0)[t * D as usize..][..D as usize];
        let y = self.experts(t, &self.attention(t, x));
        // What the layer adds, lest a large residual stream hides an error.
        let added = |y: &[f32]| y.iter().zip(x).map(|(y, x)| y - x).collect::<Vec<_>>();
        self.off("what the layer adds", t, &added(row(&self.seen.x, t, self.case.t)), &added(&y), SUMS);
    }
}

fn step(pos: u32, t: u32) -> Case {
    Case { pos, t, joint: false, expanded: false }
}

#[test]
fn one_layer_is_as_on_the_oracle() {
    let Some(place) = fastest_gpu() else { return };
    let mut on = OnDevice::new(&place, R1 { n_experts: N_EXPERTS });
    on.fill();
    let table = aloud_model::rope_table(&on.config, None, SLOTS);
    for (case, rows) in [
        (step(1, 1), vec![0]),
        (step(512, 1), vec![0]),
        (Case { joint: true, ..step(512, 1) }, vec![0]),
        (step(8192, 1), vec![0]),
        (step(512, 32), vec![0, 31]),
    ] {
        let seen = on.run(&case);
        let bytes = seen.figures.cost.weight_bytes;
        println!("{case:?}: {:.0} ms on {place}, {:.1} GB/s of weights", seen.ms, bytes as f64 / 1e6 / seen.ms);
        let reference = Reference { on: &on, case: &case, seen: &seen, table: table.clone() };
        rows.into_iter().for_each(|t| reference.check(t));
        if case.t > 1 {
            let expanded = on.run(&Case { expanded: true, ..case });
            let error = relative_error(&expanded.x, &seen.x);
            println!("{case:?}: keys and values expanded are off by {error:.1e}, {:.0} ms", expanded.ms);
            assert_eq!(expanded.ids, seen.ids, "{case:?}");
            assert!(error <= SUMS, "{case:?}: keys and values expanded are off by {error:.2e}");
        }
    }
}

/// Dispatches and bytes of a decode step, on every adapter. Nothing runs, so nothing is filled.
#[test]
fn a_token_costs_what_it_must() {
    for place in gpus() {
        let mut on = OnDevice::new(&place, R1 { n_experts: N_EXPERTS });
        let matrix = on.r1.experts()[0].file_bytes();
        // Each stack is cut where a binding ends, and each part is a dispatch of its own.
        let parts = u64::from(N_EXPERTS + 1).div_ceil(on.e.max_binding_bytes() / matrix) as usize;
        for joint in [false, true] {
            let case = Case { joint, ..step(8192, 1) };
            let (rec, _) = on.record(&case);
            let mut embed = rec.clone();
            embed.commands.truncate(1);
            let [all, embed] = [&rec, &embed].map(|rec| on.e.compile(rec).expect("compiles").figures(1, 8193));
            let dispatches = all.dispatches - embed.dispatches;
            println!("{place}: {dispatches} dispatches, each stack in {parts} parts");
            // What is cached comes with the queries, if a kernel can bind 10 buffers.
            let apart = usize::from(on.e.gpu().caps.max_bindings < PROJECT_QUERY_BINDINGS);
            assert_eq!(dispatches, 10 + apart + 2 * (parts - 1), "joint: {joint}, on {place}");
            let least = on.r1.bytes_of_a_token(joint);
            let ratio = all.cost.weight_bytes as f64 / least as f64;
            println!("{place}: {} bytes of weights, {ratio:.4} of what is needed", all.cost.weight_bytes);
            assert!((1.0..=1.02).contains(&ratio), "{ratio} times the weights, joint: {joint}, on {place}");
            let bytes = |n_kv| rec.cost(1, n_kv).kv_bytes;
            assert_eq!(bytes(8193) - bytes(8192), 1152, "bytes of a cached token");
        }
    }
}
