use crate::ops::KvCache;
use crate::{Op, Recording, Tensor};

/// Writes keys and values of the new tokens into the paged cache: token `t` lands in slot
/// `block_table[(pos+t) / B] * B + (pos+t) % B`, with B the tokens per block.
/// `k, v: [T, K*C] f32`; the cache is `[slots, K*C]`, f16 or f32.
///
/// # Panics
/// If the widths disagree.
#[track_caller]
pub fn kv_write(rec: &mut Recording, k: Tensor, v: Tensor, cache: &KvCache) {
    let ([_, width], [_, cache_width]) = (k.dims2(), cache.k.dims2());
    assert_eq!(k.shape(), v.shape(), "kv_write: keys and values must agree");
    assert_eq!(width, cache_width, "kv_write: the cache is {cache_width} wide, the keys {width}");
    let op = Op::KvWrite { block_tokens: cache.block_tokens };
    rec.push("kv_write", op, &[k, v, cache.block_table], &[cache.k, cache.v]);
}
