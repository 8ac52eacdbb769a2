/// `y = silu(gate) * up`.
pub fn swiglu(gate: &[f32], up: &[f32], y: &mut [f32]) {
    for ((y, &gate), &up) in y.iter_mut().zip(gate).zip(up) {
        let z = f64::from(gate);
        *y = (z / (1.0 + (-z).exp()) * f64::from(up)) as f32;
    }
}
