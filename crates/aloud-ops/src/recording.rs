//! A list of ops as plain data.

use crate::ops::{Attention, ExpertCount, GqaProject, Mla, Route, SampleRow};
use crate::tensor::{Elem, Storage, Tensor};

/// What an op does; its tensors stand in the [`Command`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// See [`crate::embed`].
    Embed,
    /// See [`crate::rms_norm`].
    RmsNorm {
        /// Added to the mean square.
        eps: f32,
    },
    /// See [`crate::matmul`] and [`crate::matmul_stacked`]. Inputs: x, the weights, the bias if there is one.
    Matmul,
    /// See [`crate::matmul_add`].
    MatmulAdd,
    /// [`crate::rms_norm`] and what multiplies its rows with weights ([`crate::matmul`], [`crate::matmul_stacked`]) in one;
    /// made by [`crate::fuse`]. Inputs: x, the norm, the weights, the bias if there is one. Of each row of x as many values count
    /// as the norm has.
    NormMatmul {
        /// Added to the mean square.
        eps: f32,
    },
    /// Two [`crate::matmul`] of one x and [`crate::swiglu`] of both in one, with [`crate::rms_norm`] before them if there is an
    /// epsilon; made by [`crate::fuse`]. Inputs: x, the weights of gate and up, the norm.
    GateUp {
        /// Added to the mean square.
        eps: Option<f32>,
    },
    /// See [`crate::norm_concat`].
    NormConcat {
        /// Added to the mean squares.
        eps: f32,
    },
    /// See [`crate::gqa_project`].
    GqaProject(GqaProject),
    /// [`crate::gqa_project`] and [`crate::attention`] of one token in one; made by [`crate::fuse`]. Inputs and outputs as of the
    /// former, but for what attention gives in place of the queries.
    ProjectAttention(GqaProject, Attention),
    /// See [`crate::attention`].
    Attention(Attention),
    /// See [`crate::mla_project`].
    MlaProject {
        /// Added to the mean squares.
        eps: f32,
        /// The shapes.
        mla: Mla,
    },
    /// See [`crate::mla_query`].
    MlaQuery(Mla),
    /// [`crate::mla_project`]'s row of the cache and [`crate::mla_query`] in one; made by [`crate::fuse`]. Inputs as of the latter,
    /// then a, kv_norm and block_table as of the former; outputs the queries and the cache.
    ProjectQuery {
        /// Added to the mean square.
        eps: f32,
        /// The shapes.
        mla: Mla,
    },
    /// See [`crate::mla_attention`].
    MlaAttention(Mla),
    /// See [`crate::mla_expanded`].
    MlaExpanded(Mla),
    /// See [`crate::swiglu`].
    Swiglu,
    /// See [`crate::router`].
    Router {
        /// Added to the mean square.
        eps: f32,
    },
    /// See [`crate::route`].
    Route(Route),
    /// See [`crate::experts_gate_up`].
    ExpertsGateUp(ExpertCount),
    /// See [`crate::experts_down`].
    ExpertsDown(ExpertCount),
    /// See [`crate::last_row`].
    LastRow,
    /// See [`crate::penalize`].
    Penalize(SampleRow),
    /// See [`crate::sample`].
    Sample(SampleRow),
    /// See [`crate::draft_lookup`].
    DraftLookup {
        /// Drafts at most.
        n_drafts: u32,
    },
    /// See [`crate::draft_drop`].
    DraftDrop,
    /// See [`crate::draft_begin`].
    DraftBegin,
    /// See [`crate::draft_pick`].
    DraftPick {
        /// Drafts at most.
        n_drafts: u32,
    },
}

/// One op with its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// What to do.
    pub op: Op,
    /// What it reads, in the order of the op's documentation.
    pub inputs: Vec<Tensor>,
    /// What it writes, likewise.
    pub outputs: Vec<Tensor>,
    /// For profiles and device errors: `l07.attn_q`.
    pub label: String,
}

/// A list of ops over at most `max_tokens` rows, all positioned by one [`crate::Step`] buffer.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The ops, in order.
    pub commands: Vec<Command>,
    /// The [`crate::Step`] that positions every op: `[4] u32`.
    pub step: Tensor,
    /// T: rows that a run may have at most.
    pub max_tokens: u32,
    n_scratch: u32,
    scope: String,
}

impl Recording {
    /// An empty recording for up to `max_tokens` rows.
    #[must_use]
    pub fn new(step: Tensor, max_tokens: u32) -> Self {
        assert!(max_tokens > 0, "a recording needs room for a token");
        Recording { commands: Vec::new(), step, max_tokens, n_scratch: 0, scope: String::new() }
    }

    /// Prefixes the labels of what follows: `l07`.
    pub fn set_scope(&mut self, scope: impl Into<String>) {
        self.scope = scope.into();
    }

    /// A new scratch tensor.
    pub fn scratch(&mut self, elem: Elem, shape: &[u32]) -> Tensor {
        self.n_scratch += 1;
        Tensor::new(Storage::Scratch(self.n_scratch - 1), elem, shape)
    }

    /// Makes every op that reads or writes `from` take `to` instead, which has as many elements: how a result of the forward
    /// pass comes to outlive the step.
    ///
    /// # Panics
    /// If the sizes differ.
    pub fn redirect(&mut self, from: Tensor, to: Tensor) {
        assert_eq!((from.elem, from.n_elems()), (to.elem, to.n_elems()), "redirect: another tensor than before");
        let tensors = self.commands.iter_mut().flat_map(|c| c.inputs.iter_mut().chain(&mut c.outputs));
        for tensor in tensors.filter(|t| t.storage == from.storage) {
            *tensor = to.reshaped(tensor.shape());
        }
    }

    /// How many scratch tensors were made.
    #[must_use]
    pub fn n_scratch(&self) -> u32 {
        self.n_scratch
    }

    /// Appends an op.
    pub(crate) fn push(&mut self, name: &str, op: Op, inputs: &[Tensor], outputs: &[Tensor]) {
        let label = if self.scope.is_empty() { name.to_owned() } else { format!("{}.{name}", self.scope) };
        self.commands.push(Command { op, inputs: inputs.to_vec(), outputs: outputs.to_vec(), label });
    }
}
