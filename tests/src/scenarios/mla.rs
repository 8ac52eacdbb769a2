//! Absorbed latent attention, as a whole and kernel by kernel.

use crate::{Numbers, Scenario, expose, fill_cache, floats, integers, weight};
use aloud_format::DType;
use aloud_ops::{Elem, Executor, KvCache, KvUp, LatentCache, Mla, Recording, Step, Tensor};

/// Under the root of the latent's norm.
pub const EPS: f32 = 1e-6;

/// H, R, P, N and Vh.
pub type Shape = [u32; 5];
/// DeepSeek-V2-Lite's.
pub const LITE: Shape = [16, 512, 64, 128, 128];
/// Those of the tiny models.
pub const TINY: Shape = [4, 64, 16, 32, 32];
/// No powers of two.
pub const ODD: Shape = [6, 96, 32, 64, 32];

/// One attention layer with all its numbers.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Its widths.
    pub shape: Shape,
    /// A: with it queries come from elsewhere; without, they lie before the latent.
    pub q_lora: Option<u32>,
    /// Whether one weight gives keys and values.
    pub joint: bool,
    /// Of these weights.
    pub dtype: DType,
    /// Of the cache.
    pub elem: Elem,
    /// Positions that the cache has room for.
    pub slots: u32,
    /// Positions that are cached.
    pub pos: u32,
    /// Rows there may be.
    pub t_max: u32,
    /// Rows there are.
    pub t: u32,
}

impl Layer {
    /// At a position, with rows there may be and rows there are; in f32.
    #[must_use]
    pub fn new(shape: Shape, (pos, t_max, t): (u32, u32, u32)) -> Self {
        let slots = (pos + t_max).next_multiple_of(32) + 32;
        Layer { shape, q_lora: None, joint: true, dtype: DType::F32, elem: Elem::F32, slots, pos, t_max, t }
    }

    /// What the ops are told.
    #[must_use]
    pub fn mla(&self) -> Mla {
        let [h, r, p, n, v] = self.shape;
        Mla {
            num_attention_heads: h,
            kv_lora_rank: r,
            qk_nope_head_dim: n,
            qk_rope_head_dim: p,
            v_head_dim: v,
            // Weights and queries are about 3.
            scale: 0.3 / ((n * r) as f32).sqrt(),
            block_tokens: 32,
        }
    }

    /// All that matters.
    #[must_use]
    pub fn name(&self) -> String {
        let Layer { shape, joint, dtype, elem, pos, t_max, t, .. } = self;
        format!("{shape:?} at {pos}+{t} of {t_max}, {elem:?} cache, {dtype}, joint: {joint}")
    }

    /// Values before the latent in a row of the first projection.
    #[must_use]
    pub fn x_width(&self) -> u32 {
        self.q_lora.unwrap_or(self.shape[0] * self.mla().qk_head_dim())
    }

    fn step(&self, pos: u32, n_tokens: u32) -> Step {
        Step { pos, n_tokens, ..Step::default() }
    }

    /// Outputs of the first projection, one row for each position.
    #[must_use]
    pub fn projected(&self) -> Vec<f32> {
        let width = self.x_width() + self.mla().latent_dim();
        Numbers::new(1).with_outliers(((self.pos + self.t_max) * width) as usize)
    }

    fn queries(&self) -> Vec<f32> {
        Numbers::new(2).with_outliers((self.t_max * self.shape[0] * self.mla().qk_head_dim()) as usize)
    }

    /// The latent's norm.
    #[must_use]
    pub fn kv_norm(&self) -> Vec<f32> {
        let mut numbers = Numbers::new(3);
        (0..self.shape[1]).map(|_| (numbers.unit() + 0.5) as f32).collect()
    }

    /// Cosines and sines, `[positions, P]`.
    #[must_use]
    pub fn table(&self) -> Vec<f32> {
        let p = self.shape[2];
        let angle = |pos: u32, i: u32| f64::from(pos) * 1e4f64.powf(-2.0 * f64::from(i) / f64::from(p));
        let pair = |a: f64| [a.cos() as f32, a.sin() as f32];
        (0..self.pos + self.t_max).flat_map(|pos| (0..p / 2).flat_map(move |i| pair(angle(pos, i)))).collect()
    }

    /// Blocks of the weights' format.
    #[must_use]
    pub fn blocks(&self, seed: u64, elems: u32) -> Vec<u8> {
        Numbers::new(seed).blocks(self.dtype, elems as usize)
    }

    fn kv_up<E: Executor>(&self, e: &mut E) -> KvUp {
        let [h, r, _, n, v] = self.shape;
        if self.joint {
            return KvUp::Joint(stack(e, self.dtype, [h, n + v, r], &self.blocks(4, h * (n + v) * r)));
        }
        let k = stack(e, self.dtype, [h, r, n], &self.blocks(5, h * r * n));
        KvUp::Split { k, v: stack(e, self.dtype, [h, v, r], &self.blocks(6, h * v * r)) }
    }

    /// An empty cache whose blocks lie in reverse, so that a kernel that ignores the table is found out.
    fn cache<E: Executor>(&self, e: &mut E) -> LatentCache {
        let table: Vec<u32> = (0..self.slots / 32).rev().collect();
        let rows = e.create_state("cache", self.elem, &[self.slots, self.mla().latent_dim()]).expect("fits");
        LatentCache { rows, block_table: integers(e, &[table.len() as u32], &table), block_tokens: 32 }
    }

