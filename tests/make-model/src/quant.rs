//! Which format each tensor is stored in.

use crate::Shape;
use aloud_format::DType;
use serde_json::{Value, json};

/// What the matrices of a GGUF file are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quant {
    /// All in one format.
    Single(DType),
    /// llama.cpp's Q4_K_M: the head, and some values and down projections, in Q6_K, the rest in Q4_K.
    Q4KM,
    /// llama.cpp's Q5_K_M: as Q4_K_M with Q5_K for Q4_K.
    Q5KM,
}

impl Quant {
    /// By its name, in either case.
    ///
    /// # Errors
    /// A sentence with all names.
    pub fn parse(name: &str) -> Result<Quant, String> {
        let name = name.to_uppercase();
        match name.as_str() {
            "Q4_K_M" => return Ok(Quant::Q4KM),
            "Q5_K_M" => return Ok(Quant::Q5KM),
            "FP8" => return Ok(Quant::Single(DType::F8_E4M3)),
            _ => {}
        }
        let known = || DType::DEQUANTISED.iter().filter(|dtype| dtype.ggml_id().is_some());
        known().find(|dtype| dtype.name() == name).map(|dtype| Quant::Single(*dtype)).ok_or_else(|| {
            let names: Vec<&str> = known().map(|dtype| dtype.name()).collect();
            format!("`{name}` is no format; there are Q4_K_M, Q5_K_M, FP8, {}", names.join(", "))
        })
    }

    /// `general.file_type`: `enum llama_ftype` of llama.cpp.
    #[must_use]
    pub fn file_type(self) -> u32 {
        match self {
            Quant::Q4KM => 15,
            Quant::Q5KM => 17,
            Quant::Single(dtype) => match dtype {
                DType::F16 => 1,
                DType::Q4_0 => 2,
                DType::Q4_1 => 3,
                DType::Q8_0 => 7,
                DType::Q5_0 => 8,
                DType::Q5_1 => 9,
                DType::Q2_K => 10,
                DType::Q3_K => 12,
                DType::Q4_K => 14,
                DType::Q5_K => 16,
                DType::Q6_K => 18,
                DType::IQ4_NL => 25,
                DType::IQ4_XS => 30,
                DType::BF16 => 32,
                DType::MXFP4 => 38,
                _ => 0,
            },
        }
    }

    /// The format of a tensor of a GGUF file by its name and shape, outermost axis first.
    #[must_use]
    pub fn of(self, shape: &Shape, name: &str, extents: &[u64]) -> DType {
        // Vectors, and the matrix that chooses experts, stay as they are.
        if extents.len() == 1 || name.contains("ffn_gate_inp") {
            return DType::F32;
        }
        let wanted = match self {
            Quant::Single(dtype) => dtype,
            Quant::Q4KM if self.is_better(shape, name) => DType::Q6_K,
            Quant::Q5KM if self.is_better(shape, name) => DType::Q6_K,
            Quant::Q4KM => DType::Q4_K,
            Quant::Q5KM => DType::Q5_K,
        };
        wanted.for_rows_of(extents.last().copied().unwrap_or(0))
    }

    /// Whether llama.cpp's mixes spend more bits on this tensor.
    fn is_better(self, shape: &Shape, name: &str) -> bool {
        if name == "output.weight" {
            return true;
        }
        let layer = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<u64>().ok());
        let Some(layer) = layer else { return false };
        let eighth = shape.n_blocks() / 8;
        let chosen = layer < eighth || layer >= 7 * shape.n_blocks() / 8 || (layer - eighth) % 3 == 2;
        chosen && ["attn_v.", "attn_kv_b.", "ffn_down"].iter().any(|part| name.contains(part))
    }
}

/// What the scales of 8-bit weights are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fp8Scales {
    /// As DeepSeek-V3 and R1.
    F32,
    /// As DeepSeek-V3.1: powers of two in F32.
    PowersOfTwo,
    /// Powers of two as their exponents alone.
    E8M0,
}

impl Fp8Scales {
    /// `quantization_config` of `config.json`.
    #[must_use]
    pub fn config_json(self) -> Value {
        let mut config = json!({ "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
            "weight_block_size": [128, 128] });
        if self != Fp8Scales::F32 {
            config["scale_fmt"] = json!("ue8m0");
        }
        config
    }
}

/// Name and shape of the scales of an 8-bit weight `[out, in]`: one for each tile of 128 by 128.
#[must_use]
pub fn fp8_scales(name: &str, shape: &[u64]) -> (String, Vec<u64>) {
    (format!("{name}_scale_inv"), shape.iter().map(|extent| extent.div_ceil(128)).collect())
}

/// The format of a tensor of a checkpoint, whose matrices are stored as `dtype`: an 8-bit checkpoint keeps everything but
/// the linear layers of attention and feed-forward in BF16; the bias that chooses experts is F32 in all.
#[must_use]
pub fn hf_dtype(dtype: DType, name: &str) -> DType {
    let linear = name.ends_with(".weight") && name.contains("_proj") && !name.contains("eh_proj");
    match dtype {
        DType::F32 => DType::F32,
        _ if name.ends_with("e_score_correction_bias") => DType::F32,
        DType::F8_E4M3 if !linear => DType::BF16,
        _ => dtype,
    }
}
