//! What can be typed: commands and flags, without any effect.

mod shared;

use clap::builder::BoolishValueParser;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
pub use shared::{CacheType, DraftArgs, DraftMode, ModelArgs, SamplingArgs, Talk, TalkArgs};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  aloud ask \"Compute 27 + 48.\"
  aloud ask -m model.gguf \"Why is the sky blue?\"
  git diff | aloud ask -m model.gguf \"Review this change:\"
  aloud chat -m model.gguf -c 8192 --temp 0.7
  ALOUD_MODEL=model.gguf aloud bench

Without -m a small model answers that is built in, tiny-r1: it thinks like DeepSeek-R1, and knows
stacks of boxes and sums alone.
Every flag can be given in the environment too, under the name that its help shows; the flag wins.
The answer goes to stdout, everything else to stderr.

Exit codes: 0 done, 2 usage, 3 model too large or prompt too long, 4 file or format, 5 device,
130 stopped by Ctrl-C, 1 anything else.";

/// Runs language models of the DeepSeek-R1 family and their relatives on your GPU.
#[derive(Debug, Parser)]
#[command(name = "aloud", version, max_term_width = 100, after_help = EXAMPLES, subcommand_required = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How much is said.
    #[command(flatten)]
    pub talk: Talk,
}

/// Parses the command line; prints help or a usage error and exits where that is all there is to do.
pub fn parse() -> Cli {
    let matches = command().get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit())
}

/// The definition, without the values of environment variables in the help: a key or path there is nobody's business.
pub fn command() -> clap::Command {
    let hide = |c: clap::Command| c.mut_args(|a| a.hide_env_values(true));
    // Some commands know better than the library how much they need.
    let context = |c: clap::Command, help| c.mut_arg("ctx_size", |a| a.help(help));
    hide(Cli::command())
        .mut_subcommand("bench", |c| {
            let drafts = "Measure drafts too: tokens that are guessed and verified in one pass [default: off]";
            context(c, "Context in tokens [default: what the longest run needs]").mut_arg("draft", |a| a.help(drafts))
        })
        .mut_subcommand("perplexity", |c| context(c, "Tokens per chunk [default: 512]"))
        .mut_subcommands(hide)
}

/// One variant per command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer one question, from the argument, stdin or both
    Ask(AskArgs),
    /// Hold a conversation
    Chat(ChatArgs),
    /// Show a model file's metadata, tensors, formats and memory need
    Inspect(InspectArgs),
    /// List the GPU adapters found
    Devices(DevicesArgs),
    /// Measure tokens per second and the time to the first token
    Bench(BenchArgs),
    /// Write the logits of given tokens, to compare engines
    Logits(LogitsArgs),
    /// Show the token ids of a text
    Tokenize(TokenizeArgs),
    /// Measure which variants of kernels are fastest here, or show what was measured
    Tune(TuneArgs),
    /// Measure how well a model predicts a text
    Perplexity(PerplexityArgs),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
}

/// `aloud ask`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  aloud ask \"Compute 27 + 48.\"
  aloud ask -m model.gguf \"Why is the sky blue?\"
  aloud ask -m model.gguf < question.txt
  cat report.md | aloud ask -m model.gguf -c 8192 \"Summarise this:\"
  aloud ask -m r1.gguf --think-budget 500 --seed 1 \"Is 1001 prime?\"
  aloud ask -m model.gguf --json \"Hi\" | jq -r 'select(.type == \"answer\").text'

