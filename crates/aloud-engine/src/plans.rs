//! The recordings of a model, compiled once: a decode step, and chunks of a prompt.

use crate::error::EngineError;
use aloud_model::{Config, Weights, forward, head};
use aloud_ops::{Elem, Executor, KvCache, Recording, SamplerBuffers, Tensor, last_row, penalize, sample};

/// Everything that persists between steps.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub step: Tensor,
    pub sampler: SamplerBuffers,
    pub block_table: Tensor,
    pub caches: Vec<KvCache>,
}

impl State {
    pub fn create<E: Executor>(
        executor: &mut E,
        config: &Config,
        n_blocks: u32,
        block_tokens: u32,
        cache: Elem,
        max_chunk: u32,
    ) -> Result<State, E::Error> {
        let block_table = executor.create_state("block_table", Elem::U32, &[n_blocks])?;
        let shape = [n_blocks * block_tokens, config.num_key_value_heads * config.head_dim];
        let mut caches = Vec::new();
        for i in 0..config.num_hidden_layers {
            let k = executor.create_state(&format!("l{i:02}.k_cache"), cache, &shape)?;
            let v = executor.create_state(&format!("l{i:02}.v_cache"), cache, &shape)?;
            caches.push(KvCache { k, v, block_table, block_tokens });
        }
        Ok(State {
            step: executor.create_state("step", Elem::U32, &[4])?,
            sampler: SamplerBuffers::create(executor, config.vocab_size, max_chunk)?,
            block_table,
            caches,
        })
    }
}

/// The compiled recordings of a model.
pub struct PlanSet<E: Executor> {
    /// One token in, one token drawn.
    pub decode: E::Plan,
    /// Chunks of a prompt by size, ascending: without and with drawing a token after the last row.
    pub prefill: Vec<(u32, E::Plan, E::Plan)>,
}

impl<E: Executor> PlanSet<E> {
    pub(crate) fn compile(
        executor: &mut E,
        config: &Config,
        weights: &Weights,
        state: &State,
        chunks: &[u32],
    ) -> Result<Self, EngineError> {
        // The largest first: plans share activation buffers.
        let mut prefill = Vec::new();
        for &chunk in chunks.iter().rev() {
            let mut plan = |draws: bool| {
                let recording = record(config, weights, state, chunk, draws);
                executor.compile(&recording).map_err(EngineError::executor)
            };
            prefill.insert(0, (chunk, plan(false)?, plan(true)?));
        }
        let decode = executor.compile(&record(config, weights, state, 1, true)).map_err(EngineError::executor)?;
        Ok(PlanSet { decode, prefill })
    }

    /// Size of the next chunk for so many tokens left, and whether it is the last.
    pub(crate) fn chunk_for(&self, left: usize) -> (usize, bool) {
        let sizes = [1].into_iter().chain(self.prefill.iter().map(|(size, ..)| *size as usize));
        let largest = sizes.clone().last().expect("there is 1");
        let size = sizes.into_iter().find(|&s| s >= left).unwrap_or(largest);
        (size, size >= left)
    }

    /// The plan of a chunk; one single token is a decode step, and always the last.
    pub(crate) fn chunk(&self, size: usize, last: bool) -> &E::Plan {
        match self.prefill.iter().find(|(s, ..)| *s as usize == size) {
            Some((_, _, draws)) if last => draws,
            Some((_, plan, _)) => plan,
            None => &self.decode,
        }
    }
}

/// A step of up to `max_tokens` rows; with `draws`, the last row's logits are sampled.
fn record(config: &Config, weights: &Weights, state: &State, max_tokens: u32, draws: bool) -> Recording {
    let mut rec = Recording::new(state.step, max_tokens);
    let mut x = forward(&mut rec, config, weights, state.sampler.tokens, &state.caches);
    if draws {
        if max_tokens > 1 {
            x = last_row(&mut rec, x);
        }
        let logits = head(&mut rec, config, weights, x);
        penalize(&mut rec, logits, &state.sampler);
        sample(&mut rec, &state.sampler);
    }
    rec
}

/// A chunk whose logits all go to `logits`: `[max_tokens, V] f32`.
pub(crate) fn record_logits(
    config: &Config,
    weights: &Weights,
    state: &State,
    max_tokens: u32,
    logits: Tensor,
) -> Recording {
    let mut rec = Recording::new(state.step, max_tokens);
    let x = forward(&mut rec, config, weights, state.sampler.tokens, &state.caches);
    head(&mut rec, config, weights, x);
    rec.commands.last_mut().expect("the head").outputs[0] = logits;
    rec
}
