//! Flags that several commands have, and what they mean to the library.

use aloud::{ChatOptions, Choice, Drafts, Elem, GpuOptions, LoadOptions, RenderOptions, Sampling, ThinkMode, Tile};
use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// How much is said on stderr.
#[derive(Args, Clone, Copy, Debug)]
pub struct Talk {
    /// Say more on stderr: device, memory, sampling, seed
    #[arg(short, long, global = true, env = "ALOUD_VERBOSE", value_parser = BoolishValueParser::new(), conflicts_with = "quiet")]
    pub verbose: bool,
    /// Say nothing on stderr but errors: no progress, thoughts or statistics
    #[arg(short, long, global = true, env = "ALOUD_QUIET", value_parser = BoolishValueParser::new())]
    pub quiet: bool,
}

/// Which model, and where it runs.
#[derive(Args, Debug)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// Model: a GGUF file (any part of a split one), or a folder with config.json and safetensors [default: tiny-r1, which is
    /// built in]
    #[arg(short, long, env = "ALOUD_MODEL", value_name = "FILE|DIR")]
    pub model: Option<PathBuf>,
    /// Context in tokens: prompt and answer together [default: 4096, or less if the model was made for less]
    #[arg(short, long, env = "ALOUD_CTX_SIZE", value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(2..))]
    pub ctx_size: Option<u32>,
    /// Adapter: its number in `aloud devices`, or a part of its name [default: the likely fastest]
    #[arg(long, env = "ALOUD_DEVICE", value_name = "NUMBER|NAME")]
    pub device: Option<String>,
    /// Numbers in the KV cache; f32 takes twice the memory and is for checking
    #[arg(long, env = "ALOUD_CACHE_TYPE", value_name = "TYPE", default_value = "f16")]
    pub cache_type: CacheType,
    /// Numbers that weights are multiplied with: f16 rounds both to halves where many rows are multiplied at once, as auto does
    /// on a GPU that has them; int8 rounds activations to 8 bits in groups of 32 where weights are blocks of whole numbers, for
    /// less arithmetic; answers differ a little. Measure with `aloud bench` and `aloud perplexity`
    #[arg(long, env = "ALOUD_ACTIVATIONS", value_name = "TYPE", default_value = "auto")]
    pub activations: Activations,
    /// Use the kernels without subgroup operations even where the adapter has them, for checking
    #[arg(long, env = "ALOUD_NO_SUBGROUPS", value_parser = BoolishValueParser::new())]
    pub no_subgroups: bool,
    /// Whether to measure, the first time that a device meets weights of a format, which kernels are fastest: a fifth of a second,
    /// kept for later runs. It changes the order of sums, and so how they round; see `aloud tune`
    #[arg(long, env = "ALOUD_TUNE", value_name = "WHEN", default_value = "auto")]
    pub tune: TuneMode,
}

/// Whether kernels are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TuneMode {
    /// What was not measured before.
    Auto,
    /// Not at all, and what was measured is not used.
    Off,
}

/// The most that loading a model takes longer the first time.
const TUNE_BUDGET: Duration = Duration::from_millis(200);

/// Numbers that weights are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Activations {
    /// As is likely fastest, or was measured to be: halves, or as they are.
    Auto,
    /// As they are.
    F32,
    /// Rounded to halves where many rows are multiplied, if the device has them.
    F16,
    /// Rounded to 8 bits.
    Int8,
}

/// Numbers in the KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CacheType {
    /// 16 bits.
    F16,
    /// 32 bits.
    F32,
}

impl CacheType {
    /// The library's name.
    pub fn elem(self) -> Elem {
        match self {
            CacheType::F16 => Elem::F16,
            CacheType::F32 => Elem::F32,
        }
    }
}

impl ModelArgs {
    /// The library's options, without what the machine has.
    pub fn load_options(&self) -> LoadOptions {
        LoadOptions {
            device: self.device.clone().map_or(Choice::Best, Choice::Named),
            gpu: GpuOptions {
                subgroups: !self.no_subgroups,
                int8: self.activations == Activations::Int8,
                tile: match self.activations {
                    Activations::F32 => Some(Tile::Subgroups),
                    Activations::F16 => Some(Tile::Half),
                    Activations::Auto | Activations::Int8 => None,
                },
                ..GpuOptions::default()
            },
            n_ctx: self.ctx_size,
            cache: self.cache_type.elem(),
            tune: (self.tune == TuneMode::Auto).then_some(TUNE_BUDGET),
            ..LoadOptions::default()
        }
    }
}

