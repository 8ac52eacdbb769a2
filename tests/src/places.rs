//! Where a model can run: the CPU oracle, and every adapter in its variants.

use crate::{open, relative_error};
use aloud_cpu::CpuExecutor;
use aloud_engine::{Control, Engine, EngineError, EngineOptions, Event, Generation, Request, Sampling};
use aloud_gpu::{GpuExecutor, GpuOptions, adapters};
use aloud_ops::Executor;
use std::ops::ControlFlow;

use crate::tiny::Stored;

/// An executor that can be opened again and again.
#[derive(Clone, Debug)]
pub enum Place {
    /// The oracle.
    Cpu,
    /// An adapter.
    Gpu {
        /// Its name.
        name: String,
        /// Its number.
        index: usize,
        /// How it is opened.
        options: GpuOptions,
    },
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Cpu => write!(f, "the CPU oracle"),
            Place::Gpu { name, options, .. } => write!(f, "{name} (subgroups: {})", options.subgroups),
        }
    }
}

/// Every adapter, in a variant each: with what the device offers, and, but for lavapipe beside SwiftShader, plain.
///
/// # Panics
/// If there is no adapter, unless `ALOUD_GPU=skip` is set, which is said aloud.
#[must_use]
pub fn gpus() -> Vec<Place> {
    let summaries = pollster::block_on(adapters());
    if summaries.is_empty() {
        let skip = std::env::var("ALOUD_GPU").is_ok_and(|v| v == "skip");
        assert!(skip, "no GPU adapter; ALOUD_GPU=skip skips these tests");
        eprintln!("SKIPPED on GPUs: no adapter, ALOUD_GPU=skip");
    }
    let has_swiftshader = summaries.iter().any(|summary| summary.name.contains("SwiftShader"));
    let mut all = Vec::new();
    for summary in summaries {
        // lavapipe takes half a second to compile a kernel, and longer a plain one: SwiftShader, which compiles faster, has those.
        let is_plain_elsewhere =
            has_swiftshader && summary.name.contains("llvmpipe") && summary.subgroup_sizes.is_some();
        let variants = [(true, summary.subgroup_sizes.is_some()), (false, !is_plain_elsewhere)];
        for (subgroups, _) in variants.into_iter().filter(|&(_, is_run)| is_run) {
            let options = GpuOptions { subgroups, ..GpuOptions::default() };
            all.push(Place::Gpu { name: summary.name.clone(), index: summary.index, options });
        }
    }
    all
}

/// The first adapter that is not SwiftShader, which is several times slower than others; SwiftShader if it is the only
/// one.
#[must_use]
pub fn fastest_gpu() -> Option<Place> {
    let all = gpus();
    let slow = |place: &&Place| matches!(place, Place::Gpu { name, .. } if name.contains("SwiftShader"));
    all.iter().find(|place| !slow(place)).or(all.first()).cloned()
}

/// The oracle, and every adapter in its variants.
#[must_use]
pub fn everywhere() -> Vec<Place> {
    [Place::Cpu].into_iter().chain(gpus()).collect()
}

/// The oracle and the fastest adapter.
#[must_use]
pub fn oracle_and_gpu() -> Vec<Place> {
    [Place::Cpu].into_iter().chain(fastest_gpu()).collect()
}

impl Place {
    /// Opens the adapter.
    ///
    /// # Panics
    /// If it does not open, or this is the oracle.
    #[must_use]
    pub fn gpu_executor(&self) -> GpuExecutor {
        let Place::Gpu { index, options, .. } = self else { panic!("the oracle is no GPU") };
        open(*index, *options)
    }

    /// A model loaded here.
    #[must_use]
    pub fn engine(&self, model: &Stored, options: EngineOptions) -> AnyEngine {
        match self {
            Place::Cpu => AnyEngine::Cpu(Box::new(model.engine(CpuExecutor::new(), options))),
            Place::Gpu { .. } => AnyEngine::Gpu(Box::new(model.engine(self.gpu_executor(), options))),
        }
    }
}

/// An engine on either.
pub enum AnyEngine {
    /// On the oracle.
    Cpu(Box<Engine<CpuExecutor>>),
    /// On an adapter.
    Gpu(Box<Engine<GpuExecutor>>),
}

