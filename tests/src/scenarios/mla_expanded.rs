//! Latent attention over expanded keys and values.

use crate::{Numbers, Scenario, expose, fill_cache, floats, integers};
use aloud_format::{DType, dequantize};
use aloud_ops::{Elem, Executor, KvCache, KvUp, LatentCache, Mla, Recording, Step, Tensor, mla_expanded};

/// Attention of some rows to a filled cache.
pub struct Expanded {
    /// The widths.
    pub mla: Mla,
    /// Of the cache.
    pub elem: Elem,
    /// Of the weights.
    pub dtype: DType,
    /// One weight for keys and values, or two.
    pub joint: bool,
    /// Values in a row of q beyond the heads.
    pub beyond: u32,
    /// Rows there may be.
    pub t_max: u32,
    /// Where the rows stand.
    pub step: Step,
}

/// H, R, P, N, Vh.
pub type Sizes = [u32; 5];

impl Expanded {
    /// With a position, rows there may be and rows there are.
    #[must_use]
    pub fn new(sizes: Sizes, elem: Elem, dtype: DType, joint: bool, [pos, t_max, t]: [u32; 3]) -> Self {
        let [h, r, p, n, v] = sizes;
        let mla = Mla {
            num_attention_heads: h,
            kv_lora_rank: r,
            qk_nope_head_dim: n,
            qk_rope_head_dim: p,
            v_head_dim: v,
            scale: 1.0,
            block_tokens: 32,
        };
        let beyond = if joint { 0 } else { 12 };
        let step = Step { pos, n_tokens: t, ..Step::default() };
        let mut case = Expanded { mla, elem, dtype, joint, beyond, t_max, step };
        // Scores of about 3: values of q and of the latent are about 3 each.
        let keys = &case.weights()[0];
        let size = (keys.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() / keys.len() as f64).sqrt();
        case.mla.scale = (3.0 / (9.0 * size * (f64::from(r) * f64::from(n)).sqrt())) as f32;
        case
    }

    /// All that matters.
    #[must_use]
    pub fn name(&self) -> String {
        let (form, m) = (if self.joint { "joint" } else { "split" }, &self.mla);
        let sizes = [m.num_attention_heads, m.kv_lora_rank, m.qk_rope_head_dim, m.qk_nope_head_dim, m.v_head_dim];
        let Step { pos, n_tokens, .. } = self.step;
        format!("mla_expanded {sizes:?} {form} {} {:?} at {pos}+{n_tokens} of {}", self.dtype, self.elem, self.t_max)
    }

    /// Cached positions after the step.
    #[must_use]
    pub fn n_kv(&self) -> u32 {
        self.step.pos + self.step.n_tokens
    }

    fn shapes(&self) -> Vec<[u32; 3]> {
        let Mla { num_attention_heads: h, kv_lora_rank: r, qk_nope_head_dim: n, v_head_dim: v, .. } = self.mla;
        if self.joint { vec![[h, n + v, r]] } else { vec![[h, r, n], [h, v, r]] }
    }

    fn blocks(&self) -> Vec<Vec<u8>> {
        let mut numbers = Numbers::new(3);
        self.shapes().iter().map(|s| numbers.blocks(self.dtype, s.iter().product::<u32>() as usize)).collect()
    }

    /// The weights, dequantised.
    #[must_use]
    pub fn weights(&self) -> Vec<Vec<f32>> {
        let values = |(shape, blocks): (&[u32; 3], &Vec<u8>)| {
            let mut out = vec![0.0; shape.iter().product::<u32>() as usize];
            dequantize(self.dtype, blocks, &mut out).expect("whole blocks");
            out
        };
        self.shapes().iter().zip(&self.blocks()).map(values).collect()
    }

    /// What is cached, `[n_kv, R + P]`.
    #[must_use]
    pub fn latents(&self) -> Vec<f32> {
        Numbers::new(5).with_outliers((self.n_kv().max(1) * self.mla.latent_dim()) as usize)
    }

    /// Values in a row of queries.
    #[must_use]
    pub fn q_width(&self) -> u32 {
        self.mla.num_attention_heads * self.mla.qk_head_dim() + self.beyond
    }

    /// The queries.
    #[must_use]
    pub fn q(&self) -> Vec<f32> {
        Numbers::new(7).with_outliers((self.t_max * self.q_width()) as usize)
    }

    /// Cosines and sines of any angles.
    #[must_use]
    pub fn table(&self) -> Vec<f32> {
        let mut numbers = Numbers::new(9);
        let pairs = (self.step.pos + self.t_max) * self.mla.qk_rope_head_dim / 2;
        (0..pairs)
            .flat_map(|_| {
                let a = numbers.unit() * 7.0;
                [a.cos() as f32, a.sin() as f32]
            })
            .collect()
    }

    /// The cache, filled by the op that writes rows of any width.
    fn cache<E: Executor>(&self, e: &mut E) -> LatentCache {
        let (n_kv, width) = (self.n_kv().max(1), self.mla.latent_dim());
        let n_blocks = n_kv.div_ceil(self.mla.block_tokens) + 1;
        // The blocks lie in reverse, so that a kernel that ignores the table is found out.
        let table: Vec<u32> = (0..n_blocks).rev().collect();
        let block_table = integers(e, &[n_blocks], &table);
        let mut side = || e.create_state("cache", self.elem, &[n_blocks * self.mla.block_tokens, width]).expect("fits");
        let (k, v, block_tokens) = (side(), side(), self.mla.block_tokens);
        let rows = self.latents();
        fill_cache(e, &rows, &rows, &KvCache { k, v, block_table, block_tokens });
        LatentCache { rows: k, block_table, block_tokens }
    }

    fn kv_up<E: Executor>(&self, e: &mut E) -> KvUp {
        let mut weights = self.shapes().into_iter().zip(self.blocks()).map(|(shape, blocks)| {
            let weight = e.create_weight("kv_b", self.dtype, &shape).expect("fits");
            e.write_weight(weight, 0, &blocks).expect("is written");
            weight
        });
        let first = weights.next().expect("a weight");
        weights.next().map_or(KvUp::Joint(first), |v| KvUp::Split { k: first, v })
    }
}

impl Scenario for Expanded {
    fn step(&self) -> Step {
        self.step
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let (cache, kv_up) = (self.cache(e), self.kv_up(e));
        let q = floats(e, &[self.t_max, self.q_width()], &self.q());
        let positions = self.step.pos + self.t_max;
        let table = floats(e, &[positions, self.mla.qk_rope_head_dim], &self.table());
        let mut rec = Recording::new(at, self.t_max);
        mla_expanded(&mut rec, q, &cache, &kv_up, table, &self.mla);
        let y = expose(e, &mut rec);
        (rec, vec![y])
    }
}
