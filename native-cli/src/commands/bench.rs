//! `aloud bench`: tokens per second, and what a token costs.

use crate::args::{BenchArgs, DraftMode, Talk};
use crate::commands::devices::as_json;
use crate::commands::starts::{self, Starts};
use crate::{drafts, open, text};
use aloud::{DraftReport, LoadOptions, Model, Sampling, StepSeconds};
use anyhow::Result;
use indicatif::ProgressBar;
use pollster::block_on;
use serde::Serialize;
use serde_json::json;
use std::io::Write;
use std::time::Duration;

/// Runs it.
pub fn run(args: &BenchArgs, talk: Talk) -> Result<()> {
    let plan = Plan::new(args);
    let options = LoadOptions { n_ctx: args.model.ctx_size.or(Some(plan.n_ctx())), ..args.model.load_options() };
    let options = args.drafts.over(options, DraftMode::Off);
    let which = open::which(args.model.model.as_ref(), talk);
    let mut model = open::model(which, &args.model, &options, talk)?;
    let bar = open::bar(talk, "measuring {wide_bar} run {pos}/{len}");
    bar.set_length(plan.n_runs(model.draft().is_some()));
    let mut prefill = Vec::new();
    for &n in &plan.prompts {
        prefill.push(measure_prefill(&mut model, n, plan.repetitions, &bar)?);
    }
    let mut decode = Vec::new();
    for &depth in &plan.depths {
        for &n in &plan.generate {
            decode.push(measure_decode(&mut model, depth, n, plan.repetitions, &bar)?);
        }
    }
    let starts = match args.starts {
        0 => None,
        runs => {
            let n_tokens = plan.prompts.first().copied().unwrap_or(0);
            Some(starts::measure(&mut model, which, &args.model, (runs, n_tokens), &bar)?)
        }
    };
    bar.finish_and_clear();
    let measured = Measured { prefill, decode, starts };
    if args.json { print_json(&model, args, &measured) } else { print(&model, args, &measured) }
}

/// Tokens that a program which is started to be measured is asked at least, a system prompt among them: room for what a template
/// says before a single word.
const STARTED_TOKENS: u32 = 512;

/// What was measured.
struct Measured {
    prefill: Vec<Prefill>,
    decode: Vec<Decode>,
    starts: Option<Starts>,
}

/// What is measured.
struct Plan {
    prompts: Vec<u32>,
    generate: Vec<u32>,
    depths: Vec<u32>,
    repetitions: u32,
    starts: u32,
}

impl Plan {
    fn new(args: &BenchArgs) -> Self {
        let positive = |sizes: &[u32]| sizes.iter().copied().filter(|&n| n > 0).collect();
        Plan {
            prompts: positive(&args.prompt),
            generate: positive(&args.generate),
            // Generating begins with a token: there is always one.
            depths: args.depth.iter().map(|&d| d.max(1)).collect(),
            repetitions: args.repetitions,
            starts: args.starts,
        }
    }

    /// The smallest context that holds every run.
    fn n_ctx(&self) -> u32 {
        let most = |sizes: &[u32]| sizes.iter().copied().max().unwrap_or(0);
        let decode = most(&self.depths).saturating_add(most(&self.generate));
        let start = if self.starts > 0 { STARTED_TOKENS } else { 0 };
        most(&self.prompts).max(decode).max(start).saturating_add(2)
    }

    fn n_runs(&self, drafts: bool) -> u64 {
        let decodes = self.depths.len() * self.generate.len();
        let sizes = self.prompts.len() + decodes * if drafts { 2 } else { 1 };
        let starts = if self.starts > 0 { u64::from(self.starts) + 1 } else { 0 };
        sizes as u64 * (u64::from(self.repetitions) + 1) + starts
    }
}

/// The spread of a measured quantity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    mean: f64,
    sd: f64,
    min: f64,
    /// The middle one.
    pub median: f64,
    max: f64,
}

impl Spread {
    /// Of at least one value; the standard deviation is that of a sample.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let mean = sorted.iter().sum::<f64>() / n as f64;
        let squares: f64 = sorted.iter().map(|v| (v - mean).powi(2)).sum();
        Spread {
            mean,
            sd: if n > 1 { (squares / (n - 1) as f64).sqrt() } else { 0.0 },
            min: sorted[0],
            median: (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0,
            max: sorted[n - 1],
        }
    }
}

#[derive(Serialize)]
struct Prefill {
    prompt_tokens: u32,
    tokens_per_second: Spread,
    time_to_first_token_ms: Spread,
}

#[derive(Serialize)]
struct Decode {
    cached_tokens: u32,
    generated_tokens: u32,
    tokens_per_second: Spread,
    /// What the host takes to encode, of all runs without drafts.
    encode_us_per_dispatch: f64,
    /// The same of the step that was disturbed least: a CPU that plays the GPU takes the host's time.
    least_encode_us_per_dispatch: Option<f64>,
    per_token: Figures,
    /// By the device's clock, if it has one.
    draws: Vec<Draw>,
    drafts: Option<Drafted>,
}

