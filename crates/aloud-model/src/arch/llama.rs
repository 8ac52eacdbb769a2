use super::Architecture;

/// Llama 2 and 3, DeepSeek-R1-Distill-Llama, SmolLM2.
pub const LLAMA: Architecture = Architecture {
    gguf: "llama",
    hugging_face: "LlamaForCausalLM",
    qkv_bias: false,
    qk_norm: false,
    gguf_permutes: true,
    latent: false,
};
