//! The recordings of a model, compiled once: a decode step, chunks of a prompt, and what drafts and verifies.

use crate::drafting::{Draft, DraftKind};
use crate::error::EngineError;
use aloud_model::{Config, Decoder, LayerCache, Weights};
use aloud_ops::{
    Elem, Executor, KvCache, LatentCache, Recording, SampleRow, SamplerBuffers, Tensor, draft_begin, draft_drop,
    draft_lookup, draft_pick, last_row, penalize, sample,
};

/// Everything that persists between steps.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub step: Tensor,
    pub sampler: SamplerBuffers,
    pub block_table: Tensor,
    pub caches: Vec<LayerCache>,
    pub drafting: Option<Drafting>,
}

/// What drafting keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Drafting {
    Lookup {
        n_drafts: u32,
        /// `[positions]`: the sequence.
        history: Tensor,
    },
    NextToken {
        n_drafts: u32,
        /// Where the extra layer stands.
        step: Tensor,
        /// `[1 + n_drafts]`: its rows.
        tokens: Tensor,
        /// `[1 + n_drafts, D]`: the hidden states that the last step left.
        hidden: Tensor,
        /// `[1, D]`: the hidden state that the extra layer left.
        own_hidden: Tensor,
        /// `[max_chunk]`: the tokens behind those of a chunk.
        next: Tensor,
    },
}

impl Drafting {
    pub fn n_drafts(&self) -> u32 {
        match *self {
            Drafting::Lookup { n_drafts, .. } | Drafting::NextToken { n_drafts, .. } => n_drafts,
        }
    }
}

/// Sizes of the state.
pub(crate) struct Sizes {
    pub n_blocks: u32,
    pub block_tokens: u32,
    pub cache: Elem,
    pub max_chunk: u32,
    pub draft: Option<Draft>,
}

impl State {
    pub fn create<E: Executor>(executor: &mut E, config: &Config, mtp: bool, sizes: &Sizes) -> Result<State, E::Error> {
        let block_table = executor.create_state("block_table", Elem::U32, &[sizes.n_blocks])?;
        let mut caches = Vec::new();
        for i in 0..config.num_hidden_layers + u32::from(mtp) {
            caches.push(layer_cache(executor, config, i, block_table, sizes)?);
        }
        let drafting = match sizes.draft {
            None => None,
            Some(draft) => Some(create_drafting(executor, config, draft, sizes)?),
        };
        Ok(State {
            step: executor.create_state("step", Elem::U32, &[4])?,
            sampler: SamplerBuffers::create(executor, config.vocab_size, sizes.max_chunk)?,
            block_table,
            caches,
            drafting,
        })
    }
}

fn layer_cache<E: Executor>(
    executor: &mut E,
    config: &Config,
    i: u32,
    block_table: Tensor,
    sizes: &Sizes,
) -> Result<LayerCache, E::Error> {
    let slots = sizes.n_blocks * sizes.block_tokens;
    let block_tokens = sizes.block_tokens;
    if config.latent.is_some() {
        let shape = [slots, config.cache_width()];
        let rows = executor.create_state(&format!("l{i:02}.latent_cache"), sizes.cache, &shape)?;
        return Ok(LayerCache::Latent(LatentCache { rows, block_table, block_tokens }));
    }
    let shape = [slots, config.num_key_value_heads * config.head_dim];
    let k = executor.create_state(&format!("l{i:02}.k_cache"), sizes.cache, &shape)?;
    let v = executor.create_state(&format!("l{i:02}.v_cache"), sizes.cache, &shape)?;
    Ok(LayerCache::Grouped(KvCache { k, v, block_table, block_tokens }))
}

fn create_drafting<E: Executor>(
    executor: &mut E,
    config: &Config,
    draft: Draft,
    sizes: &Sizes,
) -> Result<Drafting, E::Error> {
    let (n_drafts, d) = (draft.n_drafts, config.hidden_size);
    Ok(match draft.kind {
        DraftKind::Lookup => Drafting::Lookup {
            n_drafts,
            history: executor.create_state("history", Elem::U32, &[sizes.n_blocks * sizes.block_tokens + 1])?,
        },
        DraftKind::NextToken => Drafting::NextToken {
            n_drafts,
            step: executor.create_state("draft.step", Elem::U32, &[4])?,
            tokens: executor.create_state("draft.tokens", Elem::U32, &[1 + n_drafts])?,
            hidden: executor.create_state("draft.hidden", Elem::F32, &[1 + n_drafts, d])?,
            own_hidden: executor.create_state("draft.own_hidden", Elem::F32, &[1, d])?,
            next: executor.create_state("draft.next", Elem::U32, &[sizes.max_chunk])?,
        },
    })
}

/// What a recording does after the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing: more of the prompt follows.
    Nothing,
    /// Draws a token after the last row.
    Draw,
    /// Draws a token after the first row, and one more after each draft that turns out right.
    Verify,
}

/// The compiled recordings of a model; P is an executor's plan, or one that is looked into.
pub struct PlanSet<P> {
    /// One token in, one token drawn.
    pub decode: P,
    /// Chunks of a prompt by size, ascending: without and with drawing a token after the last row.
    pub prefill: Vec<(u32, P, P)>,
    /// One token and drafts in, one token and those drafts that were right out.
    pub verify: Option<P>,
    /// Multi-token prediction: the first draft of a step, and each further one.
    pub predict: Option<[P; 2]>,
}

