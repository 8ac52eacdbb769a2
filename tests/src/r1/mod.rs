//! One layer of DeepSeek-R1 at its true widths, with random weights in the formats of a Q4_K_M file.

mod matrices;

pub use matrices::Matrices;

use crate::places::Place;
use crate::{Numbers, expose_all, floats, integers};
use aloud_format::DType;
use aloud_gpu::{GpuExecutor, PlanFigures};
use aloud_model::{
    Architecture, AttentionWeights, Config, Container, Decoder, Experts, FeedForward, Latent, Layer, LayerCache,
    RopeScaling, Weights, rope_table,
};
use aloud_ops::{Elem, Executor, GroupScore, KvUp, LatentCache, Op, Recording, Scoring, Step, Tensor};
use std::time::Instant;

/// D.
pub const D: u32 = 7168;
/// Query heads.
pub const H: u32 = 128;
/// Width of the latent of queries.
pub const Q_LORA: u32 = 1536;
/// Width of the latent of keys and values.
pub const R: u32 = 512;
/// Values of a head that turn.
pub const P: u32 = 64;
/// Values of a head's key without position, and of its output.
pub const HEAD: u32 = 128;
/// Width of an expert.
pub const I: u32 = 2048;
/// Routed experts of a token.
pub const K: u32 = 8;
/// Tokens that the cache has room for.
pub const SLOTS: u32 = 8256;
/// Added to mean squares.
pub const EPS: f32 = 1e-6;
const VOCAB: u32 = 64;

/// What the layer is made of, in the formats of a Q4_K_M file. Spreads keep scores as large as a real model's, and make
/// attention and experts add as much as is there.
#[derive(Clone, Copy, Debug)]
pub struct R1 {
    /// Routed experts; the shared one stands behind them.
    pub n_experts: u32,
}

impl R1 {
    fn matrix(seed: u64, dtype: DType, shape: [u32; 3], gain: f64, sum_over: u32) -> Matrices {
        Matrices { seed, dtype, shape, spread: gain / f64::from(sum_over).sqrt() }
    }

    /// `[VOCAB, D]`, with outliers.
    #[must_use]
    pub fn embed() -> Matrices {
        Self::matrix(1, DType::F32, [1, VOCAB, D], 1.0, 1)
    }

    /// `q_a` and `kv_a`.
    #[must_use]
    pub fn a() -> Matrices {
        Self::matrix(2, DType::Q4_K, [1, Q_LORA + R + P, D], 3.0, D)
    }

    /// `q_b`.
    #[must_use]
    pub fn q_b() -> Matrices {
        Self::matrix(3, DType::Q4_K, [1, H * (HEAD + P), Q_LORA], 1.0, Q_LORA)
    }

    /// `o`.
    #[must_use]
    pub fn o() -> Matrices {
        Self::matrix(4, DType::Q4_K, [1, D, H * HEAD], 6.0, H * HEAD)
    }

    /// Joint as in older files; else keys and values, the keys' rows being too short for Q4_K.
    #[must_use]
    pub fn kv_b(joint: bool) -> Vec<Matrices> {
        let of = |seed, dtype, shape| Matrices { shape, ..Self::matrix(seed, dtype, shape, 1.0, R) };
        match joint {
            true => vec![of(5, DType::Q4_K, [H, 2 * HEAD, R])],
            false => vec![of(6, DType::Q5_0, [H, R, HEAD]), of(7, DType::Q4_K, [H, HEAD, R])],
        }
    }

    /// The router.
    #[must_use]
    pub fn router(&self) -> Matrices {
        Self::matrix(8, DType::F32, [1, self.n_experts, D], 0.5, D)
    }

    /// Gate, up and down; the last expert is the shared one.
    #[must_use]
    pub fn experts(&self) -> [Matrices; 3] {
        let n = self.n_experts + 1;
        [(9, [n, I, D], 3.0), (10, [n, I, D], 3.0), (11, [n, D, I], 1.0)]
            .map(|(seed, shape, gain)| Self::matrix(seed, DType::Q4_K, shape, gain, shape[2]))
    }

    /// A norm, or something like it.
    #[must_use]
    pub fn norm(seed: u64, n: u32) -> Vec<f32> {
        let mut numbers = Numbers::new(seed);
        (0..n).map(|_| (numbers.unit() + 0.5) as f32).collect()
    }

    /// What takes part in the choice of experts.
    #[must_use]
    pub fn bias(&self) -> Vec<f32> {
        let mut numbers = Numbers::new(24);
        (0..self.n_experts).map(|_| (numbers.unit() * 0.2 - 0.1) as f32).collect()
    }