With --json each line is {\"type\":\"reasoning\"|\"answer\",\"text\":...}, and the last one
{\"type\":\"done\",\"finish_reason\":...,\"usage\":{...},\"timings\":{...},\"drafts\":{...}|null,
\"loading\":{when loading had what, in ms after it began}|null}.

--trace writes a line when it is known, first each step:
  {\"type\":\"step\", \"phase\":\"prompt\"|\"decode\"|\"draft\",
   \"pos\": position of its first token, \"tokens\":[ids it computed],
   \"drafts\":[ids drafted for it to verify], \"accepted\": how many were right,
   \"drawn\":[ids it drew], \"n_cached\": tokens cached after it, \"cache_bytes\": their size}
then, for each layer with experts and each of its tokens, in that order:
  {\"type\":\"layer\", \"pos\":..., \"token\": id, \"layer\": from 0, \"experts\":[chosen, best first],
   \"weights\":[of each], \"n_shared\": experts that every token has, \"logits\":[of the router]}
Models without experts have steps only. The phase \"draft\" is of a layer that predicts ahead; it
counts behind the last. A traced answer is the same, but takes longer.")]
pub struct AskArgs {
    /// The question; stdin, if it is no terminal, is appended [default: stdin]
    pub question: Option<String>,
    /// Write one JSON object per line
    #[arg(long, env = "ALOUD_JSON", value_parser = BoolishValueParser::new())]
    pub json: bool,
    /// Write what goes on inside to this file while it happens, one JSON object per line
    #[arg(long, env = "ALOUD_TRACE", value_name = "FILE")]
    pub trace: Option<PathBuf>,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub drafts: DraftArgs,
    #[command(flatten)]
    pub talk: TalkArgs,
}

/// `aloud chat`.
#[derive(Args, Debug)]
#[command(after_help = "\
In the conversation:
  /reset   forget it and start anew
  /help    list these commands
  /exit    leave; so do Ctrl-D, and Ctrl-C twice
  Ctrl-C   stop the answer; what was said stays in the conversation

Examples:
  aloud chat
  aloud chat -m model.gguf
  aloud chat -m r1.gguf --hide-thinking --history ~/.aloud_history")]
pub struct ChatArgs {
    /// Keep what was typed in this file [default: forgotten at the end]
    #[arg(long, env = "ALOUD_HISTORY", value_name = "FILE")]
    pub history: Option<PathBuf>,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub drafts: DraftArgs,
    #[command(flatten)]
    pub talk: TalkArgs,
}

/// `aloud inspect`.
#[derive(Args, Debug)]
#[command(after_help = "\
Only the header is read: the file may still be downloading, or cut after it.
Of a config.json alone, or with --quant, parameters, bytes, FLOPs and GPUs are worked out.
FORMAT is FP8, F32, BF16, F16, Q8_0, Q6_K, Q5_K_M, Q5_1, Q5_0, Q4_K_M, Q4_1 or Q4_0.

Examples:
  aloud inspect model.gguf
  aloud inspect --tensors model.gguf
  aloud inspect --json model.gguf | jq .memory
  aloud inspect --quant Q4_K_M -c 32768 config.json")]
pub struct InspectArgs {
    /// Model: a GGUF file (any part of a split one), a folder with config.json and safetensors, or a config.json alone
    /// [default: tiny-r1, which is built in]
    #[arg(env = "ALOUD_MODEL", value_name = "FILE|DIR")]
    pub model: Option<PathBuf>,
    /// What the model would need in this format [default: Q4_K_M, if there are no weights]
    #[arg(long, env = "ALOUD_QUANT", value_name = "FORMAT")]
    pub quant: Option<String>,
    /// Context in tokens [default: several up to what the model was made for]
    #[arg(short, long, env = "ALOUD_CTX_SIZE", value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(2..))]
    pub ctx_size: Option<u32>,
    /// List every tensor, not the first of each kind
    #[arg(long, env = "ALOUD_TENSORS", value_parser = BoolishValueParser::new())]
    pub tensors: bool,
    /// Numbers in the KV cache, for the memory need
    #[arg(long, env = "ALOUD_CACHE_TYPE", value_name = "TYPE", default_value = "f16")]
    pub cache_type: CacheType,
    /// Write one JSON object
    #[arg(long, env = "ALOUD_JSON", value_parser = BoolishValueParser::new())]
    pub json: bool,
}

/// `aloud devices`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  aloud devices
  aloud ask -m model.gguf --device 1 \"Hi\"
  aloud ask -m model.gguf --device radeon \"Hi\"")]
pub struct DevicesArgs {
    /// Write one JSON object
    #[arg(long, env = "ALOUD_JSON", value_parser = BoolishValueParser::new())]
    pub json: bool,
}

/// `aloud tune`.
#[derive(Args, Debug)]
#[command(after_help = "\
Every command that loads a model does this the first time, for a fifth of a second, and keeps what it finds;
this one takes its time and shows it. Only the number of threads that share rows of weights is
chosen: results differ by rounding alone. A new driver or another version of aloud measures anew.

Examples:
  aloud tune -m model.gguf
  aloud tune --show
  aloud tune --forget")]
pub struct TuneArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Show what was measured on this machine, and where it is kept
    #[arg(long, env = "ALOUD_SHOW", value_parser = BoolishValueParser::new(), conflicts_with = "forget")]
    pub show: bool,
    /// Delete what was measured
    #[arg(long, env = "ALOUD_FORGET", value_parser = BoolishValueParser::new())]
    pub forget: bool,
    /// Write one JSON object
    #[arg(long, env = "ALOUD_JSON", value_parser = BoolishValueParser::new())]
    pub json: bool,
}

/// `aloud bench`.
#[derive(Args, Debug)]
#[command(after_help = "\
pp is the prompt, computed from an empty cache; its time is that to the first token.
tg is one token after another, behind --depth tokens that are cached before.
One run of each warms up and does not count. With --draft tg is measured with drafts too, by turns.

Examples:
  aloud bench -p 128 -n 128 --draft mtp
  aloud bench -m model.gguf
  aloud bench -m model.gguf -p 128,512 -n 0
  aloud bench -m model.gguf -p 0 -n 32 --depth 50,1000 -r 3 --json
  aloud bench -m model.gguf -p 0 -n 128 --draft lookup")]
pub struct BenchArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Prompt sizes in tokens, separated by commas; 0 for none
    #[arg(
        short = 'p',
        long,
        env = "ALOUD_PROMPT",
        value_name = "TOKENS",
        value_delimiter = ',',
        default_value = "512"
    )]
    pub prompt: Vec<u32>,
    /// Tokens to generate, separated by commas; 0 for none
    #[arg(
        short = 'n',
        long = "generate",
        visible_short_alias = 'g',
        visible_alias = "predict",
        env = "ALOUD_GENERATE",
        value_name = "TOKENS",
        value_delimiter = ',',
        default_value = "128"
    )]
    pub generate: Vec<u32>,
    /// Tokens cached before generating, separated by commas
    #[arg(short = 'd', long, env = "ALOUD_DEPTH", value_name = "TOKENS", value_delimiter = ',', default_value = "1")]
    pub depth: Vec<u32>,
    /// Runs that count
    #[arg(short, long, env = "ALOUD_REPETITIONS", value_name = "RUNS", default_value = "5", value_parser = clap::value_parser!(u32).range(1..))]
    pub repetitions: u32,
    /// Starts of the program to measure too, each to its first token, against reading the files and the prompt alone, which is
    /// one of the first size of -p; 0 for none
    #[arg(long, env = "ALOUD_STARTS", value_name = "RUNS", default_value = "0")]
    pub starts: u32,
    /// Write one JSON object
    #[arg(long, env = "ALOUD_JSON", value_parser = BoolishValueParser::new())]
    pub json: bool,
    #[command(flatten)]
    pub drafts: DraftArgs,
}