    /// The table of angles, and a cache filled up to `pos`: by the op that fills it in life, or if values are to be rounded
    /// to halves, with given ones, so that both sides round the same.
    fn filled<E: Executor>(&self, e: &mut E) -> (Tensor, LatentCache) {
        let cache = self.cache(e);
        let table = floats(e, &[self.pos + self.t_max, self.shape[2]], &self.table());
        let cached = self.mla().latent_dim();
        if self.pos > 0 && self.elem == Elem::F16 {
            let rows = Numbers::new(8).with_outliers((self.pos * cached) as usize);
            let rows: Vec<f32> = rows.iter().map(|x| x / 3.0).collect();
            let unused = e.create_state("unused", self.elem, cache.rows.shape()).expect("fits");
            let both = KvCache { k: cache.rows, v: unused, block_table: cache.block_table, block_tokens: 32 };
            fill_cache(e, &rows, &rows, &both);
        } else if self.pos > 0 {
            let at = e.create_state("step", Elem::U32, &[4]).expect("fits");
            e.write_state(at, 0, bytemuck::bytes_of(&self.step(0, self.pos)));
            let mut rec = Recording::new(at, self.pos);
            let width = self.x_width() + cached;
            let a = floats(e, &[self.pos, width], &self.projected()[..(self.pos * width) as usize]);
            self.project(e, &mut rec, a, table, &cache);
            let plan = e.compile(&rec).expect("compiles");
            e.submit(&plan, self.pos, None).expect("runs");
        }
        (table, cache)
    }

    /// The normed latents of the queries, with q LoRA.
    fn project<E: Executor>(
        &self,
        e: &mut E,
        rec: &mut Recording,
        a: Tensor,
        table: Tensor,
        cache: &LatentCache,
    ) -> Option<Tensor> {
        let kv_norm = floats(e, &[self.shape[1]], &self.kv_norm());
        let q_norm = self.q_lora.map(|a| floats(e, &[a], &Numbers::new(7).with_outliers(a as usize)));
        let y = aloud_ops::mla_project(rec, a, q_norm, kv_norm, EPS, table, cache, &self.mla());
        assert_eq!(y.is_some(), self.q_lora.is_some());
        y
    }

    /// This step's rows of the first projection.
    fn new_rows<E: Executor>(&self, e: &mut E) -> Tensor {
        let width = self.x_width() + self.mla().latent_dim();
        floats(e, &[self.t_max, width], &self.projected()[(self.pos * width) as usize..])
    }

    /// Queries as `mla_query` takes them, from nowhere.
    fn query_rows<E: Executor>(&self, e: &mut E) -> Tensor {
        floats(e, &[self.t_max, self.shape[0] * self.mla().qk_head_dim()], &self.queries())
    }

    /// Queries out of their latents.
    fn query_product<E: Executor>(&self, e: &mut E, rec: &mut Recording, latents: Tensor) -> Tensor {
        let (n, a) = (self.shape[0] * self.mla().qk_head_dim(), latents.cols());
        let mut numbers = Numbers::new(9);
        // Queries are as large as those from nowhere.
        let values: Vec<f32> = (0..n * a).map(|_| ((numbers.unit() - 0.5) / f64::from(a)) as f32).collect();
        let w = weight(e, DType::F32, n, a, bytemuck::cast_slice(&values));
        aloud_ops::matmul(rec, "q_b", latents, w, None)
    }
}

/// A stack of matrices filled with blocks.
fn stack<E: Executor>(e: &mut E, dtype: DType, shape: [u32; 3], bytes: &[u8]) -> Tensor {
    let weight = e.create_weight("kv_b", dtype, &shape).expect("fits");
    let row_bytes = shape[2] as usize / dtype.block_elems() * dtype.block_bytes();
    for (i, slice) in bytes.chunks(row_bytes * 96).enumerate() {
        e.write_weight(weight, i as u32 * 96, slice).expect("is written");
    }
    weight
}

/// `mla_project`: its outputs are the cache and, with q LoRA, the normed latent of the queries.
pub struct Project(pub Layer);

impl Scenario for Project {
    fn step(&self) -> Step {
        self.0.step(self.0.pos, self.0.t)
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let (table, cache) = self.0.filled(e);
        let mut rec = Recording::new(at, self.0.t_max);
        let a = self.0.new_rows(e);
        self.0.project(e, &mut rec, a, table, &cache);
        let outputs = &mut rec.commands[0].outputs;
        if let Some(y) = outputs.get_mut(1) {
            *y = e.create_state("y", Elem::F32, y.shape()).expect("fits");
        }
        let outputs = outputs.clone();
        (rec, outputs)
    }
}

/// `mla_query` alone, or with everything before and `mla_attention` after it.
pub struct Absorbed {
    /// The layer.
    pub layer: Layer,
    /// Whether all of it runs.
    pub attend: bool,
}

impl Scenario for Absorbed {
    fn step(&self) -> Step {
        self.layer.step(self.layer.pos, self.layer.t)
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let layer = &self.layer;
        let (table, cache) = layer.filled(e);
        let mut rec = Recording::new(at, layer.t_max);
        let a = layer.new_rows(e);
        let kv_up = layer.kv_up(e);
        let latents = if self.attend { layer.project(e, &mut rec, a, table, &cache) } else { None };
        let q = match (latents, layer.q_lora) {
            (Some(latents), _) => layer.query_product(e, &mut rec, latents),
            (None, Some(_)) => layer.query_rows(e),
            (None, None) => a,
        };
        let q = aloud_ops::mla_query(&mut rec, q, &kv_up, table, &layer.mla());
        if self.attend {
            aloud_ops::mla_attention(&mut rec, q, &cache, &kv_up, &layer.mla());
        }
        let y = expose(e, &mut rec);
        (rec, vec![y])
    }
}