    /// R1's, but for the number of layers and experts.
    #[must_use]
    pub fn config(&self) -> Config {
        let experts = Experts {
            n_routed_experts: self.n_experts,
            num_experts_per_tok: K,
            n_shared_experts: 1,
            moe_intermediate_size: I,
            first_k_dense_replace: 0,
            scoring: Scoring::Sigmoid,
            group_score: GroupScore::TopTwoSum,
            n_group: 8,
            topk_group: 4,
            norm_topk_prob: true,
            routed_scaling_factor: 2.5,
            bias: true,
        };
        let magnitude = 0.1 * 40f64.ln() + 1.0;
        Config {
            architecture: Architecture::find(Container::Gguf, "deepseek2").expect("is known"),
            container: Container::Gguf,
            vocab_size: VOCAB,
            hidden_size: D,
            num_hidden_layers: 1,
            num_attention_heads: H,
            num_key_value_heads: 1,
            head_dim: P,
            intermediate_size: 18_432,
            rms_norm_eps: EPS,
            max_position_embeddings: 163_840,
            rope_theta: 1e4,
            rope_scaling: RopeScaling::Yarn {
                factor: 40.0,
                original_max_position_embeddings: 4096.0,
                beta_fast: 32.0,
                beta_slow: 1.0,
                attention_factor: 1.0,
            },
            tie_word_embeddings: false,
            latent: Some(Latent {
                q_lora_rank: Some(Q_LORA),
                kv_lora_rank: R,
                qk_nope_head_dim: HEAD,
                v_head_dim: HEAD,
                scale: magnitude * magnitude / f64::from(HEAD + P).sqrt(),
                norm_eps: EPS,
                kv_b_split: true,
            }),
            experts: Some(experts),
            num_nextn_predict_layers: 0,
        }
    }

    /// File bytes of the weights that one token needs at least, the row of the embedding included.
    #[must_use]
    pub fn bytes_of_a_token(&self, joint: bool) -> u64 {
        let attention = [Self::a(), Self::q_b(), Self::o(), self.router()];
        let kv_b: u64 = Self::kv_b(joint).iter().map(|m| m.file_bytes() * u64::from(H)).sum();
        let experts: u64 = self.experts().iter().map(|m| m.file_bytes() * u64::from(K + 1)).sum();
        attention.iter().map(Matrices::file_bytes).sum::<u64>() + kv_b + experts + u64::from(D) * 4
    }
}

/// The layer on a device.
pub struct OnDevice {
    /// What it is made of.
    pub r1: R1,
    /// The device.
    pub e: GpuExecutor,
    /// Its numbers.
    pub config: Config,
    weights: Weights,
    /// The other form of what makes keys and values.
    joint: KvUp,
    caches: [LayerCache; 1],
}

impl OnDevice {
    /// With room for all weights; [`Self::fill`] writes them.
    #[must_use]
    pub fn new(place: &Place, r1: R1) -> Self {
        let (mut executor, config) = (place.gpu_executor(), r1.config());
        let e = &mut executor;
        let vector = |e: &mut GpuExecutor, seed, n| floats(e, &[n], &R1::norm(seed, n));
        let split = R1::kv_b(false);
        let joint = KvUp::Joint(R1::kv_b(true)[0].create(e, 3));
        let [gate, up, down] = r1.experts().map(|m| m.create(e, 3));
        let layer = Layer {
            attn_norm: vector(e, 20, D),
            attention: AttentionWeights::Latent {
                a: vec![R1::a().create(e, 2)],
                q: Some([vector(e, 21, Q_LORA), R1::q_b().create(e, 2)]),
                kv_a_norm: vector(e, 22, R),
                kv_b: KvUp::Split { k: split[0].create(e, 3), v: split[1].create(e, 3) },
                o: R1::o().create(e, 2),
            },
            ffn_norm: vector(e, 23, D),
            feed_forward: FeedForward::Experts {
                router: r1.router().create(e, 2),
                bias: Some(floats(e, &[r1.n_experts], &r1.bias())),
                gate,
                up,
                down,
                shared: None,
            },
        };
        let rope = floats(e, &[SLOTS, P], &rope_table(&config, None, SLOTS));
        let embed = R1::embed().create(e, 2);
        let weights =
            Weights { embed, norm: layer.attn_norm, head: embed, layers: vec![layer], rope, next_token: None };
        let rows = e.create_state("cache", Elem::F16, &[SLOTS, R + P]).expect("fits");
        let block_table = integers(e, &[SLOTS / 32], &Self::block_table());
        let caches = [LayerCache::Latent(LatentCache { rows, block_table, block_tokens: 32 })];
        OnDevice { r1, e: executor, config, weights, joint, caches }
    }

    /// Which block of slots holds which tokens.
    #[must_use]
    pub fn block_table() -> Vec<u32> {
        // In reverse, so that a kernel that ignores the table is found out.
        (0..SLOTS / 32).rev().collect()
    }

    fn cache_rows(&self) -> Tensor {
        let [LayerCache::Latent(cache)] = self.caches else { unreachable!("latents are cached") };
        cache.rows
    }

