//! An answer as it arrives: for people, or one JSON object per line.

use crate::args::Talk;
use crate::text::printable;
use crate::trace::TraceFile;
use crate::{drafts, interrupt, open};
use aloud::{ChatEvent, ChatOptions, Ending, LoadTimes, Message, Model};
use anyhow::Result;
use console::Style;
use indicatif::ProgressBar;
use serde_json::json;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::Duration;

/// How an answer is shown.
#[derive(Clone, Copy, Debug)]
pub struct Show {
    /// As JSON.
    pub json: bool,
    /// Without the thought.
    pub hide_thinking: bool,
    /// With statistics.
    pub stats: bool,
    /// And with what came before the question: of a program that answers but one.
    pub start: bool,
    /// How much else is said.
    pub talk: Talk,
}

/// A finished answer.
pub struct Reply {
    /// The answer without the thought.
    pub answer: String,
    /// How it ended.
    pub ending: Ending,
}

/// Asks the model and shows what comes; what goes on inside goes to `trace`. The first Ctrl-C ends the answer.
pub fn answer(
    model: &mut Model,
    messages: &[Message],
    options: &ChatOptions,
    show: Show,
    mut trace: Option<&mut TraceFile>,
) -> Result<Reply> {
    let _answering = interrupt::Answering::begin();
    let mut printer = Printer::new(show);
    let (mut answer, mut failed) = (String::new(), None);
    let (loading, asked) = (model.load_times(), crate::since_start());
    let ending = pollster::block_on(model.chat(messages, options, |event| {
        if let ChatEvent::Answer(text) = &event {
            answer.push_str(text);
        }
        failed = match (event, &mut trace) {
            (ChatEvent::Trace(line), Some(file)) => file.write(&line).err(),
            (event, _) => printer.event(event).err(),
        };
        if failed.is_some() || interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }));
    printer.bar.finish_and_clear();
    if let Some(error) = failed {
        return Err(error.into());
    }
    let ending = ending?;
    printer.finish(&ending, &loading, asked)?;
    Ok(Reply { answer, ending })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Nothing,
    Thought,
    Answer,
}

struct Printer {
    show: Show,
    bar: ProgressBar,
    part: Part,
    /// The part ends with a line break, or has not begun.
    at_line_start: bool,
    dim: Style,
}

impl Printer {
    fn new(show: Show) -> Self {
        let bar = open::bar(show.talk, "reading the prompt {wide_bar} {pos}/{len} tokens");
        Printer { show, bar, part: Part::Nothing, at_line_start: true, dim: Style::new().for_stderr().dim() }
    }

    fn event(&mut self, event: ChatEvent) -> io::Result<()> {
        let silent = matches!(
            event,
            ChatEvent::Prefill { .. } | ChatEvent::Token(_) | ChatEvent::Logprob { .. } | ChatEvent::Trace(_)
        );
        if !silent {
            self.bar.finish_and_clear();
        }
        match event {
            ChatEvent::Prefill { done, total } => {
                self.bar.set_length(total as u64);
                self.bar.set_position(done as u64);
                Ok(())
            }
            ChatEvent::Trace(_) | ChatEvent::Token(_) | ChatEvent::Logprob { .. } => Ok(()),
            ChatEvent::Reasoning(_) if self.show.hide_thinking => Ok(()),
            ChatEvent::Reasoning(text) if self.show.json => json_line(&json!({"type": "reasoning", "text": text})),
            ChatEvent::Answer(text) if self.show.json => json_line(&json!({"type": "answer", "text": text})),
            ChatEvent::Reasoning(text) => self.thought(&printable(&text)),
            ChatEvent::Answer(text) => self.answer(&printable(&text)),
        }
    }

    fn thought(&mut self, text: &str) -> io::Result<()> {
        if self.show.talk.quiet {
            return Ok(());
        }
        let framed = self.framed(text);
        let mut err = io::stderr().lock();
        write!(err, "{}", self.dim.apply_to(framed))?;
        err.flush()
    }

