//! What a traced request tells, and the plans that can tell it.

use crate::error::EngineError;
use aloud_model::{Decoder, FeedForward};
use aloud_ops::{Executor, Op, Recording, Tensor};
use serde::Serialize;

/// What went on inside; as JSON an object whose `type` is `step` or `layer`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Trace {
    /// A step was computed.
    Step(StepTrace),
    /// A layer sent a token of the last step to experts.
    Layer(LayerTrace),
}

/// What a step was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A chunk of the prompt; what was found in the cache is not computed and not traced.
    Prompt,
    /// The last token of the answer, with drafts of what follows it.
    Decode,
    /// A draft by the layer that predicts further ahead.
    Draft,
}

/// A step: rows of tokens in, tokens drawn.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepTrace {
    /// What it was for.
    pub phase: Phase,
    /// Position of the first row. In [`Phase::Draft`] each row is a position with the token behind it.
    pub pos: u32,
    /// Ids of the rows: in [`Phase::Decode`] the last token and the drafts.
    pub tokens: Vec<u32>,
    /// Ids that were drafted for this step to verify.
    pub drafts: Vec<u32>,
    /// How many of them, from the first on, were right.
    pub accepted: u32,
    /// Ids that this step drew: those drafts, and one more.
    pub drawn: Vec<u32>,
    /// Tokens in the cache after this step.
    pub n_cached: u32,
    /// Bytes of the cache that they take, over all layers.
    pub cache_bytes: u64,
}

/// Which experts a layer sent a token to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerTrace {
    /// Position of the token. Behind `pos + accepted` of a step are rows of drafts that were wrong.
    pub pos: u32,
    /// Its id.
    pub token: u32,
    /// The layer, from 0; the one that predicts further ahead comes after the last.
    pub layer: u32,
    /// The chosen experts, best first.
    pub experts: Vec<u32>,
    /// What the output of each is multiplied with.
    pub weights: Vec<f32>,
    /// Experts that every token goes through beside these, with weight 1.
    pub n_shared: u32,
    /// The router's logits of all routed experts.
    pub logits: Vec<f32>,
}

/// A plan that leaves behind what its routers and its head did.
pub(crate) struct Traced<P> {
    pub plan: P,
    pub probes: Vec<Probe>,
    /// `[rows, V] f32`, if it draws.
    pub logits: Option<Tensor>,
}

/// What a layer's router leaves behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    layer: u32,
    /// `[T, E] f32`.
    logits: Tensor,
    /// `[T, S] u32`.
    ids: Tensor,
    /// `[T, S] f32`.
    weights: Tensor,
    /// Slots of routed experts; those of shared ones follow.
    n_routed: u32,
    n_shared: u32,
}

impl<P> Traced<P> {
    /// Compiles a recording whose routers and head write to states; `predicts` if it is of the layer that predicts further ahead.
    pub fn compile<E: Executor<Plan = P>>(
        executor: &mut E,
        decoder: &Decoder<'_>,
        mut rec: Recording,
        predicts: bool,
    ) -> Result<Self, EngineError> {
        let probes = probes(executor, decoder, &mut rec, predicts).map_err(EngineError::executor)?;
        let logits = if predicts { None } else { keep_logits(executor, &mut rec).map_err(EngineError::executor)? };
        let plan = executor.compile(&rec).map_err(EngineError::executor)?;
        Ok(Traced { plan, probes, logits })
    }
}

/// The logits that tokens are drawn by, in a state of their own.
fn keep_logits<E: Executor>(executor: &mut E, rec: &mut Recording) -> Result<Option<Tensor>, E::Error> {
    let Some(draws) = rec.commands.iter().find(|command| matches!(command.op, Op::Penalize(_))) else {
        return Ok(None);
    };
    let from = draws.inputs[0];
    let kept = executor.create_state("trace.logits", from.elem, from.shape())?;
    rec.redirect(from, kept);
    Ok(Some(kept))
}

fn probes<E: Executor>(
    executor: &mut E,
    decoder: &Decoder<'_>,
    rec: &mut Recording,
    predicts: bool,
) -> Result<Vec<Probe>, E::Error> {
    let Some(experts) = decoder.config.experts else { return Ok(Vec::new()) };
    let layers = decoder.weights.layers.iter().enumerate();
    let routes = layers.filter(|(_, layer)| matches!(layer.feed_forward, FeedForward::Experts { .. }));
    let layers: Vec<u32> =
        if predicts { vec![decoder.config.num_hidden_layers] } else { routes.map(|(i, _)| i as u32).collect() };
    let routed = rec.commands.iter().filter(|command| matches!(command.op, Op::Route(_)));
    let routed: Vec<[Tensor; 3]> = routed.map(|c| [c.inputs[0], c.outputs[0], c.outputs[1]]).collect();
    assert_eq!(layers.len(), routed.len(), "each layer with experts routes once");
    let mut probes = Vec::new();
    for (layer, tensors) in layers.into_iter().zip(routed) {
        let mut kept = tensors;
        for (kept, name) in kept.iter_mut().zip(["logits", "ids", "weights"]) {
            let from = *kept;
            *kept = executor.create_state(&format!("trace.l{layer:02}.{name}"), from.elem, from.shape())?;
            rec.redirect(from, *kept);
        }
        let [logits, ids, weights] = kept;
        let (n_routed, n_shared) = (experts.num_experts_per_tok, experts.n_shared_experts);
        probes.push(Probe { layer, logits, ids, weights, n_routed, n_shared });
    }
    Ok(probes)
}

impl Probe {
    /// What the layer did with the rows of a step.
    pub async fn read<E: Executor>(&self, executor: &mut E, step: &StepTrace) -> Result<Vec<LayerTrace>, E::Error> {
        let rows = |words: Vec<u8>, tensor: Tensor, width: u32| -> Vec<Vec<u32>> {
            let words: Vec<u32> = words.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
            words.chunks_exact(tensor.cols() as usize).map(|row| row[..width as usize].to_vec()).collect()
        };
        let logits = rows(executor.read_state(self.logits).await?, self.logits, self.logits.cols());
        let ids = rows(executor.read_state(self.ids).await?, self.ids, self.n_routed);
        let weights = rows(executor.read_state(self.weights).await?, self.weights, self.n_routed);
        let floats = |row: Vec<u32>| row.into_iter().map(f32::from_bits).collect();
        let rows = ids.into_iter().zip(weights).zip(logits).zip(step.tokens.iter().zip(step.pos..));
        let traces = rows.map(|(((experts, weights), logits), (&token, pos))| LayerTrace {
            pos,
            token,
            layer: self.layer,
            experts,
            weights: floats(weights),
            n_shared: self.n_shared,
            logits: floats(logits),
        });
        Ok(traces.collect())
    }
}
