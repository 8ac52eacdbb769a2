use super::Architecture;

/// DeepSeek-V2 and V2-Lite; in GGUF the whole family.
pub const V2: Architecture = Architecture {
    gguf: "deepseek2",
    hugging_face: "DeepseekV2ForCausalLM",
    qkv_bias: false,
    qk_norm: false,
    gguf_permutes: false,
    latent: true,
};

/// DeepSeek-V3, R1 and V3.1, and what shares their graph: Moonlight, Kimi-K2.
pub const V3: Architecture = Architecture { hugging_face: "DeepseekV3ForCausalLM", ..V2 };