    /// A piece of the thought under a heading and behind a bar, for those who see no colours.
    fn framed(&mut self, text: &str) -> String {
        let mut framed = String::new();
        if self.part == Part::Nothing {
            framed.push_str("thinking\n");
            self.part = Part::Thought;
        }
        for piece in text.split_inclusive('\n') {
            if self.at_line_start {
                framed.push_str("| ");
            }
            framed.push_str(piece);
            self.at_line_start = piece.ends_with('\n');
        }
        framed
    }

    fn answer(&mut self, text: &str) -> io::Result<()> {
        self.end_thought();
        self.part = Part::Answer;
        self.at_line_start = text.ends_with('\n');
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    fn end_thought(&mut self) {
        if self.part == Part::Thought {
            eprint!("{}", if self.at_line_start { "\n" } else { "\n\n" });
            self.at_line_start = true;
        }
    }

    fn finish(&mut self, ending: &Ending, loading: &LoadTimes, asked: Duration) -> io::Result<()> {
        if self.show.json {
            let Ending { finish_reason, usage, timings, drafts } = ending;
            let done = json!({"type": "done", "finish_reason": finish_reason, "usage": usage, "timings": timings, "drafts": drafts, "loading": loading});
            return json_line(&done);
        }
        self.end_thought();
        if self.part == Part::Answer && !self.at_line_start {
            writeln!(io::stdout())?;
        }
        let talk = self.show.talk;
        if talk.verbose || !talk.quiet && (self.show.stats || io::stderr().is_terminal()) {
            eprintln!("{}", self.dim.apply_to(statistics(ending)));
            if self.show.start {
                eprintln!("{}", self.dim.apply_to(start(ending, loading, asked)));
            }
        }
        Ok(())
    }
}

fn statistics(ending: &Ending) -> String {
    let Ending { finish_reason, usage, timings, drafts } = ending;
    let why = match finish_reason {
        aloud::FinishReason::Stop => "",
        aloud::FinishReason::Length => "; cut at the limit of tokens",
        aloud::FinishReason::Cancelled => "; stopped",
    };
    let cached =
        if usage.cached_tokens > 0 { format!(", {} of them cached", usage.cached_tokens) } else { String::new() };
    let thought = if usage.reasoning_tokens > 0 {
        format!(", {} of them thought", usage.reasoning_tokens)
    } else {
        String::new()
    };
    let drafts = drafts.as_ref().map_or(String::new(), |report| format!("\n({})", drafts::describe(report)));
    format!(
        "({} prompt tokens{cached}, {:.1} s to the first token; {} tokens{thought}, {:.1} tokens/s{why}){drafts}",
        usage.prompt_tokens,
        timings.time_to_first_token_ms / 1e3,
        usage.completion_tokens,
        timings.decode_tokens_per_second,
    )
}

/// When the program had what, in seconds; parts of loading overlap.
fn start(ending: &Ending, loading: &LoadTimes, asked: Duration) -> String {
    let first = asked.as_secs_f64() + ending.timings.time_to_first_token_ms / 1e3;
    let parts = loading.parts().map(|(part, ms)| format!("{part} {:.2}", ms / 1e3));
    format!("(first token {first:.2} s after the start; loading had: {})", parts.join(", "))
}

fn json_line(value: &serde_json::Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thought_is_set_apart_however_it_is_cut() {
        let talk = Talk { verbose: false, quiet: false };
        for pieces in [&["a b\nc", "\n", "\nd"][..], &["a ", "b", "\n", "c\n\nd"], &["a b\nc\n\nd"]] {
            let mut printer =
                Printer::new(Show { json: false, hide_thinking: false, stats: false, start: false, talk });
            let framed: String = pieces.iter().map(|piece| printer.framed(piece)).collect();
            assert_eq!(framed, "thinking\n| a b\n| c\n| \n| d");
        }
    }
}
