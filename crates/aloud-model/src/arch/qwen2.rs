use super::Architecture;

/// Qwen2 and 2.5, DeepSeek-R1-Distill-Qwen.
pub const QWEN2: Architecture = Architecture {
    gguf: "qwen2",
    hugging_face: "Qwen2ForCausalLM",
    qkv_bias: true,
    qk_norm: false,
    gguf_permutes: false,
    latent: false,
};
