//! `aloud ask`: one question, one answer.

use crate::args::{AskArgs, DraftMode, SamplingArgs, Talk, TalkArgs};
use crate::failure::{Interrupted, Usage};
use crate::print::{Show, answer};
use crate::trace::TraceFile;
use crate::{open, text};
use aloud::{ChatOptions, FinishReason, Message, Model, Role};
use anyhow::Result;
use std::hash::{BuildHasher, RandomState};
use std::io::IsTerminal;

/// Runs it.
pub fn run(args: AskArgs, talk: Talk) -> Result<()> {
    let question = question(args.question)?;
    let mut trace = args.trace.as_deref().map(TraceFile::create).transpose()?;
    let which = open::which(args.model.model.as_ref(), talk);
    let load = args.drafts.over(args.model.load_options(), DraftMode::Auto);
    let mut model = open::model(which, &args.model, &load, talk)?;
    let drawn = chat_options(&model, &args.talk, &args.sampling, talk);
    let options = ChatOptions { trace: trace.is_some(), ..drawn };
    let mut messages = system(&args.talk);
    messages.push(Message::new(Role::User, question));
    let show =
        Show { json: args.json, hide_thinking: args.talk.hide_thinking, stats: args.talk.stats, start: true, talk };
    let reply = answer(&mut model, &messages, &options, show, trace.as_mut())?;
    match reply.ending.finish_reason {
        FinishReason::Cancelled => Err(Interrupted.into()),
        _ => Ok(()),
    }
}

/// The argument, and what is piped in behind it.
fn question(argument: Option<String>) -> Result<String> {
    let piped = match &argument {
        Some(_) if std::io::stdin().is_terminal() => String::new(),
        Some(_) => text::stdin()?,
        None => text::argument_or_stdin(None, "question")?,
    };
    let parts = [argument.unwrap_or_default(), piped];
    let parts: Vec<&str> = parts.iter().map(|p| p.trim_end()).filter(|p| !p.is_empty()).collect();
    if parts.is_empty() {
        return Err(Usage("the question is empty: give one as argument or on stdin".into()).into());
    }
    Ok(parts.join("\n\n"))
}

/// The system message, if one was given.
pub fn system(args: &TalkArgs) -> Vec<Message> {
    args.system.iter().map(|text| Message::new(Role::System, text)).collect()
}

/// The flags over what the model's makers recommend.
pub fn chat_options(model: &Model, talk_args: &TalkArgs, sampling: &SamplingArgs, talk: Talk) -> ChatOptions {
    // Keys of hash maps are the one source of randomness in the standard library.
    let random_seed = RandomState::new().hash_one(0) as u32;
    let drawn = sampling.over(model.header().recommended_sampling(), random_seed);
    if talk.verbose {
        eprintln!(
            "sampling: temperature {}, top-p {}, top-k {}, min-p {}, penalties {} {} {}, seed {}",
            drawn.temperature,
            drawn.top_p,
            drawn.top_k,
            drawn.min_p,
            drawn.repetition_penalty,
            drawn.presence_penalty,
            drawn.frequency_penalty,
            drawn.seed
        );
    }
    ChatOptions { sampling: Some(drawn), ..talk_args.chat_options(sampling) }
}
