//! Formats that whole models are published in: which format each tensor gets.

use crate::config::Config;
use crate::names;
use crate::tensors::Wanted;
use aloud_format::DType;

/// What a published model's tensors are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// FP8 with a scale per tile of 128 x 128, as DeepSeek publishes V3 and R1; embedding, head, router and norms in BF16.
    Fp8,
    /// GGUF with all matrices in one format, except the head where llama.cpp makes one.
    Uniform(DType),
    /// GGUF with all matrices in this format, except those that llama.cpp gives more bits (`_K_M`).
    Medium(DType),
}

/// All that can be named.
const ALL: [(&str, Mix); 12] = [
    ("FP8", Mix::Fp8),
    ("F32", Mix::Uniform(DType::F32)),
    ("BF16", Mix::Uniform(DType::BF16)),
    ("F16", Mix::Uniform(DType::F16)),
    ("Q8_0", Mix::Uniform(DType::Q8_0)),
    ("Q6_K", Mix::Uniform(DType::Q6_K)),
    ("Q5_K_M", Mix::Medium(DType::Q5_K)),
    ("Q5_1", Mix::Uniform(DType::Q5_1)),
    ("Q5_0", Mix::Uniform(DType::Q5_0)),
    ("Q4_K_M", Mix::Medium(DType::Q4_K)),
    ("Q4_1", Mix::Uniform(DType::Q4_1)),
    ("Q4_0", Mix::Uniform(DType::Q4_0)),
];

impl Mix {
    /// By its usual name, in any case.
    #[must_use]
    pub fn find(name: &str) -> Option<Mix> {
        ALL.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, mix)| mix)
    }

    /// All names, for messages.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ALL.into_iter().map(|(name, _)| name)
    }

    /// Its usual name.
    #[must_use]
    pub fn name(self) -> &'static str {
        ALL.into_iter().find(|&(_, mix)| mix == self).map_or("", |(name, _)| name)
    }

    /// The format of a tensor under its GGUF name.
    ///
    /// Source: llama.cpp, `llama_tensor_get_type` and `tensor_allows_quantization` in src/llama-quant.cpp.
    pub(crate) fn dtype(self, config: &Config, tensor: &Wanted) -> DType {
        let name = PartName::of(&tensor.name);
        let small = tensor.shape.len() < 2 || name.is(names::ROUTER);
        let outer = name.layer_idx.is_none();
        let row_elems = tensor.shape.last().copied().unwrap_or(0);
        match self {
            Mix::Fp8 if name.is(names::ROUTER_BIAS) => DType::F32,
            Mix::Fp8 if small || outer => DType::BF16,
            Mix::Fp8 => DType::F8_E4M3,
            _ if small => DType::F32,
            Mix::Uniform(dtype) if name.is(names::HEAD) => head(dtype).for_rows_of(row_elems),
            Mix::Uniform(dtype) => dtype.for_rows_of(row_elems),
            Mix::Medium(_) if name.is(names::HEAD) => DType::Q6_K.for_rows_of(row_elems),
            Mix::Medium(dtype) => medium(dtype, config, &name).for_rows_of(row_elems),
        }
    }
}

/// The head's format beside matrices of `dtype`.
fn head(dtype: DType) -> DType {
    match dtype {
        DType::F32 | DType::BF16 | DType::F16 | DType::Q8_0 => dtype,
        _ => DType::Q6_K,
    }
}

/// Values and what leaves a feed-forward block get more bits in the first and last eighth of the layers and in every
/// third between (the two matrices that newer files have in place of `attn_kv_b` do not); in models of 70 billion weights values get a bit more anywhere, for eight heads share them.
fn medium(dtype: DType, config: &Config, name: &PartName<'_>) -> DType {
    let (Some(i), n) = (name.layer_idx, config.num_hidden_layers) else { return dtype };
    let is_value = [names::V, names::KV_B].into_iter().any(|part| name.is(part));
    let is_down = [names::DOWN, names::DOWN_EXPS, names::DOWN_SHARED].into_iter().any(|part| name.is(part));
    let more = i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    match dtype {
        _ if (is_value || is_down) && more => DType::Q6_K,
        DType::Q4_K if is_value && n == 80 && config.latent.is_none() => DType::Q5_K,
        _ => dtype,
    }
}

/// A GGUF name in its parts.
pub(crate) struct PartName<'a> {
    pub layer_idx: Option<u32>,
    part: &'a str,
}

impl<'a> PartName<'a> {
    pub fn of(name: &'a str) -> Self {
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let layer = stem.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
        match layer.and_then(|(i, part)| Some((i.parse().ok()?, part))) {
            Some((i, part)) => PartName { layer_idx: Some(i), part },
            None => PartName { layer_idx: None, part: stem },
        }
    }

    /// Whether it is this tensor, of whatever layer.
    pub fn is(&self, part: names::Name) -> bool {
        self.part == part.0
    }
}
