//! What a model needs before it is loaded.

use crate::config::Config;
use crate::load::weight_bytes;
use aloud_format::{FormatError, TensorSet};
use aloud_ops::Elem;

/// Bytes that a model needs on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryNeed {
    /// Tensors, in the file's formats.
    pub weight_bytes: u64,
    /// Keys and values of the context, and the rotary table.
    pub kv_bytes: u64,
    /// The largest single buffer of the cache: one side of one layer.
    pub kv_binding_bytes: u64,
}

impl MemoryNeed {
    /// For a context of `ctx` tokens with a cache of `elem`.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape than the config says.
    pub fn of(config: &Config, tensors: &TensorSet, ctx: u32, elem: Elem) -> Result<MemoryNeed, FormatError> {
        let weight_bytes = weight_bytes(config, tensors)?;
        let ctx = u64::from(ctx);
        let width = u64::from(config.num_key_value_heads) * u64::from(config.head_dim);
        let kv_binding_bytes = elem.bytes(ctx * width);
        let kv_bytes =
            kv_binding_bytes * 2 * u64::from(config.num_hidden_layers) + ctx * u64::from(config.head_dim) * 4;
        Ok(MemoryNeed { weight_bytes, kv_bytes, kv_binding_bytes })
    }
}