impl AnyEngine {
    /// [`Engine::generate`]; returns the tokens as well.
    ///
    /// # Errors
    /// As the engine.
    pub fn listen(
        &mut self,
        request: &Request,
        mut on_event: impl FnMut(Event) -> ControlFlow<()>,
    ) -> Result<(Vec<u32>, Generation), EngineError> {
        let mut tokens = Vec::new();
        let keep = |event| {
            if let Event::Token(id) = event {
                tokens.push(id);
            }
            on_event(event)
        };
        let generation = match self {
            AnyEngine::Cpu(engine) => pollster::block_on(engine.generate(request, keep)),
            AnyEngine::Gpu(engine) => pollster::block_on(engine.generate(request, keep)),
        }?;
        assert_eq!(request.drawn.len() + tokens.len(), generation.n_generated, "every token is counted and reported");
        Ok((tokens, generation))
    }

    /// Generates to the end.
    ///
    /// # Panics
    /// If the engine refuses.
    pub fn generate(&mut self, request: &Request) -> (Vec<u32>, Generation) {
        self.listen(request, |_| ControlFlow::Continue(())).expect("generates")
    }

    /// The logits of the given positions, row after row.
    ///
    /// # Panics
    /// If the engine refuses.
    pub fn logits(&mut self, ids: &[u32], positions: &[usize]) -> Vec<f32> {
        match self {
            AnyEngine::Cpu(engine) => pollster::block_on(logits_at(engine, ids, positions)),
            AnyEngine::Gpu(engine) => pollster::block_on(logits_at(engine, ids, positions)),
        }
        .expect("computes")
    }

    /// [`Engine::warm_up`].
    ///
    /// # Panics
    /// If the device fails.
    pub fn warm_up(&mut self) {
        match self {
            AnyEngine::Cpu(engine) => pollster::block_on(engine.warm_up()),
            AnyEngine::Gpu(engine) => pollster::block_on(engine.warm_up()),
        }
        .expect("warms up");
    }

    /// [`Engine::clear_cache`].
    pub fn clear_cache(&mut self) {
        match self {
            AnyEngine::Cpu(engine) => engine.clear_cache(),
            AnyEngine::Gpu(engine) => engine.clear_cache(),
        }
    }
}

/// The logits of the given positions, row after row.
///
/// # Errors
/// If the engine refuses.
///
/// # Panics
/// If a row is missing or out of order.
pub async fn logits_at<E: Executor>(
    engine: &mut Engine<E>,
    ids: &[u32],
    positions: &[usize],
) -> Result<Vec<f32>, EngineError> {
    let mut all = Vec::new();
    let mut next = 0;
    let keep = |position: usize, row: &[f32]| {
        assert_eq!(position, next, "rows come in order");
        next += 1;
        if positions.contains(&position) {
            all.extend_from_slice(row);
        }
    };
    engine.logits(ids, keep).await?;
    assert_eq!(next, ids.len(), "every position has its row");
    Ok(all)
}

/// A greedy request.
#[must_use]
pub fn greedy(prompt: &[u32], max_tokens: u32) -> Request {
    Request {
        prompt: prompt.to_vec(),
        max_tokens,
        sampling: Sampling::default(),
        stop_ids: Vec::new(),
        n_vocab: u32::MAX,
        thought: None,
        drawn: Vec::new(),
        control: Control::default(),
        trace: false,
        top_logprobs: None,
    }
}

/// The larger of two relative errors: in the 2-norm, and of the worst value against the largest.
#[must_use]
pub fn worst_error(got: &[f32], expected: &[f32]) -> f64 {
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0f32, |a, v| a.max(v.abs()));
    let off = largest(&mut got.iter().zip(expected).map(|(a, b)| a - b));
    relative_error(got, expected).max(f64::from(off / largest(&mut expected.iter().copied())))
}

/// The most likely id of each row.
#[must_use]
pub fn best_ids(logits: &[f32], vocab: usize) -> Vec<u32> {
    let best = |row: &[f32]| (0..row.len()).reduce(|a, b| if row[b] > row[a] { b } else { a }).expect("has ids") as u32;
    logits.chunks_exact(vocab).map(best).collect()
}
