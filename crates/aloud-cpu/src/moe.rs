//! Commands of a mixture of experts, which write several tensors.

use crate::executor::{CpuExecutor, floats};
use crate::ops;
use aloud_ops::{Command, Route, SlotOrder, Step, Tensor};

impl CpuExecutor {
    /// The first `rows` rows of a tensor of floats.
    fn rows<'a>(&'a self, scratch: &'a [Vec<u32>], tensor: Tensor, rows: u32) -> &'a [f32] {
        let width = tensor.n_elems() / u64::from(tensor.shape()[0]);
        &floats(self.read(scratch, tensor))[..rows as usize * width as usize]
    }

    pub(crate) fn router(&mut self, scratch: &mut [Vec<u32>], command: &Command, eps: f32, step: Step) {
        let [x, norm, weight] = [0, 1, 2].map(|i| command.inputs[i]);
        let [mut h, mut logits] = [0, 1].map(|i| vec![0f32; command.outputs[i].n_elems() as usize]);
        let ([_, d], [_, e]) = (x.dims2(), command.outputs[1].dims2());
        let n = step.n_tokens as usize;
        let (norm, weight) = (floats(self.read(scratch, norm)), floats(self.read(scratch, weight)));
        let x = self.rows(scratch, x, step.n_tokens);
        ops::router(x, norm, eps, weight, &mut h[..n * d as usize], &mut logits[..n * e as usize]);
        self.store(scratch, command.outputs[0], bytemuck::allocation::cast_vec(h));
        self.store(scratch, command.outputs[1], bytemuck::allocation::cast_vec(logits));
    }

    pub(crate) fn route(&mut self, scratch: &mut [Vec<u32>], command: &Command, params: &Route, step: Step) {
        let [rows, n_experts] = command.inputs[0].dims2();
        let (mut ids, mut weights) = (Vec::new(), Vec::new());
        let bias = command.inputs.get(1).map(|&bias| floats(self.read(scratch, bias)));
        for logits in self.rows(scratch, command.inputs[0], step.n_tokens).chunks_exact(n_experts as usize) {
            let (i, w) = ops::route(logits, bias, params);
            ids.extend(i);
            weights.extend(w);
        }
        let order = SlotOrder::new(rows, params.slots(), n_experts + params.n_shared);
        if let Some(order) = order {
            self.store(scratch, command.outputs[2], ops::sort_slots(&ids, order));
        }
        let full = command.outputs[0].n_elems() as usize;
        ids.resize(full, 0);
        weights.resize(full, 0.0);
        self.store(scratch, command.outputs[0], ids);
        self.store(scratch, command.outputs[1], bytemuck::allocation::cast_vec(weights));
    }

    /// The matrices of a stack, each flat.
    fn matrices<'a>(&'a self, scratch: &'a [Vec<u32>], stack: Tensor) -> Vec<&'a [f32]> {
        let size = stack.n_elems() / u64::from(stack.shape()[0]);
        floats(self.read(scratch, stack)).chunks_exact(size as usize).collect()
    }

    pub(crate) fn experts_gate_up(&mut self, scratch: &mut [Vec<u32>], command: &Command, step: Step) {
        let [h, gate, up, ids] = [0, 1, 2, 3].map(|i| command.inputs[i]);
        let ([_, slots], d) = (ids.dims2(), h.cols() as usize);
        let rows = self.factor(gate, self.rows(scratch, h, step.n_tokens), None);
        let (gate, up) = (self.matrices(scratch, gate), self.matrices(scratch, up));
        let mut act = vec![0f32; command.outputs[0].n_elems() as usize];
        let width = gate[0].len() / d;
        let ids = &self.read(scratch, ids)[..(step.n_tokens * slots) as usize];
        for (slot, (&e, act)) in ids.iter().zip(act.chunks_exact_mut(width)).enumerate() {
            let h = &rows[slot / slots as usize * d..][..d];
            ops::gate_up(h, gate[e as usize], up[e as usize], h.len(), act);
        }
        self.store(scratch, command.outputs[0], bytemuck::allocation::cast_vec(act));
    }

    pub(crate) fn experts_down(&mut self, scratch: &mut [Vec<u32>], command: &Command, step: Step) {
        let [act, down, ids, weights, _, into] = [0, 1, 2, 3, 4, 5].map(|i| command.inputs[i]);
        let (slots, n) = (ids.cols() as usize, step.n_tokens);
        let mut sums = floats(self.read(scratch, into)).to_vec();
        let rows = self.factor(down, self.rows(scratch, act, n), None);
        let down = self.matrices(scratch, down);
        let ids = self.read(scratch, ids).chunks_exact(slots);
        let act = rows.chunks_exact(act.cols() as usize);
        let weights = self.rows(scratch, weights, n).chunks_exact(slots);
        for (((act, weights), ids), into) in act.zip(weights).zip(ids).zip(sums.chunks_exact_mut(into.cols() as usize))
        {
            ops::experts_down(act, weights, ids.iter().map(|&e| down[e as usize]), into);
        }
        self.store(scratch, into, bytemuck::allocation::cast_vec(sums));
    }
}
