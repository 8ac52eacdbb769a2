//! The K formats: a scale, and for some a minimum, per run of values; both in units of the block's.

use super::{extreme, inverse, put_f16, range};

/// Scales or minima of all runs, rounded to multiples of one half-precision unit.
struct Units {
    unit: f32,
    codes: Vec<u8>,
}

impl Units {
    /// `values` are not negative; the largest gets the code `most`.
    fn new(values: &[f32], most: f32) -> Self {
        let unit = half::f16::from_f32(extreme(values) / most).to_f32();
        let id = inverse(unit);
        Self { unit, codes: values.iter().map(|v| (v * id).round().min(most) as u8).collect() }
    }

    /// The value that the code of run `at` stands for.
    fn value(&self, at: usize) -> f32 {
        self.unit * f32::from(self.codes[at])
    }
}

/// Scales, minima and codes of runs of `run` values; `y = scale * q - min`.
fn ranged(x: &[f32], run: usize, most_q: f32, most_code: f32) -> (Units, Units, Vec<u8>) {
    let ranges: Vec<_> = x.chunks_exact(run).map(range).map(|(min, max)| (min.min(0.0), max)).collect();
    let scales: Vec<f32> = ranges.iter().map(|(min, max)| (max - min).max(0.0) / most_q).collect();
    let mins: Vec<f32> = ranges.iter().map(|(min, _)| -min).collect();
    let (scales, mins) = (Units::new(&scales, most_code), Units::new(&mins, most_code));
    let code = |(i, v): (usize, &f32)| {
        let q = (v + mins.value(i / run)) * inverse(scales.value(i / run));
        q.round().clamp(0.0, most_q) as u8
    };
    let q = x.iter().enumerate().map(code).collect();
    (scales, mins, q)
}

/// Scales and codes of runs of 16 values; `y = scale * (q - middle)`.
fn centred(x: &[f32], middle: f32, most_code: f32) -> (Units, Vec<u8>) {
    let scales: Vec<f32> = x.chunks_exact(16).map(|x| extreme(x).abs() / (middle - 0.5)).collect();
    let scales = Units::new(&scales, most_code);
    let code = |(i, v): (usize, &f32)| {
        let q = (v * inverse(scales.value(i / 16))).round();
        (q.clamp(-middle, middle - 1.0) + middle) as u8
    };
    let q = x.iter().enumerate().map(code).collect();
    (scales, q)
}

/// 256 codes of 2 bits: four runs of 32 share the bytes of a half block.
fn put_pairs(to: &mut Vec<u8>, q: &[u8]) {
    for q in q.chunks_exact(128) {
        to.extend((0..32).map(|l| (0..4).fold(0, |byte, j| byte | (q[32 * j + l] & 3) << (2 * j))));
    }
}

/// 256 codes of 4 bits: two runs of 32 share 32 bytes.
fn put_nibbles(to: &mut Vec<u8>, q: &[u8]) {
    for q in q.chunks_exact(64) {
        to.extend((0..32).map(|l| (q[l] & 15) | (q[l + 32] << 4)));
    }
}

/// The 12 bytes that hold 8 scales and 8 minima of 6 bits.
fn put_scales_k4(to: &mut Vec<u8>, scales: &[u8], mins: &[u8]) {
    to.extend((0..4).map(|j| scales[j] | (scales[j + 4] >> 4) << 6));
    to.extend((0..4).map(|j| mins[j] | (mins[j + 4] >> 4) << 6));
    to.extend((4..8).map(|j| (scales[j] & 15) | (mins[j] << 4)));
}

pub(super) fn q2_k(x: &[f32], to: &mut Vec<u8>) {
    let (scales, mins, q) = ranged(x, 16, 3.0, 15.0);
    to.extend((0..16).map(|k| scales.codes[k] | (mins.codes[k] << 4)));
    put_pairs(to, &q);
    put_f16(to, scales.unit);
    put_f16(to, mins.unit);
}

pub(super) fn q3_k(x: &[f32], to: &mut Vec<u8>) {
    let (scales, q) = centred(x, 4.0, 31.0);
    // Bit j of the mask byte is the third bit of value 32 j + l.
    to.extend((0..32).map(|l| (0..8).fold(0, |byte, j| byte | (q[32 * j + l] >> 2) << j)));
    put_pairs(to, &q);
    let code = |k: usize| scales.codes[k] + 32;
    to.extend((0..8).map(|k| (code(k) & 15) | (code(k + 8) << 4)));
    to.extend((0..4).map(|k| (0..4).fold(0, |byte, i| byte | (code(k + 4 * i) >> 4) << (2 * i))));
    put_f16(to, scales.unit);
}

pub(super) fn q4_k(x: &[f32], to: &mut Vec<u8>) {
    let (scales, mins, q) = ranged(x, 32, 15.0, 63.0);
    put_f16(to, scales.unit);
    put_f16(to, mins.unit);
    put_scales_k4(to, &scales.codes, &mins.codes);
    put_nibbles(to, &q);
}

pub(super) fn q5_k(x: &[f32], to: &mut Vec<u8>) {
    let (scales, mins, q) = ranged(x, 32, 31.0, 63.0);
    put_f16(to, scales.unit);
    put_f16(to, mins.unit);
    put_scales_k4(to, &scales.codes, &mins.codes);
    to.extend((0..32).map(|l| (0..8).fold(0, |byte, j| byte | (q[32 * j + l] >> 4) << j)));
    put_nibbles(to, &q);
}

pub(super) fn q6_k(x: &[f32], to: &mut Vec<u8>) {
    let (scales, q) = centred(x, 32.0, 127.0);
    for q in q.chunks_exact(128) {
        to.extend((0..64).map(|l| (q[l] & 15) | (q[l + 64] << 4)));
    }
    let high: Vec<u8> = q.iter().map(|q| q >> 4).collect();
    put_pairs(to, &high);
    to.extend(&scales.codes);
    put_f16(to, scales.unit);
}
