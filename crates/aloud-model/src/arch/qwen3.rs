use super::Architecture;

/// Qwen3, DeepSeek-R1-0528-Qwen3-8B.
pub const QWEN3: Architecture = Architecture {
    gguf: "qwen3",
    hugging_face: "Qwen3ForCausalLM",
    qkv_bias: false,
    qk_norm: true,
    gguf_permutes: false,
    latent: false,
};
