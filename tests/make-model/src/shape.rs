//! The numbers of a model.

/// The architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// Grouped-query attention.
    Llama,
    /// With biases on queries, keys and values.
    Qwen2,
    /// With norms on queries and keys.
    Qwen3,
    /// Latent attention; experts chosen by softmax.
    DeepseekV2,
    /// Latent attention; experts chosen by sigmoid and a bias.
    DeepseekV3,
}

impl Arch {
    /// All of them.
    pub const ALL: [Arch; 5] = [Arch::Llama, Arch::Qwen2, Arch::Qwen3, Arch::DeepseekV2, Arch::DeepseekV3];

    /// `model_type` of Hugging Face's `config.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Arch::Llama => "llama",
            Arch::Qwen2 => "qwen2",
            Arch::Qwen3 => "qwen3",
            Arch::DeepseekV2 => "deepseek_v2",
            Arch::DeepseekV3 => "deepseek_v3",
        }
    }

    /// `general.architecture` of a GGUF file.
    #[must_use]
    pub fn gguf_name(self) -> &'static str {
        if self.is_deepseek() { "deepseek2" } else { self.name() }
    }

    /// The class of `config.json`'s `architectures`.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Arch::Llama => "LlamaForCausalLM",
            Arch::Qwen2 => "Qwen2ForCausalLM",
            Arch::Qwen3 => "Qwen3ForCausalLM",
            Arch::DeepseekV2 => "DeepseekV2ForCausalLM",
            Arch::DeepseekV3 => "DeepseekV3ForCausalLM",
        }
    }

    /// Whether it has latent attention and experts.
    #[must_use]
    pub fn is_deepseek(self) -> bool {
        matches!(self, Arch::DeepseekV2 | Arch::DeepseekV3)
    }
}

/// How rotary frequencies are stretched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// Llama 3.1's, with its factors 8, 1 and 4.
    Llama3 {
        /// The context trained on.
        original: u64,
    },
    /// YaRN of dense models.
    Yarn {
        /// Divides the long waves.
        factor: f64,
        /// The context trained on.
        original: u64,
        /// What cos and sin are multiplied by, if not by YaRN's `0.1 ln(factor) + 1`.
        attention_factor: Option<f64>,
    },
    /// YaRN of DeepSeek's models, with `mscale` and `mscale_all_dim` alike.
    MlaYarn {
        /// Divides the long waves.
        factor: f64,
        /// The context trained on.
        original: u64,
        /// Turns from which a wave is kept.
        beta_fast: f64,
        /// Both `mscale` and `mscale_all_dim`.
        mscale: f64,
    },
}

/// The numbers of a model, under the names of `config.json`; those that its architecture does not have are 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// The architecture.
    pub arch: Arch,
    /// V.
    pub vocab_size: u64,
    /// D.
    pub hidden_size: u64,
    /// F of dense layers.
    pub intermediate_size: u64,
    /// Layers, without those for multi-token prediction.
    pub num_hidden_layers: u64,
    /// H.
    pub num_attention_heads: u64,
    /// K; with latent attention there are as many as query heads.
    pub num_key_value_heads: u64,
    /// C, of grouped-query attention.
    pub head_dim: u64,
    /// Added to mean squares.
    pub rms_norm_eps: f64,
    /// The context.
    pub max_position_embeddings: u64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Their stretching.
    pub scaling: Scaling,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Width of the latent queries; 0 if queries are projected at once.
    pub q_lora_rank: u64,
    /// Width of latent keys and values.
    pub kv_lora_rank: u64,
    /// Width of the unrotated part of a query or key.
    pub qk_nope_head_dim: u64,
    /// Width of the rotated part.
    pub qk_rope_head_dim: u64,
    /// Width of a value.
    pub v_head_dim: u64,
    /// F of an expert.
    pub moe_intermediate_size: u64,
    /// E: experts that are chosen from.
    pub n_routed_experts: u64,
    /// Experts chosen for a token.
    pub num_experts_per_tok: u64,
    /// Experts that work for all tokens.
    pub n_shared_experts: u64,
    /// Layers before the first with experts.
    pub first_k_dense_replace: u64,
    /// Groups that the experts lie in.
    pub n_group: u64,
    /// Groups chosen for a token.
    pub topk_group: u64,
    /// Whether the weights of the chosen experts are made to sum to 1.
    pub norm_topk_prob: bool,
    /// Multiplies the weights of the chosen experts.
    pub routed_scaling_factor: f64,
    /// Layers for multi-token prediction.
    pub num_nextn_predict_layers: u64,
}

