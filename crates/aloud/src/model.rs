//! A loaded model.

use crate::aside::Aside;
use crate::chat::{ChatEvent, ChatOptions, Ending, Listener};
use crate::drafts::{DraftReport, Drafts};
use crate::error::Error;
use crate::files::ModelFiles;
use crate::header::{Header, Numbers};
use aloud_engine::{
    Control, Draft, Engine, EngineOptions, Event, Generation, PreparedStep, Request, Sampling, Thought,
};
use aloud_format::ByteSource;
use aloud_gpu::{Choice, Gpu, GpuExecutor, GpuOptions, PlanFigures, StepSeconds, Tuned, Tuning};
use aloud_model::{MemoryNeed, Progress, allocate, mtp_layer};
use aloud_ops::{Elem, Executor};
use aloud_text::Message;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;
use web_time::Instant;

/// The context if none is asked for, unless the model was made for less.
pub const DEFAULT_CTX: u32 = 4096;

/// How a model is loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Which adapter.
    pub device: Choice,
    /// How it is opened.
    pub gpu: GpuOptions,
    /// Tokens of context; by default 4096, or fewer if the model was made for fewer.
    pub n_ctx: Option<u32>,
    /// Elements of the KV cache: [`Elem::F16`], or [`Elem::F32`] for checking.
    pub cache: Elem,
    /// Bytes of main memory that there are for the model, if known: on an adapter that lives in main memory, a model that
    /// needs more is refused before it is loaded.
    pub available_bytes: Option<u64>,
    /// How tokens are drafted; not at all by default.
    pub drafts: Drafts,
    /// Tokens drafted per step, 1 to 4; by default 1 with multi-token prediction and 4 with lookup.
    pub n_drafts: Option<u32>,
    /// What was measured before, on any device: what [`Model::tuning`] gave.
    pub tunings: BTreeMap<String, String>,
    /// How long to measure, before the weights come, which variants of kernels are fastest on this device, as far as that is not
    /// known; `None`, the default, not to. Sums are then rounded in another order, and a prompt's factors
    /// perhaps to halves, within 2e-3 of a product.
    pub tune: Option<Duration>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            device: Choice::Best,
            gpu: GpuOptions::default(),
            n_ctx: None,
            cache: Elem::F16,
            available_bytes: None,
            drafts: Drafts::Off,
            n_drafts: None,
            tunings: BTreeMap::new(),
            tune: None,
        }
    }
}

/// Bytes on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Weights, cache and tables.
    pub held_bytes: u64,
    /// Activations of all plans.
    pub activation_bytes: u64,
}

/// When loading had what, in milliseconds after it began. Text and pipelines come beside the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LoadTimes {
    /// The model's numbers and the table of tensors.
    pub header_ms: f64,
    /// An open device.
    pub device_ms: f64,
    /// Room for weights and cache, and all of the plans but pipelines.
    pub plans_ms: f64,
    /// All weights on their way to the device.
    pub weights_ms: f64,
    /// All pipelines.
    pub pipelines_ms: f64,
    /// Everything, tokenizer and template included.
    pub all_ms: f64,
}

impl LoadTimes {
    /// Each with its name.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, f64); 6] {
        let LoadTimes { header_ms, device_ms, plans_ms, weights_ms, pipelines_ms, all_ms } = *self;
        [
            ("header", header_ms),
            ("device", device_ms),
            ("plans", plans_ms),
            ("weights", weights_ms),
            ("pipelines", pipelines_ms),
            ("all", all_ms),
        ]
    }
}

/// A measured run.
#[derive(Clone, Debug, PartialEq)]
pub struct Bench {
    /// From the start to the first token.
    pub prefill_ms: f64,
    /// From the first token to the last.
    pub decode_ms: f64,
    /// How drafting went, if there was any.
    pub drafts: Option<DraftReport>,
}

/// A model on a device, ready to talk.
pub struct Model {
    header: Header,
    engine: Engine<GpuExecutor>,
    name: String,
    draft: Option<Draft>,
    tuned: Vec<Tuned>,
    times: LoadTimes,
}