/// `aloud logits`.
#[derive(Args, Debug)]
#[command(after_help = "\
stdout gets {\"ids\":[...],\"logits\":[...]}, with one list per position under --all.
A text is cut as by `aloud tokenize`: no special token is added.

Examples:
  aloud logits -m model.gguf --ids 1,2,3
  aloud logits -m model.gguf --all --cache-type f32 -o logits.npy \"The sky is\"")]
pub struct LogitsArgs {
    /// The text [default: stdin]
    #[arg(conflicts_with = "ids")]
    pub text: Option<String>,
    /// Token ids, separated by commas, in place of a text
    #[arg(long, env = "ALOUD_IDS", value_name = "IDS", value_delimiter = ',')]
    pub ids: Option<Vec<u32>>,
    /// Text that reads like a control token becomes one
    #[arg(long, env = "ALOUD_SPECIAL", value_parser = BoolishValueParser::new())]
    pub special: bool,
    /// Every position, not the last alone
    #[arg(long, env = "ALOUD_ALL", value_parser = BoolishValueParser::new())]
    pub all: bool,
    /// Write float32 in NumPy's format to this file: [V], or [T, V] with --all
    #[arg(short, long, env = "ALOUD_OUTPUT", value_name = "FILE.npy")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub model: ModelArgs,
}

