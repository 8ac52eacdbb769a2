use crate::{Op, Recording, Routing, Tensor};

/// The second half of a token's experts, added to what is there:
/// `into[t] += sum_s weights[t, s] * (down[e] act[t, s])`, `e = ids[t, s]`.
/// `into: [T, D] f32`, `act: [T, S * I] f32`, `down: [E', D, I]` in any weight format, E' at least E + n_shared. I is a
/// multiple of 32, D an even number.
///
/// Source: DeepSeek-V2 (2024), section 2.2.
///
/// # Panics
/// If the shapes disagree or `down` is not a weight.
#[track_caller]
pub fn experts_down(rec: &mut Recording, into: Tensor, act: Tensor, down: Tensor, routing: &Routing) {
    let ([rows, d], [t, slots]) = (into.dims2(), routing.ids.dims2());
    let [n, i] = routing.check_stack("experts_down", down);
    assert_eq!((rows, d), (t, n), "experts_down: into is {:?}, down {:?}", into.shape(), down.shape());
    assert_eq!(act.dims2(), [t, slots * i], "experts_down: act must be [T, S * I]");
    let op = Op::ExpertsDown(routing.count());
    rec.push("experts_down", op, &[act, down, routing.ids, routing.weights, routing.order, into], &[into]);
}