impl Model {
    /// Loads a model: reads the header, opens the device, has every pipeline compiled, copies the weights in slices.
    ///
    /// # Errors
    /// If a file is hostile or unsupported, there is no device, or the model does not fit it.
    pub async fn load<S: ByteSource>(
        files: ModelFiles<S>,
        options: &LoadOptions,
        on_progress: impl FnMut(Progress),
    ) -> Result<Model, Error> {
        let begun = Instant::now();
        let now_ms = || begun.elapsed().as_secs_f64() * 1e3;
        let mut times = LoadTimes::default();
        let (device, how) = (options.device.clone(), options.gpu);
        let gpu = Aside::begin(async move || Gpu::open(&device, how).await);
        let (numbers, text) = Numbers::read(&files).await?;
        times.header_ms = now_ms();
        let Numbers { config, tensors, .. } = &numbers;
        let n_ctx = options.n_ctx.unwrap_or(DEFAULT_CTX.min(config.max_position_embeddings));
        let need = MemoryNeed::of(config, tensors, n_ctx, options.cache)?;
        aloud_engine::check_context(n_ctx, config)?;
        let gpu = gpu.join().await?;
        times.device_ms = now_ms();
        let shares_memory = matches!(gpu.adapter.kind, "CPU" | "integrated GPU");
        check_memory(files.name(), need, options.available_bytes.filter(|_| shares_memory))?;
        check_context(need, n_ctx, &gpu)?;
        let has_layer = mtp_layer(config, tensors).is_some();
        let on_cpu = gpu.adapter.kind == "CPU";
        let draft = options.drafts.choose(options.n_drafts, files.name(), has_layer, on_cpu)?;
        let mut executor = GpuExecutor::new(gpu);
        if let Some(text) = options.tunings.get(&executor.gpu().tuning_key()) {
            executor.set_tuning(Tuning::parse(text));
        }
        let name = files.name().to_owned();
        let sources = files.into_weights();
        let room = allocate(&mut executor, config, tensors, n_ctx)?;
        let tuned = match options.tune {
            Some(budget) => executor.tune(budget).await?,
            None => Vec::new(),
        };
        let mut options = EngineOptions { n_ctx, cache: options.cache, draft, ..EngineOptions::default() };
        if executor.gpu().caps.row_by_row() {
            options.expand_from = u32::MAX; // expanding latents pays where many rows share them
        }
        let mut engine = Engine::new(executor, config.clone(), room.weights.clone(), options)?;
        times.plans_ms = now_ms();
        // What is wrong with the text is most often known by now, and not only when gigabytes have come.
        let text = if text.is_there() { Ok(text.join().await?) } else { Err(text) };
        // Pipelines compile while the weights come.
        room.fill(engine.executor_mut(), config, tensors, &sources, on_progress).await?;
        times.weights_ms = now_ms();
        engine.executor_mut().finish_compiling()?;
        times.pipelines_ms = now_ms();
        let text = match text {
            Ok(text) => text,
            Err(to_come) => to_come.join().await?,
        };
        if cfg!(target_arch = "wasm32") {
            // Browsers compile in the background; the first token is not to wait for it.
            engine.warm_up().await?;
        }
        times.all_ms = now_ms();
        Ok(Model { header: numbers.with(text), engine, name, draft, tuned, times })
    }