impl ModelArgs {
    /// The flags that say the same but for the model, for a program that is started to be measured.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = vec![
            format!("--cache-type={}", name(self.cache_type)),
            format!("--activations={}", name(self.activations)),
            format!("--tune={}", name(self.tune)),
        ];
        flags.extend(self.ctx_size.map(|tokens| format!("--ctx-size={tokens}")));
        flags.extend(self.device.iter().map(|device| format!("--device={device}")));
        flags.extend(self.no_subgroups.then(|| "--no-subgroups".to_owned()));
        flags
    }
}

fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().expect("no value is hidden").get_name().to_owned()
}

/// Whether several tokens are drafted and verified at once. It changes how fast an answer comes, not how it is drawn.
#[derive(Args, Debug)]
#[command(next_help_heading = "Drafts")]
pub struct DraftArgs {
    /// Draft tokens and verify them in one pass [default: auto]. A pass of several tokens may round
    /// differently, and auto decides by the clock which passes draft: with off the text is exactly reproducible
    #[arg(long, env = "ALOUD_DRAFT", value_name = "HOW")]
    pub draft: Option<DraftMode>,
    /// Tokens drafted per step, 1 to 4 [default: 1 with mtp, 4 with lookup]
    #[arg(long, env = "ALOUD_DRAFT_TOKENS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4))]
    pub draft_tokens: Option<u32>,
}

/// How tokens are drafted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DraftMode {
    /// As the model and the device allow, until it is no gain
    Auto,
    /// Not at all
    Off,
    /// By the model's layer for multi-token prediction, which few files have
    Mtp,
    /// By what followed when the text said the same before
    Lookup,
}

impl DraftArgs {
    /// The library's options with these; `usual` is what happens if nothing is asked for.
    pub fn over(&self, options: LoadOptions, usual: DraftMode) -> LoadOptions {
        let drafts = match self.draft.unwrap_or(usual) {
            DraftMode::Auto => Drafts::Auto,
            DraftMode::Off => Drafts::Off,
            DraftMode::Mtp => Drafts::NextToken,
            DraftMode::Lookup => Drafts::Lookup,
        };
        LoadOptions { drafts, n_drafts: self.draft_tokens, ..options }
    }
}

/// How tokens are drawn. What is not given is as the model's makers recommend.
#[derive(Args, Debug)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Tokens to generate at most, thought included [default: until the model ends or the context is full]
    #[arg(short = 'n', long, visible_alias = "n-predict", env = "ALOUD_PREDICT", value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub predict: Option<u32>,
    /// Temperature; 0 always takes the likeliest token [default: as the model's generation_config.json says, else 0.6 for R1 models, else 0]
    #[arg(long, visible_alias = "temperature", env = "ALOUD_TEMP", value_parser = zero_or_more)]
    pub temp: Option<f32>,
    /// Keep the likeliest tokens that reach this probability together [default: as for --temp, 0.95 for R1 models, else 1: off]
    #[arg(long, env = "ALOUD_TOP_P", value_name = "P", value_parser = share_above_zero)]
    pub top_p: Option<f32>,
    /// Keep the k likeliest tokens [default: as for --temp, else 0: off]
    #[arg(long, env = "ALOUD_TOP_K", value_name = "K")]
    pub top_k: Option<u32>,
    /// Drop tokens less likely than this fraction of the likeliest [default: 0: off]
    #[arg(long, env = "ALOUD_MIN_P", value_name = "P", value_parser = share)]
    pub min_p: Option<f32>,
    /// Factor against tokens of prompt and answer [default: 1: off]
    #[arg(long, visible_alias = "repetition-penalty", env = "ALOUD_REPEAT_PENALTY", value_name = "X", value_parser = above_zero)]
    pub repeat_penalty: Option<f32>,
    /// Subtracted from the logit of a token that the answer has [default: 0: off]
    #[arg(long, env = "ALOUD_PRESENCE_PENALTY", value_name = "X", allow_negative_numbers = true, value_parser = number)]
    pub presence_penalty: Option<f32>,
    /// Subtracted from the logit of a token per time that the answer has it [default: 0: off]
    #[arg(long, env = "ALOUD_FREQUENCY_PENALTY", value_name = "X", allow_negative_numbers = true, value_parser = number)]
    pub frequency_penalty: Option<f32>,
    /// Seed of the draws: the same seed gives the same answer on the same device and with --draft off [default: random, -v shows it]
    #[arg(long, env = "ALOUD_SEED")]
    pub seed: Option<u32>,
    /// End the answer where this text comes; may be repeated
    #[arg(long, env = "ALOUD_STOP", value_name = "TEXT")]
    pub stop: Vec<String>,
}

