use crate::{Elem, Op, Recording, Tensor};

/// Rows of a recording up to which the experts' kernels look each slot's expert up; with more, slots are sorted by
/// expert, so that a matrix is read once for many rows.
const MAX_UNSORTED_ROWS: u32 = 8;

/// How a router's logits become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// `e^g / sum(e^g)` over all experts (DeepSeek-V2).
    Softmax,
    /// `1 / (1 + e^-g)` (DeepSeek-V3).
    Sigmoid,
}

/// What a group of experts is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupScore {
    /// Its best score (`group_limited_greedy`, DeepSeek-V2).
    Max,
    /// The sum of its two best scores (`noaux_tc`, DeepSeek-V3).
    TopTwoSum,
}

/// How experts are chosen; names as in Hugging Face's `config.json`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Route {
    /// Logits to scores.
    pub scoring: Scoring,
    /// k: routed experts of a token, at most 32.
    pub num_experts_per_tok: u32,
    /// Groups that the experts form, each of as many consecutive ones; 1 is no grouping.
    pub n_group: u32,
    /// Groups that a token may choose from.
    pub topk_group: u32,
    /// What a group is worth.
    pub group_score: GroupScore,
    /// Whether weights are divided by their sum. Counts for [`Scoring::Sigmoid`] only: transformers' DeepSeek-V2 ignores it.
    pub norm_topk_prob: bool,
    /// Multiplies the weights.
    pub routed_scaling_factor: f32,
    /// Experts that every token has, with weight 1: matrices E.. of the stacks.
    pub n_shared: u32,
}

impl Route {
    /// S: slots of a token, `k + n_shared`.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.num_experts_per_tok + self.n_shared
    }

    /// Whether weights are divided by their sum.
    #[must_use]
    pub fn normalises(&self) -> bool {
        self.norm_topk_prob && self.scoring == Scoring::Sigmoid
    }

    #[track_caller]
    fn check(&self, n_experts: u32) {
        assert!(n_experts <= 512, "route: {n_experts} experts, at most 512");
        let (k, groups) = (self.num_experts_per_tok, self.n_group);
        assert!(
            (1..=64).contains(&groups) && n_experts.is_multiple_of(groups),
            "route: {n_experts} in {groups} groups"
        );
        let per_group = n_experts / groups;
        assert!((1..=groups).contains(&self.topk_group), "route: {} of {groups} groups", self.topk_group);
        assert!((1..=32).contains(&k) && k <= per_group * self.topk_group, "route: {k} of {n_experts} experts");
        let pairs = groups == 1 || self.group_score == GroupScore::Max || per_group > 1;
        assert!(pairs, "route: groups of one expert have no two best");
    }
}

/// Which experts each row has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Routing {
    /// `[T, S] u32`: the routed experts by falling score, then the shared ones, E and up.
    pub ids: Tensor,
    /// `[T, S] f32`: what each slot's output is multiplied with.
    pub weights: Tensor,
    /// `[1 + 3 * M + T * S] u32`: the slots sorted by expert; see [`SlotOrder`]. One unused word where nothing is sorted.
    pub order: Tensor,
    /// E: routed experts.
    pub n_experts: u32,
    /// How they were chosen.
    pub params: Route,
}

/// How [`Routing::order`] lies, if a recording has so many rows that slots are sorted.
///
/// Word 0 holds the number of tiles; tile `m` begins at word `1 + 3 * m`: its expert, the place of its first slot in the
/// sorted list, and how many slots it has, up to [`SlotOrder::TILE`], all of one expert. From word `1 + 3 * M` on
/// follow the slots `t * S + s`, those of one expert together, in their own order among themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotOrder {
    /// M: tiles that there are at most.
    pub max_tiles: u32,
    /// `T * S`.
    pub n_slots: u32,
}

impl SlotOrder {
    /// Slots of a tile.
    pub const TILE: u32 = 32;

    /// For `rows` rows of S slots with `n_experts` experts, shared ones included; none if so few rows are not sorted.
    #[must_use]
    pub fn new(rows: u32, slots: u32, n_experts: u32) -> Option<Self> {
        let n_slots = rows * slots;
        let max_tiles = n_slots.div_ceil(Self::TILE) + n_experts.min(n_slots);
        (rows > MAX_UNSORTED_ROWS).then_some(SlotOrder { max_tiles, n_slots })
    }

    /// Where the sorted slots begin.
    #[must_use]
    pub fn slots_at(&self) -> u32 {
        1 + 3 * self.max_tiles
    }
}

impl Routing {
    /// How `order` lies, if the slots are sorted.
    #[must_use]
    pub fn slot_order(&self) -> Option<SlotOrder> {
        let [rows, slots] = self.ids.dims2();
        SlotOrder::new(rows, slots, self.n_experts + self.params.n_shared)
    }
}

/// Chooses experts: scores `s` of the logits; the `topk_group` best groups by `s + bias`; in them the k best experts by
/// `s + bias`; weights `s` without bias, divided by `their sum + 1e-20` if `norm_topk_prob`, times
/// `routed_scaling_factor`. Ties go to the lower index. Shared experts follow with weight 1.
/// `logits: [T, E] f32`, finite; `bias: [E] f32` (`e_score_correction_bias`) → [`Routing`]. E is at most 512.
///
/// The result is the same bit for bit wherever f32 additions and multiplications round correctly: exponentials and
/// quotients are made of integers, no product is added to anything (so nothing can be fused), and values below 2^-100 are 0.
///
/// Source: DeepSeek-V2 (2024), section 2.2; DeepSeek-V3 (2024), section 2.1.2; transformers' `modeling_deepseek_v2.py` and
/// `modeling_deepseek_v3.py`, but excluded groups count as minus infinity, as in DeepSeek-V3's `inference/model.py`.
///
/// # Panics
/// If the shapes disagree or the parameters cannot be met.
#[track_caller]
pub fn route(rec: &mut Recording, logits: Tensor, bias: Option<Tensor>, params: Route) -> Routing {
    let [rows, n_experts] = logits.dims2();
    params.check(n_experts);
    let slots = params.slots();
    let order = SlotOrder::new(rows, slots, n_experts + params.n_shared);
    let ids = rec.scratch(Elem::U32, &[rows, slots]);
    let weights = rec.scratch(Elem::F32, &[rows, slots]);
    let order = rec.scratch(Elem::U32, &[order.map_or(1, |o| o.slots_at() + o.n_slots)]);
    let mut inputs = vec![logits];
    if let Some(bias) = bias {
        assert_eq!(bias.dims1(), [n_experts], "route: bias must be [E]");
        inputs.push(bias);
    }
    rec.push("route", Op::Route(params), &inputs, &[ids, weights, order]);
    Routing { ids, weights, order, n_experts, params }
}