/// `aloud tokenize`.
#[derive(Args, Debug)]
#[command(after_help = "\
No special token is added, and text that reads like one stays text. The pieces joined are the
text: where a character takes several tokens, the last one has it.

Examples:
  aloud tokenize -m model.gguf \"Hello, world\"
  aloud tokenize -m model.gguf --json < text.txt
  aloud tokenize -m model.gguf --special \"<|im_end|>\"")]
pub struct TokenizeArgs {
    /// The text [default: stdin]
    pub text: Option<String>,
    /// Model: only its header is read [default: tiny-r1, which is built in]
    #[arg(short, long, env = "ALOUD_MODEL", value_name = "FILE|DIR")]
    pub model: Option<PathBuf>,
    /// Text that reads like a control token becomes one
    #[arg(long, env = "ALOUD_SPECIAL", value_parser = BoolishValueParser::new())]
    pub special: bool,
    /// Write {"ids":[...],"pieces":[...]}
    #[arg(long, env = "ALOUD_JSON", value_parser = BoolishValueParser::new())]
    pub json: bool,
}

/// `aloud perplexity`.
#[derive(Args, Debug)]
#[command(after_help = "\
The text is cut into chunks of the context; in each the second half is predicted, so that every
prediction has at least half a context before it. The error is the standard error of the mean.

Examples:
  aloud perplexity -m model.gguf text.txt
  aloud perplexity -m model.gguf -c 1024 --chunks 8 text.txt")]
pub struct PerplexityArgs {
    /// The text
    pub file: PathBuf,
    /// Only the first chunks [default: all]
    #[arg(long, env = "ALOUD_CHUNKS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub chunks: Option<u32>,
    /// Write one JSON object
    #[arg(long, env = "ALOUD_JSON", value_parser = BoolishValueParser::new())]
    pub json: bool,
    #[command(flatten)]
    pub model: ModelArgs,
}

/// `aloud completions`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  aloud completions bash > ~/.local/share/bash-completion/completions/aloud
  aloud completions zsh > \"${fpath[1]}/_aloud\"
  aloud completions fish > ~/.config/fish/completions/aloud.fish")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use aloud::Sampling;

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_variable() {
        for sub in command().get_subcommands() {
            for arg in sub.get_arguments().filter(|a| a.get_long().is_some()) {
                let env = arg.get_env().and_then(|e| e.to_str()).unwrap_or_default();
                assert!(env.starts_with("ALOUD_"), "{} --{}", sub.get_name(), arg.get_id());
            }
        }
    }

    #[test]
    fn flags_override_single_fields() {
        let cli = Cli::try_parse_from(["aloud", "ask", "-m", "x", "--temp", "0.2", "--seed", "7", "hi"]).unwrap();
        let Command::Ask(args) = cli.command else { panic!("ask") };
        let got = args.sampling.over(Sampling::r1(), 3);
        assert_eq!(got, Sampling { temperature: 0.2, seed: 7, ..Sampling::r1() });
    }

    #[test]
    fn impossible_values_are_usage_errors() {
        for flags in [["--temp", "-1"], ["--top-p", "0"], ["--min-p", "2"], ["-c", "1"], ["-n", "0"], ["--temp", "NaN"]]
        {
            let error = Cli::try_parse_from(["aloud", "ask", flags[0], flags[1], "hi"]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{flags:?}");
        }
    }
}