    /// All but the weights.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What it was loaded from.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        self.engine.executor().gpu()
    }

    /// What was measured while it was loaded.
    #[must_use]
    pub fn tuned(&self) -> &[Tuned] {
        &self.tuned
    }

    /// What loading it took.
    #[must_use]
    pub fn load_times(&self) -> LoadTimes {
        self.times
    }

    /// What is known of the device, as a key and a text to be kept for [`LoadOptions::tunings`]. The key is of the device, its
    /// driver and this version's kernels.
    #[must_use]
    pub fn tuning(&self) -> (String, String) {
        (self.gpu().tuning_key(), self.gpu().caps.tuning.to_string())
    }

    /// Tokens of context.
    #[must_use]
    pub fn n_ctx(&self) -> u32 {
        self.engine.n_ctx()
    }

    /// Bytes on the device.
    #[must_use]
    pub fn resident(&self) -> Resident {
        let (held_bytes, activation_bytes) = self.engine.executor().resident_bytes();
        Resident { held_bytes, activation_bytes }
    }

    /// Forgets what earlier prompts left in the cache.
    pub fn clear_cache(&mut self) {
        self.engine.clear_cache();
    }

    /// How tokens are drafted: as the model was loaded to, if it was.
    #[must_use]
    pub fn draft(&self) -> Option<Draft> {
        self.draft
    }

    /// Goes on without drafts, or with those that the model was loaded to make.
    pub fn set_drafting(&mut self, on: bool) {
        self.engine.set_drafting(on);
    }

    /// What one decoded token costs with `n_kv` tokens cached.
    #[must_use]
    pub fn decode_figures(&self, n_kv: u32) -> PlanFigures {
        self.engine.plans().decode.figures(1, n_kv)
    }

    /// The ids of a conversation, and whether they end inside a thought. A model without template continues the text of the
    /// messages.
    ///
    /// # Errors
    /// If the template fails or refuses the messages.
    pub fn render(&self, messages: &[Message], options: &ChatOptions) -> Result<(Vec<u32>, bool), Error> {
        let tokenizer = &self.header.tokenizer;
        match &self.header.template {
            Some(template) => {
                let prompt = template.render(messages, &options.render)?;
                Ok((tokenizer.encode_prompt(&prompt), prompt.opens_thought))
            }
            None => {
                let text: Vec<&str> = messages.iter().map(|m| m.content.as_str()).collect();
                let mut ids = tokenizer.encode(&text.join("\n"), aloud_text::Special::AsText)?;
                ids.splice(0..0, tokenizer.bos().filter(|_| tokenizer.adds_bos()));
                Ok((ids, false))
            }
        }
    }

    /// Answers a conversation. What it has in common with the last one is not computed again. `on_event` may break, which
    /// ends the answer at the next token.
    ///
    /// # Errors
    /// If the conversation does not fit the context, or the device fails.
    pub async fn chat(
        &mut self,
        messages: &[Message],
        options: &ChatOptions,
        on_event: impl FnMut(ChatEvent) -> ControlFlow<()>,
    ) -> Result<Ending, Error> {
        let (prompt, opens_thought) = self.render(messages, options)?;
        let tokenizer = &self.header.tokenizer;
        let think = self.header.think_ids();
        let request = Request {
            prompt,
            max_tokens: options.max_tokens.unwrap_or(u32::MAX),
            sampling: options.sampling.unwrap_or(self.header.recommended_sampling()),
            stop_ids: tokenizer.stop_ids().to_vec(),
            n_vocab: tokenizer.vocab_size() as u32,
            thought: think.map(|(open, close)| Thought {
                open,
                close,
                budget: options.think_budget,
                open_at_start: opens_thought,
            }),
            drawn: options.drawn.clone(),
            control: options.control.clone(),
            trace: options.trace,
            top_logprobs: options.top_logprobs,
        };
        let close = think.map(|(_, close)| close);
        let mut listener = Listener::new(tokenizer, opens_thought, close, options.stop.clone(), on_event);
        listener.replay(&options.drawn);
        let generation = self.engine.generate(&request, |event| listener.event(event)).await?;
        let drafts = report(self.draft, &generation);
        Ok(listener.finish(generation, drafts))
    }

    /// The logits of every position: `on_row(position, logits)`.
    ///
    /// # Errors
    /// If the ids do not fit the context, or the device fails.
    pub async fn logits(&mut self, ids: &[u32], on_row: impl FnMut(usize, &[f32])) -> Result<(), Error> {
        Ok(self.engine.logits(ids, on_row).await?)
    }

    /// Computes `prompt` from nothing and generates `n_generate` tokens greedily, without end tokens.
    ///
    /// # Errors
    /// If this does not fit the context, or the device fails.
    pub async fn bench(&mut self, prompt: &[u32], n_generate: u32) -> Result<Bench, Error> {
        self.engine.clear_cache();
        self.bench_cached(prompt, n_generate).await
    }

    /// As [`bench`](Self::bench), but what an earlier run left of `prompt` in the cache is not computed again: for measuring
    /// decoding alone behind a long prompt.
    ///
    /// # Errors
    /// As [`bench`](Self::bench).
    pub async fn bench_cached(&mut self, prompt: &[u32], n_generate: u32) -> Result<Bench, Error> {
        let request = Request {
            prompt: prompt.to_vec(),
            max_tokens: n_generate.max(1),
            sampling: Sampling::default(),
            stop_ids: Vec::new(),
            n_vocab: u32::MAX,
            thought: None,
            drawn: Vec::new(),
            control: Control::default(),
            trace: false,
            top_logprobs: None,
        };
        let started = Instant::now();
        let (mut first, mut last) = (None, started);
        let generation = self
            .engine
            .generate(&request, |event| {
                if let Event::Token(_) = event {
                    last = Instant::now();
                    first.get_or_insert(last);
                }
                ControlFlow::Continue(())
            })
            .await?;
        let first = first.unwrap_or(last);
        let ms = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1e3;
        let drafts = report(self.draft, &generation);
        Ok(Bench { prefill_ms: ms(started, first), decode_ms: ms(first, last), drafts })
    }

    /// What a decode step takes the device, behind what is cached of `prompt`, and what drawing takes of it; `None` if the
    /// device has no clock.
    ///
    /// # Errors
    /// As [`bench`](Self::bench).
    pub async fn time_step(&mut self, prompt: &[u32], sampling: &Sampling) -> Result<Option<StepSeconds>, Error> {
        let PreparedStep { executor, plan, n_kv, step } = self.engine.prepare_step(prompt, sampling)?;
        let seconds = executor.time_step(plan, n_kv, step).await;
        Ok(seconds?)
    }
}

fn report(draft: Option<Draft>, generation: &Generation) -> Option<DraftReport> {
    draft.zip(generation.drafts).map(|(draft, stats)| DraftReport::new(draft, &stats))
}

fn check_memory(model: &str, need: MemoryNeed, available: Option<u64>) -> Result<(), Error> {
    let need_bytes = need.weight_bytes + need.kv_bytes;
    match available {
        Some(found_bytes) if need_bytes > found_bytes => Err(Error::TooLarge {
            model: model.to_owned(),
            need_bytes,
            weight_bytes: need.weight_bytes,
            kv_bytes: need.kv_bytes,
            found_bytes,
        }),
        _ => Ok(()),
    }
}

fn check_context(need: MemoryNeed, n_ctx: u32, gpu: &Gpu) -> Result<(), Error> {
    let limit_bytes = gpu.caps.max_binding_bytes;
    if need.kv_binding_bytes <= limit_bytes {
        return Ok(());
    }
    let per_token = need.kv_binding_bytes / u64::from(n_ctx);
    let fits = limit_bytes / per_token;
    let adapter = gpu.adapter.name.clone();
    Err(Error::ContextTooLarge { n_ctx, need_bytes: need.kv_binding_bytes, limit_bytes, fits, adapter })
}
