use aloud_ops::{Rope, RopePairing};

/// Turns the heads of each row; row `t` stands at position `pos + t`. `table: [positions, C]`, cos and sin in turn.
pub fn rope(x: &[f32], table: &[f32], params: Rope, pos: usize, width: usize, y: &mut [f32]) {
    let c = params.head_dim as usize;
    for (t, (x, y)) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).enumerate() {
        let angles = &table[(pos + t) * c..][..c];
        for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
            for i in 0..c / 2 {
                let (a, b) = match params.pairing {
                    RopePairing::Halves => (i, i + c / 2),
                    RopePairing::Interleaved => (2 * i, 2 * i + 1),
                };
                let (cos, sin) = (f64::from(angles[2 * i]), f64::from(angles[2 * i + 1]));
                y[a] = (f64::from(x[a]) * cos - f64::from(x[b]) * sin) as f32;
                y[b] = (f64::from(x[b]) * cos + f64::from(x[a]) * sin) as f32;
            }
        }
    }
}