    /// Writes all weights, and a cache of normed latents and keys, to the last slot.
    pub fn fill(&mut self) {
        let e = &mut self.e;
        let layer = &self.weights.layers[0];
        let AttentionWeights::Latent { a, q: Some([_, q_b]), kv_b, o, .. } = &layer.attention else { unreachable!() };
        let FeedForward::Experts { router, gate, up, down, .. } = layer.feed_forward else { unreachable!() };
        R1::embed().write(e, self.weights.embed);
        R1::a().write(e, a[0]);
        R1::q_b().write(e, *q_b);
        R1::o().write(e, *o);
        self.r1.router().write(e, router);
        for (joint, kv_b) in [(true, &self.joint), (false, kv_b)] {
            R1::kv_b(joint).iter().zip(kv_b.tensors()).for_each(|(m, weight)| m.write(e, weight));
        }
        self.r1.experts().iter().zip([gate, up, down]).for_each(|(m, weight)| m.write(e, weight));
        let mut numbers = Numbers::new(30);
        let value = |i| (numbers.unit() * 2.0 - 1.0) * if i % (R + P) < R { 1.7 } else { 4.0 };
        let rows: Vec<u8> =
            (0..SLOTS * (R + P)).map(value).flat_map(|v| half::f16::from_f64(v).to_le_bytes()).collect();
        let cache = self.cache_rows();
        self.e.write_state(cache, 0, &rows);
    }

    /// The layer behind an embedding; its output besides.
    pub fn record(&mut self, case: &Case) -> (Recording, Tensor) {
        let step = Step { pos: case.pos, n_tokens: case.t, ..Step::default() };
        let at = integers(&mut self.e, &[4], bytemuck::cast_slice(bytemuck::bytes_of(&step)));
        let tokens = integers(&mut self.e, &[case.t], &(0..case.t).collect::<Vec<_>>());
        let mut weights = self.weights.clone();
        if let (true, AttentionWeights::Latent { kv_b, .. }) = (case.joint, &mut weights.layers[0].attention) {
            *kv_b = self.joint;
        }
        let mut rec = Recording::new(at, case.t);
        let expand_from = if case.expanded { 2 } else { u32::MAX };
        let decoder = Decoder { config: &self.config, weights: &weights, caches: &self.caches, expand_from };
        let x = decoder.forward(&mut rec, tokens);
        (rec, x)
    }

    /// Runs a step, which may be repeated without change to time it, and reads everything.
    pub fn run(&mut self, case: &Case) -> Seen {
        let (mut rec, x) = self.record(case);
        let outputs = |wanted: fn(&Op) -> bool| {
            rec.commands.iter().find(|c| wanted(&c.op)).expect("is in a layer").outputs.clone()
        };
        let attention = outputs(|op| matches!(op, Op::MlaAttention(_) | Op::MlaExpanded(_)))[0];
        let logits = outputs(|op| matches!(op, Op::Router { .. }))[1];
        let routing = outputs(|op| matches!(op, Op::Route(_)));
        let act = outputs(|op| matches!(op, Op::ExpertsGateUp(_)))[0];
        let states = expose_all(&mut self.e, &mut rec, &[attention, logits, routing[0], routing[1], act, x]);
        let plan = self.e.compile(&rec).expect("compiles");
        let n_kv = case.pos + case.t;
        let mut ms = f64::INFINITY;
        for _ in 0..if case.t == 1 { 3 } else { 1 } {
            let begin = Instant::now();
            self.e.submit(&plan, n_kv, None).expect("runs");
            pollster::block_on(self.e.read_state(states[5])).expect("reads");
            ms = ms.min(begin.elapsed().as_secs_f64() * 1e3);
        }
        let [attention, logits, ids, weights, act, x] =
            [0, 1, 2, 3, 4, 5].map(|i| pollster::block_on(self.e.read_state(states[i])).expect("reads"));
        let cache = pollster::block_on(self.e.read_state(self.cache_rows())).expect("reads");
        let half = |b: &[u8]| half::f16::from_le_bytes([b[0], b[1]]).to_f32();
        let [attention, logits, weights, act, x] =
            [attention, logits, weights, act, x].map(|bytes| bytemuck::pod_collect_to_vec(&bytes));
        Seen {
            cache: cache.chunks_exact(2).map(half).collect(),
            attention,
            logits,
            ids: bytemuck::pod_collect_to_vec(&ids),
            weights,
            act,
            x,
            ms,
            figures: plan.figures(case.t, n_kv),
        }
    }
}

/// A step.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Tokens in the cache.
    pub pos: u32,
    /// Tokens of the step: ids 0 and up.
    pub t: u32,
    /// Whether one weight makes keys and values.
    pub joint: bool,
    /// Whether keys and values are expanded out of the cache.
    pub expanded: bool,
}

/// What a step left on the device, rows of all its tokens.
pub struct Seen {
    /// `[SLOTS, R + P]`.
    pub cache: Vec<f32>,
    /// `[T, H * HEAD]`.
    pub attention: Vec<f32>,
    /// `[T, E]`.
    pub logits: Vec<f32>,
    /// `[T, K + 1]`.
    pub ids: Vec<u32>,
    /// `[T, K + 1]`.
    pub weights: Vec<f32>,
    /// `[T, K + 1, I]`.
    pub act: Vec<f32>,
    /// `[T, D]`.
    pub x: Vec<f32>,
    /// The fastest run.
    pub ms: f64,
    /// Of the plan.
    pub figures: PlanFigures,
}
