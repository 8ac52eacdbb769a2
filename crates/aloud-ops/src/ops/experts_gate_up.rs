use crate::{Elem, Op, Recording, Routing, Tensor};

/// How many experts there are, and how many of them a token has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertCount {
    /// E: routed experts.
    pub n_experts: u32,
    /// k: routed experts of a token.
    pub num_experts_per_tok: u32,
    /// Shared experts, matrices E.. of the stacks.
    pub n_shared: u32,
}

impl ExpertCount {
    /// S: slots of a token.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.num_experts_per_tok + self.n_shared
    }

    /// Matrices that `n_tokens` tokens read at most, each counted once.
    #[must_use]
    pub fn read_by(&self, n_tokens: u32) -> u32 {
        (n_tokens * self.num_experts_per_tok).min(self.n_experts) + self.n_shared.min(n_tokens * self.n_shared)
    }
}

impl Routing {
    /// The counts.
    #[must_use]
    pub fn count(&self) -> ExpertCount {
        let (params, n_experts) = (self.params, self.n_experts);
        ExpertCount { n_experts, num_experts_per_tok: params.num_experts_per_tok, n_shared: params.n_shared }
    }

    /// Checks a stack of matrices and gives their rows and columns.
    #[track_caller]
    pub(crate) fn check_stack(&self, name: &str, stack: Tensor) -> [u32; 2] {
        assert!(stack.is_weight(), "{name}: the experts must be weights");
        let [n, rows, cols] = stack.shape() else { panic!("{name}: experts are a stack, not {:?}", stack.shape()) };
        let least = self.n_experts + self.params.n_shared;
        assert!(*n >= least, "{name}: {n} matrices for {least} experts");
        [*rows, *cols]
    }
}

/// The first half of a token's experts: `act[t, s] = silu(gate[e] h[t]) * (up[e] h[t])`, `e = ids[t, s]`, `silu(z) = z / (1 + e^-z)`.
/// `h: [T, D] f32`, `gate, up: [E', I, D]` in one weight format, E' at least E + n_shared → `[T, S * I] f32`. D is a multiple
/// of 32, I an even number.
///
/// Source: DeepSeek-V2 (2024), section 2.2.
///
/// # Panics
/// If the shapes or formats disagree.
#[track_caller]
pub fn experts_gate_up(rec: &mut Recording, h: Tensor, gate: Tensor, up: Tensor, routing: &Routing) -> Tensor {
    let ([rows, d], [t, slots]) = (h.dims2(), routing.ids.dims2());
    let [i, cols] = routing.check_stack("experts_gate_up", gate);
    assert_eq!((gate.shape(), gate.elem), (up.shape(), up.elem), "experts_gate_up: gate and up must be alike");
    assert_eq!((rows, d), (t, cols), "experts_gate_up: h is {:?}, gate {:?}", h.shape(), gate.shape());
    let act = rec.scratch(Elem::F32, &[t, slots * i]);
    let op = Op::ExpertsGateUp(routing.count());
    rec.push("experts_gate_up", op, &[h, gate, up, routing.ids, routing.order], &[act]);
    act
}