impl SamplingArgs {
    /// What is given, over what is recommended.
    pub fn over(&self, recommended: Sampling, random_seed: u32) -> Sampling {
        Sampling {
            temperature: self.temp.unwrap_or(recommended.temperature),
            top_k: self.top_k.unwrap_or(recommended.top_k),
            top_p: self.top_p.unwrap_or(recommended.top_p),
            min_p: self.min_p.unwrap_or(recommended.min_p),
            repetition_penalty: self.repeat_penalty.unwrap_or(recommended.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(recommended.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(recommended.frequency_penalty),
            seed: self.seed.unwrap_or(random_seed),
        }
    }
}

/// What is said to the model beside the question, and what becomes of its thought.
#[derive(Args, Debug)]
#[command(next_help_heading = "Conversation")]
pub struct TalkArgs {
    /// System prompt [default: what the model's template brings; DeepSeek recommends none for R1]
    #[arg(long, env = "ALOUD_SYSTEM", value_name = "TEXT")]
    pub system: Option<String>,
    /// Show what the answer took, and how drafts went, even where stderr is no terminal
    #[arg(long, env = "ALOUD_STATS", value_parser = BoolishValueParser::new())]
    pub stats: bool,
    /// Do not show the thought of a reasoning model
    #[arg(long, env = "ALOUD_HIDE_THINKING", value_parser = BoolishValueParser::new())]
    pub hide_thinking: bool,
    /// Close the thought after so many tokens [default: no limit]
    #[arg(long, env = "ALOUD_THINK_BUDGET", value_name = "TOKENS")]
    pub think_budget: Option<u32>,
    /// Whether the model is made to think first
    #[arg(long, env = "ALOUD_THINKING", value_name = "WHEN", default_value = "auto")]
    pub thinking: Thinking,
}

/// Whether the prompt opens a thought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Thinking {
    /// Open the thought of DeepSeek-R1 models, as DeepSeek recommends; others as their template does
    Auto,
    /// Not at all: closes the thought of DeepSeek-R1 models at once, and asks templates that can be asked, such as Qwen3's
    Off,
    /// Leave the prompt exactly as the template makes it
    Template,
}

impl TalkArgs {
    /// The library's options.
    pub fn chat_options(&self, sampling: &SamplingArgs) -> ChatOptions {
        ChatOptions {
            sampling: None,
            max_tokens: sampling.predict,
            think_budget: self.think_budget,
            stop: sampling.stop.clone(),
            render: RenderOptions {
                enable_thinking: (self.thinking == Thinking::Off).then_some(false),
                think: if self.thinking == Thinking::Template { ThinkMode::AsTemplate } else { ThinkMode::Auto },
                ..RenderOptions::default()
            },
            trace: false,
            ..ChatOptions::default()
        }
    }
}

fn number(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|v: &f32| v.is_finite()).ok_or_else(|| "expected a number".to_owned())
}

fn checked(text: &str, fine: impl Fn(f32) -> bool, expected: &str) -> Result<f32, String> {
    number(text).ok().filter(|&v| fine(v)).ok_or_else(|| format!("expected {expected}"))
}

fn zero_or_more(text: &str) -> Result<f32, String> {
    checked(text, |v| v >= 0.0, "0 or more")
}

fn above_zero(text: &str) -> Result<f32, String> {
    checked(text, |v| v > 0.0, "more than 0")
}

fn share(text: &str) -> Result<f32, String> {
    checked(text, |v| (0.0..=1.0).contains(&v), "0 to 1")
}

fn share_above_zero(text: &str) -> Result<f32, String> {
    checked(text, |v| v > 0.0 && v <= 1.0, "more than 0, at most 1")
}