/// What drawing takes of a step, medians.
#[derive(Serialize)]
struct Draw {
    sampling: &'static str,
    step_ms: f64,
    draw_ms: f64,
    share: f64,
}

/// How tokens are drawn where that is measured: as by default, as DeepSeek recommends, and by a number of them.
fn samplings() -> [(&'static str, Sampling); 3] {
    let greedy = Sampling::default();
    let warm = Sampling { temperature: 0.6, ..greedy };
    [
        ("greedy", greedy),
        ("temperature 0.6, top-p 0.95", Sampling { top_p: 0.95, ..warm }),
        ("temperature 0.6, top-k 40", Sampling { top_k: 40, ..warm }),
    ]
}

/// The same tokens with drafts.
#[derive(Serialize)]
struct Drafted {
    tokens_per_second: Spread,
    /// Of the last run, with the speed-up of the medians.
    #[serde(flatten)]
    report: DraftReport,
}

/// What one decoded token costs, half-way through the run.
#[derive(Serialize)]
struct Figures {
    cached_tokens: u32,
    dispatches: usize,
    bytes: u64,
    weight_bytes: u64,
    kv_bytes: u64,
    activation_bytes: u64,
    flops: u64,
}

/// Tokens all over the vocabulary, the same in every run.
pub fn prompt(model: &Model, n: u32) -> Vec<u32> {
    let n_vocab = model.header().tokenizer.vocab_size() as u64;
    (0..u64::from(n)).map(|i| ((i + 1) * 2_654_435_761 % n_vocab) as u32).collect()
}

fn measure_prefill(model: &mut Model, n: u32, repetitions: u32, bar: &ProgressBar) -> Result<Prefill> {
    let ids = prompt(model, n);
    let mut times = Vec::new();
    for run in 0..=repetitions {
        let measured = block_on(model.bench(&ids, 1))?;
        if run > 0 {
            times.push(measured.prefill_ms);
        }
        bar.inc(1);
    }
    Ok(Prefill {
        prompt_tokens: n,
        tokens_per_second: Spread::of(times.iter().map(|ms| f64::from(n) / ms * 1e3)),
        time_to_first_token_ms: Spread::of(times.iter().copied()),
    })
}

fn measure_decode(model: &mut Model, depth: u32, n: u32, repetitions: u32, bar: &ProgressBar) -> Result<Decode> {
    let ids = prompt(model, depth);
    let (mut times, mut drafted, mut last) = (Vec::new(), Vec::new(), None);
    let (mut encoding, mut dispatches) = (Duration::ZERO, 0);
    for run in 0..=repetitions {
        for drafts in [false, true].into_iter().take(1 + usize::from(model.draft().is_some())) {
            model.set_drafting(drafts);
            // The first token comes from the prompt: n more take n steps without drafts.
            let before = (model.gpu().counters(), model.gpu().encode_time().total);
            let measured = block_on(model.bench_cached(&ids, n + 1))?;
            if run > 0 && !drafts {
                dispatches += (model.gpu().counters() - before.0).dispatches;
                encoding += model.gpu().encode_time().total - before.1;
            }
            if run > 0 {
                if drafts { &mut drafted } else { &mut times }.push(measured.decode_ms);
            }
            last = measured.drafts;
            bar.inc(1);
        }
    }
    let speed = |times: &[f64]| Spread::of(times.iter().map(|ms| f64::from(n) / ms * 1e3));
    let plain = speed(&times);
    let drafts = last.map(|report| {
        let tokens_per_second = speed(&drafted);
        let speed_up = Some(tokens_per_second.median / plain.median);
        Drafted { tokens_per_second, report: DraftReport { speed_up, ..report } }
    });
    let cached_tokens = depth + n.div_ceil(2);
    let draws = measure_draws(model, &ids, repetitions)?;
    let figures = model.decode_figures(cached_tokens);
    let cost = figures.cost;
    Ok(Decode {
        cached_tokens: depth,
        generated_tokens: n,
        tokens_per_second: plain,
        encode_us_per_dispatch: encoding.as_secs_f64() * 1e6 / dispatches.max(1) as f64,
        least_encode_us_per_dispatch: model
            .gpu()
            .encode_time()
            .least_per_dispatch
            .map(|least| least.as_secs_f64() * 1e6),
        drafts,
        draws,
        per_token: Figures {
            cached_tokens,
            dispatches: figures.dispatches,
            bytes: cost.weight_bytes + cost.kv_bytes + cost.activation_bytes,
            weight_bytes: cost.weight_bytes,
            kv_bytes: cost.kv_bytes,
            activation_bytes: cost.activation_bytes,
            flops: cost.flops,
        },
    })
}

/// Behind a prompt that is cached.
fn measure_draws(model: &mut Model, ids: &[u32], repetitions: u32) -> Result<Vec<Draw>> {
    let mut draws = Vec::new();
    for (name, sampling) in samplings() {
        let mut timed: Vec<StepSeconds> = Vec::new();
        for run in 0..=repetitions {
            let seconds = block_on(model.time_step(ids, &sampling))?;
            timed.extend(seconds.filter(|_| run > 0));
        }
        if !timed.is_empty() {
            let step_ms = Spread::of(timed.iter().map(|t| t.step * 1e3)).median;
            let draw_ms = Spread::of(timed.iter().map(|t| t.draw * 1e3)).median;
            draws.push(Draw { sampling: name, step_ms, draw_ms, share: draw_ms / step_ms });
        }
    }
    Ok(draws)
}

fn print_json(model: &Model, args: &BenchArgs, Measured { prefill, decode, starts }: &Measured) -> Result<()> {
    let (gpu, resident) = (model.gpu(), model.resident());
    let report = json!({
        "model": model.name(),
        "version": env!("CARGO_PKG_VERSION"),
        "device": as_json(&gpu.adapter),
        "subgroups": open::uses_subgroups(model, &args.model),
        "context_tokens": model.n_ctx(),
        "resident_bytes": {"held": resident.held_bytes, "activations": resident.activation_bytes},
        "warm_up_runs": 1,
        "repetitions": args.repetitions,
        "prefill": prefill,
        "decode": decode,
        "starts": starts,
    });
    Ok(writeln!(std::io::stdout(), "{report:#}")?)
}

fn print(model: &Model, args: &BenchArgs, Measured { prefill, decode, starts }: &Measured) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let gpu = model.gpu();
    let subgroups = if open::uses_subgroups(model, &args.model) { "with subgroups" } else { "without subgroups" };
    writeln!(out, "{} on {} ({}), {subgroups}", model.name(), gpu.adapter.name, gpu.adapter.driver)?;
    writeln!(out, "{} runs after one to warm up: mean ± sd (min, median, max)\n", args.repetitions)?;
    for p in prefill {
        writeln!(out, "{:<16} {} tokens/s", format!("pp{}", p.prompt_tokens), spread(p.tokens_per_second, 1))?;
        writeln!(out, "{:<16} {} ms to the first token", "", spread(p.time_to_first_token_ms, 0))?;
    }
    for d in decode {
        let name = format!("tg{} @ {}", d.generated_tokens, d.cached_tokens);
        writeln!(out, "{name:<16} {} tokens/s", spread(d.tokens_per_second, 2))?;
        let f = &d.per_token;
        writeln!(
            out,
            "{:<16} per token: {} dispatches, {} (weights {}, cache {}, activations {}), {}FLOP",
            "",
            f.dispatches,
            text::bytes(f.bytes),
            text::bytes(f.weight_bytes),
            text::bytes(f.kv_bytes),
            text::bytes(f.activation_bytes),
            text::count(f.flops),
        )?;
        let least = d.least_encode_us_per_dispatch.map_or(String::new(), |least| format!(" (at least {least:.2})"));
        writeln!(out, "{:<16} {:.2}{least} µs of the host per dispatch to encode", "", d.encode_us_per_dispatch)?;
        for draw in &d.draws {
            let Draw { sampling, step_ms, draw_ms, share } = draw;
            let share = share * 100.0;
            writeln!(out, "{:<16} {share:.1} % of {step_ms:.2} ms to draw: {draw_ms:.2} ms ({sampling})", "")?;
        }
        if let Some(d) = &d.drafts {
            let speed = spread(d.tokens_per_second, 2);
            writeln!(out, "{:<16} {speed} tokens/s", "  with drafts")?;
            writeln!(out, "{:<16} {}", "", drafts::describe(&d.report))?;
        }
    }
    starts.iter().try_for_each(|starts| starts.print(&mut out))?;
    Ok(())
}

/// As one line.
pub fn spread(s: Spread, digits: usize) -> String {
    let Spread { mean, sd, min, median, max } = s;
    format!("{mean:.digits$} ± {sd:.digits$} ({min:.digits$}, {median:.digits$}, {max:.digits$})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads() {
        let s = Spread::of([4.0, 1.0, 3.0, 2.0].into_iter());
        assert_eq!((s.mean, s.min, s.median, s.max), (2.5, 1.0, 2.5, 4.0));
        assert!((s.sd - 1.290_994).abs() < 1e-6);
        assert_eq!(Spread::of([7.0].into_iter()).sd, 0.0);
    }

    #[test]
    fn the_context_holds_every_run() {
        let plan =
            Plan { prompts: vec![128, 512], generate: vec![8], depths: vec![1, 1000], repetitions: 3, starts: 0 };
        assert_eq!((plan.n_ctx(), plan.n_runs(false), plan.n_runs(true)), (1010, 16, 24));
    }
}