impl Shape {
    /// The parameters of every tensor, copies left out.
    #[must_use]
    pub fn n_params(&self) -> u64 {
        let elems = |part: &crate::Part| part.hf.len() as u64 * part.shape.iter().product::<u64>();
        self.parts(false).iter().filter(|part| part.copy_of.is_none()).map(elems).sum()
    }

    /// Layers, with those for multi-token prediction: what GGUF counts.
    #[must_use]
    pub fn n_blocks(&self) -> u64 {
        self.num_hidden_layers + self.num_nextn_predict_layers
    }

    /// What is impossible about these numbers, if anything, by name.
    ///
    /// # Errors
    /// A sentence that names the setting, what it is and what it could be.
    pub fn check(&self) -> Result<(), String> {
        self.check_present()?;
        let divides = |what: &str, value: u64, of: &str, whole: u64| {
            if value > 0 && whole.is_multiple_of(value) {
                return Ok(());
            }
            Err(format!("`{what}` is {value}, which does not divide `{of}`, {whole}"))
        };
        let at_most = |what: &str, value: u64, of: &str, most: u64| {
            if value <= most {
                return Ok(());
            }
            Err(format!("`{what}` is {value}, more than `{of}`, {most}"))
        };
        if !self.arch.is_deepseek() {
            return divides(
                "num_key_value_heads",
                self.num_key_value_heads,
                "num_attention_heads",
                self.num_attention_heads,
            );
        }
        divides("n_group", self.n_group, "n_routed_experts", self.n_routed_experts)?;
        at_most("topk_group", self.topk_group, "n_group", self.n_group)?;
        at_most("first_k_dense_replace", self.first_k_dense_replace, "num_hidden_layers", self.num_hidden_layers)?;
        let reachable = self.n_routed_experts / self.n_group * self.topk_group;
        at_most("num_experts_per_tok", self.num_experts_per_tok, "the experts in topk_group groups", reachable)?;
        if self.arch == Arch::DeepseekV3 && self.n_group > 1 && self.n_routed_experts / self.n_group < 2 {
            return Err(format!(
                "`n_group` is {}, which leaves fewer than the 2 experts that a group's score is the sum of",
                self.n_group
            ));
        }
        if self.arch == Arch::DeepseekV2 && self.num_nextn_predict_layers > 0 {
            return Err("`num_nextn_predict_layers` belongs to deepseek_v3; deepseek_v2 has none".to_owned());
        }
        Ok(())
    }

    fn check_present(&self) -> Result<(), String> {
        let all = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
        ];
        let dense = [("head_dim", self.head_dim)];
        let mla = [
            ("kv_lora_rank", self.kv_lora_rank),
            ("qk_nope_head_dim", self.qk_nope_head_dim),
            ("qk_rope_head_dim", self.qk_rope_head_dim),
            ("v_head_dim", self.v_head_dim),
            ("moe_intermediate_size", self.moe_intermediate_size),
            ("n_routed_experts", self.n_routed_experts),
            ("num_experts_per_tok", self.num_experts_per_tok),
            ("n_shared_experts", self.n_shared_experts),
            ("n_group", self.n_group),
            ("topk_group", self.topk_group),
        ];
        let own: &[(&str, u64)] = if self.arch.is_deepseek() { &mla } else { &dense };
        match all.iter().chain(own).find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(format!("`{name}` is 0, {} needs at least 1", self.arch.name())),
            None => Ok(()),
        }
    }
}
