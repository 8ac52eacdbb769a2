use aloud_ops::RopePairing;

/// Turns one head by a position's `angles: [C]`, cos and sin in turn.
pub fn rope(x: &[f32], angles: &[f32], pairing: RopePairing, y: &mut [f32]) {
    let half = x.len() / 2;
    for i in 0..half {
        let (a, b) = match pairing {
            RopePairing::Halves => (i, i + half),
            RopePairing::Interleaved => (2 * i, 2 * i + 1),
        };
        let (cos, sin) = (f64::from(angles[2 * i]), f64::from(angles[2 * i + 1]));
        y[a] = (f64::from(x[a]) * cos - f64::from(x[b]) * sin) as f32;
        y[b] = (f64::from(x[b]) * cos + f64::from(x[a]) * sin) as f32;
    }
}
