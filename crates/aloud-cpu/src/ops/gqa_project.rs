use super::{rms_norm, rope};
use aloud_ops::GqaProject;

/// Queries of one token at position `pos`, then its keys: heads normalised, if there are `norms` (`[2, C]`), and turned.
/// `qkv: [(H + 2K)*C]`; `table: [positions, C]`, cos and sin in turn.
#[must_use]
pub fn gqa_project(qkv: &[f32], norms: Option<&[f32]>, table: &[f32], params: &GqaProject, pos: usize) -> Vec<f32> {
    let c = params.head_dim as usize;
    let n_heads = (params.n_heads + params.n_kv_heads) as usize;
    let angles = &table[pos * c..][..c];
    let mut turned = vec![0.0; n_heads * c];
    for (head, (x, y)) in qkv.chunks_exact(c).zip(turned.chunks_exact_mut(c)).enumerate() {
        let mut x = x.to_vec();
        if let Some(norms) = norms {
            let of = if head < params.n_heads as usize { 0 } else { c };
            let before = x.clone();
            rms_norm(&before, &norms[of..][..c], params.eps, &mut x);
        }
        rope(&x, angles, params.pairing, y);
    }
    turned
}