impl<P> PlanSet<P> {
    /// `compile` is told whether a recording is of the layer that predicts further ahead.
    pub(crate) fn compile(
        decoder: &Decoder<'_>,
        state: &State,
        chunks: &[u32],
        mut compile: impl FnMut(Recording, bool) -> Result<P, EngineError>,
    ) -> Result<Self, EngineError> {
        // The largest first: plans share activation buffers.
        let mut prefill = Vec::new();
        for &chunk in chunks.iter().rev() {
            let mut plan = |end| compile(record(decoder, state, chunk, end), false);
            prefill.insert(0, (chunk, plan(End::Nothing)?, plan(End::Draw)?));
        }
        let verify = match &state.drafting {
            Some(drafting) => Some(compile(record(decoder, state, 1 + drafting.n_drafts(), End::Verify), false)?),
            None => None,
        };
        let predict = match &state.drafting {
            Some(Drafting::NextToken { .. }) => Some([
                compile(record_predict(decoder, state, true), true)?,
                compile(record_predict(decoder, state, false), true)?,
            ]),
            _ => None,
        };
        let decode = compile(record(decoder, state, 1, End::Draw), false)?;
        Ok(PlanSet { decode, prefill, verify, predict })
    }

    /// Every plan.
    pub(crate) fn all(&self) -> impl Iterator<Item = &P> {
        let prefill = self.prefill.iter().flat_map(|(_, plain, draws)| [plain, draws]);
        prefill.chain([&self.decode]).chain(&self.verify).chain(self.predict.iter().flatten())
    }

    /// Size of the next chunk for so many tokens left, and whether it is the last.
    pub(crate) fn chunk_for(&self, left: usize) -> (usize, bool) {
        let sizes = [1].into_iter().chain(self.prefill.iter().map(|(size, ..)| *size as usize));
        let largest = sizes.clone().last().expect("there is 1");
        let size = sizes.into_iter().find(|&s| s >= left).unwrap_or(largest);
        (size, size >= left)
    }

    /// The plan of a chunk; one single token is a decode step, and always the last.
    pub(crate) fn chunk(&self, size: usize, last: bool) -> &P {
        match self.prefill.iter().find(|(s, ..)| *s as usize == size) {
            Some((_, _, draws)) if last => draws,
            Some((_, plan, _)) => plan,
            None => &self.decode,
        }
    }
}

/// A step of up to `max_tokens` rows.
pub(crate) fn record(decoder: &Decoder<'_>, state: &State, max_tokens: u32, end: End) -> Recording {
    let mut rec = Recording::new(state.step, max_tokens);
    if state.drafting.is_some() && max_tokens == 1 {
        draft_drop(&mut rec);
    }
    let mut x = decoder.forward(&mut rec, state.sampler.tokens);
    if let (Some(Drafting::NextToken { next, .. }), true) = (&state.drafting, max_tokens > 1 && end != End::Verify) {
        let hidden = decoder.hidden(&mut rec, x);
        decoder.next_token_cache(&mut rec, hidden, *next);
    }
    if end == End::Nothing {
        return rec;
    }
    if end == End::Draw && max_tokens > 1 {
        x = last_row(&mut rec, x);
    }
    let mut hidden = decoder.hidden(&mut rec, x);
    if let Some(Drafting::NextToken { hidden: kept, .. }) = &state.drafting {
        let kept = Tensor::new(kept.storage, kept.elem, hidden.shape());
        rec.redirect(hidden, kept);
        hidden = kept;
    }
    let logits = decoder.head(&mut rec, hidden);
    let rows = if end == End::Verify { max_tokens } else { 1 };
    for row in 0..rows {
        let at = SampleRow { row, drafts: end == End::Verify };
        penalize(&mut rec, logits, &state.sampler, at);
        sample(&mut rec, &state.sampler, at);
    }
    if let Some(Drafting::Lookup { history, n_drafts }) = &state.drafting {
        draft_lookup(&mut rec, &state.sampler, *history, *n_drafts);
    }
    rec
}

/// Multi-token prediction of one draft: the first of a step, which also brings the extra layer's cache up to date with the
/// tokens that were drawn; or a further one.
fn record_predict(decoder: &Decoder<'_>, state: &State, first: bool) -> Recording {
    let Some(Drafting::NextToken { n_drafts, step, tokens, hidden, own_hidden, .. }) = state.drafting else {
        unreachable!("the caller looked")
    };
    let rows = if first { 1 + n_drafts } else { 1 };
    let mut rec = Recording::new(step, rows);
    if first {
        draft_begin(&mut rec, &state.sampler, state.step, tokens);
    }
    let seen = if first { hidden } else { own_hidden };
    let mut h = decoder.next_token(&mut rec, seen, tokens);
    if first {
        h = last_row(&mut rec, h);
    }
    rec.redirect(h, own_hidden);
    let logits = decoder.head(&mut rec, own_hidden);
    penalize(&mut rec, logits, &state.sampler, SampleRow::default());
    draft_pick(&mut rec, &state.sampler, state.step, tokens, n_drafts);
    rec
}

/// A chunk whose logits all go to `logits`: `[max_tokens, V] f32`.
pub(crate) fn record_logits(decoder: &Decoder<'_>, state: &State, max_tokens: u32, logits: Tensor) -> Recording {
    let mut rec = Recording::new(state.step, max_tokens);
    let x = decoder.forward(&mut rec, state.sampler.tokens);
    let hidden = decoder.hidden(&mut rec, x);
    decoder.head(&mut rec, hidden);
    rec.commands.last_mut().expect("the head").outputs[0] = logits;
    rec
}

/// The decoder of a model and its state.
pub(crate) fn decoder<'a>(config: &'a Config, weights: &'a Weights, state: &'a State, expand_from: u32) -> Decoder<'a> {
    Decoder { config, weights, caches: &state.caches, expand_from }
}
