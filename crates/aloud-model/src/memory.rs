//! What a model needs before it is loaded.

use crate::config::Config;
use crate::tensors::{mtp_layer, weight_bytes};
use aloud_format::{FormatError, TensorSet};
use aloud_ops::Elem;

/// Bytes that a model needs on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryNeed {
    /// Tensors, in the file's formats.
    pub weight_bytes: u64,
    /// The cache of the context, and the rotary table.
    pub kv_bytes: u64,
    /// The largest single buffer of the cache: one side of one layer, or a layer's latents.
    pub kv_binding_bytes: u64,
}

impl MemoryNeed {
    /// For a context of `ctx` tokens with a cache of `elem`.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape than the config says.
    pub fn of(config: &Config, tensors: &TensorSet, ctx: u32, elem: Elem) -> Result<MemoryNeed, FormatError> {
        let layers = config.num_hidden_layers + u32::from(mtp_layer(config, tensors).is_some());
        Ok(MemoryNeed::with_weights(config, weight_bytes(config, tensors)?, layers, ctx, elem))
    }

    pub(crate) fn with_weights(config: &Config, weight_bytes: u64, layers: u32, ctx: u32, elem: Elem) -> MemoryNeed {
        let ctx = u64::from(ctx);
        let kv_bytes = elem.bytes(ctx * u64::from(config.cache_width())) * u64::from(layers);
        let sides = if config.latent.is_some() { 1 } else { 2 };
        MemoryNeed {
            weight_bytes,
            kv_bytes: kv_bytes + ctx * u64::from(config.head_dim) * 4,
            kv_binding_bytes: elem.bytes(ctx * u64::from(config.cache_width())) / sides,
        }
    }
}
