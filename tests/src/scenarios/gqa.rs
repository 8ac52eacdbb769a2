//! Heads of grouped-query attention: turned, kept, attended to.

use crate::{Numbers, Scenario, expose_all, fill_cache, floats, integers};
use aloud_ops::{Attention, Elem, Executor, GqaProject, KvCache, Recording, Step, Tensor};

/// Rows of heads behind a filled cache.
#[derive(Clone, Copy)]
pub struct Heads {
    /// The shapes.
    pub params: GqaProject,
    /// Of the cache.
    pub elem: Elem,
    /// Whether heads of queries and keys are normalised.
    pub qk_norm: bool,
    /// Cached positions before them.
    pub pos: u32,
    /// Rows there may be.
    pub t_max: u32,
    /// Rows there are.
    pub t: u32,
    /// Whether the queries are looked at; if not, what stands between them and the attention may be one kernel.
    pub queries: bool,
    /// Whether the cache is attended to.
    pub attend: bool,
}

impl Scenario for Heads {
    fn step(&self) -> Step {
        Step { pos: self.pos, n_tokens: self.t, ..Step::default() }
    }

    fn record<E: Executor>(&self, e: &mut E, at: Tensor) -> (Recording, Vec<Tensor>) {
        let GqaProject { n_heads, n_kv_heads, head_dim, block_tokens, .. } = self.params;
        let (pos, positions) = (self.pos, self.pos + self.t_max);
        let mut numbers = Numbers::new(u64::from(pos + head_dim));
        // Halves of both sides round alike where all values have few bits; turning by quarters keeps them so.
        let mut some = |shape: &[u32]| -> Vec<f32> {
            let values = numbers.with_outliers(shape.iter().product::<u32>() as usize);
            values.iter().map(|v| (v * 8.0).round() / 8.0).collect()
        };
        // The blocks lie in reverse, so that a kernel that ignores the table is found out.
        let n_blocks = positions.div_ceil(block_tokens) + 1;
        let blocks: Vec<u32> = (0..n_blocks).rev().collect();
        let (slots, width) = (n_blocks * block_tokens, n_kv_heads * head_dim);
        let side = |e: &mut E| e.create_state("cache", self.elem, &[slots, width]).expect("fits");
        let block_table = integers(e, &[n_blocks], &blocks);
        let cache = KvCache { k: side(e), v: side(e), block_table, block_tokens };
        let [k, v] = [(); 2].map(|()| some(&[pos, width]));
        fill_cache(e, &k, &v, &cache);
        let turns = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [1.0, 1.0]];
        let n_angles = (positions * head_dim / 2) as usize;
        let table: Vec<f32> = (0..n_angles).flat_map(|i| turns[(i * 7 + i / 11) % 5]).collect();
        let table = floats(e, &[positions, head_dim], &table);
        let qkv = floats(e, &[self.t_max, self.params.width()], &some(&[self.t_max, self.params.width()]));
        let norms = self.qk_norm.then(|| floats(e, &[2, head_dim], &some(&[2, head_dim])));
        let mut rec = Recording::new(at, self.t_max);
        let q = aloud_ops::gqa_project(&mut rec, qkv, norms, table, &cache, self.params);
        let mut seen = if self.queries { vec![q] } else { Vec::new() };
        if self.attend {
            let scale = 0.3 / (head_dim as f32).sqrt();
            let params = Attention { n_heads, n_kv_heads, head_dim, scale, block_tokens };
            seen.push(aloud_ops::attention(&mut rec, q, &cache, params));
        }
        let outputs = expose_all(e, &mut rec, &seen);
        (rec, outputs)
    }
}
