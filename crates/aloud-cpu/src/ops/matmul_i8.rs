//! What dot products of bytes do to the rows before [`matmul`](super::matmul()): products of codes are added up as whole
//! numbers, which loses nothing more.

/// Values in a group that shares a scale.
const GROUP: usize = 32;

/// `x` as its codes of 8 bits give it back: in groups of 32 of the last axis, to the nearest multiple of max|x| / 127. A value is
/// off by at most 1/254 of the largest of its group, so a group by at most 2.2 % of its norm.
/// Source: llama.cpp, ggml-quants.c, quantize_row_q8_1_ref.
#[must_use]
pub fn rounded(x: &[f32]) -> Vec<f32> {
    let group = |x: &[f32]| {
        let most = x.iter().fold(1e-30f32, |most, v| most.max(v.abs()));
        let to_code = 127.0 / most;
        x.iter().map(move |&v| (v * to_code).round_ties_even() * (most / 127.0)).collect::<Vec<_>>()
    };
    x.chunks(GROUP).flat_map(group).collect()
}

/// [`rms_norm`](super::rms_norm()) of rows that are rounded where a kernel rounds them: times the weight, before they are scaled.
pub fn rms_norm_i8(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let d = weight.len();
    for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
        let mean_sq = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / d as f64;
        let scale = 1.0 / (mean_sq + f64::from(eps)).sqrt();
        let weighed: Vec<f32> = x.iter().zip(weight).map(|(&x, &weight)| x * weight).collect();
        y.iter_mut().zip(rounded(&weighed)).for_each(|(y, v)| *y = (f64::from(v) * scale) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_scales_of_their_own() {
        let mut x = [0f32; 96];
        x[..4].copy_from_slice(&[127.0, -3.4, 0.49, 2.5]);
        x[32..34].copy_from_slice(&[-1.0, 0.1]);
        let y = rounded(&x);
        assert_eq!(y[..4], [127.0, -3.0, 0.0, 2.0]);
        assert_eq!(y[32], -1.0);
        assert!((y[33] - 13.0 / 127.0).abs() < 1e-7);
        assert_eq!(y[64..], [0.0; 32], "of nothing comes nothing");
    }
}
