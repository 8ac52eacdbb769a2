//! `aloud chat`: a conversation.

use crate::args::{ChatArgs, DraftMode, Talk};
use crate::commands::ask::{chat_options, system};
use crate::failure::one_line;
use crate::open;
use crate::print::{Show, answer};
use aloud::{ChatOptions, EngineError, FinishReason, Message, Model, Role};
use anyhow::{Context, Result};
use rustyline::Editor;
use rustyline::config::{Behavior, Config};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::path::PathBuf;

const HELP: &str = "\
/reset   forget the conversation and start anew
/help    this list
/exit    leave; so do Ctrl-D, and Ctrl-C twice
Ctrl-C   stop the answer";

/// Runs it.
pub fn run(args: ChatArgs, talk: Talk) -> Result<()> {
    let mut lines = Lines::open(args.history.clone())?;
    let which = open::which(args.model.model.as_ref(), talk);
    let load = args.drafts.over(args.model.load_options(), DraftMode::Auto);
    let mut model = open::model(which, &args.model, &load, talk)?;
    let options = chat_options(&model, &args.talk, &args.sampling, talk);
    let show = Show { json: false, hide_thinking: args.talk.hide_thinking, stats: args.talk.stats, start: false, talk };
    let mut conversation = Conversation { messages: system(&args.talk), n_fixed: system(&args.talk).len() };
    if !talk.quiet && stdin().is_terminal() {
        eprintln!("{} on {}. /help lists commands.", model.name(), model.gpu().adapter.name);
    }
    while let Some(line) = lines.next()? {
        match line.trim() {
            "" => {}
            "/exit" | "/quit" => break,
            "/help" => eprintln!("{HELP}"),
            "/reset" => {
                conversation.reset();
                model.clear_cache();
                say(talk, "The conversation is forgotten.");
            }
            command if command.starts_with('/') && !command.contains(' ') => {
                eprintln!("`{command}` is no command.\n{HELP}");
            }
            _ => conversation.turn(&mut model, line, &options, show)?,
        }
    }
    lines.save()
}

fn say(talk: Talk, text: &str) {
    if !talk.quiet {
        eprintln!("{text}");
    }
}

struct Conversation {
    messages: Vec<Message>,
    /// The system message stays over a reset.
    n_fixed: usize,
}

impl Conversation {
    fn reset(&mut self) {
        self.messages.truncate(self.n_fixed);
    }

    fn turn(&mut self, model: &mut Model, line: String, options: &ChatOptions, show: Show) -> Result<()> {
        self.messages.push(Message::new(Role::User, line));
        match answer(model, &self.messages, options, show, None) {
            // Nothing was said: as if it had not been asked.
            Ok(reply) if reply.answer.is_empty() && reply.ending.finish_reason == FinishReason::Cancelled => {
                self.messages.pop();
            }
            Ok(reply) => self.messages.push(Message::new(Role::Assistant, reply.answer)),
            Err(error) if is_too_long(&error) => {
                self.messages.pop();
                eprintln!("error: {}; the last message is dropped, /reset starts anew", one_line(&error));
            }
            Err(error) => return Err(error),
        }
        if !show.talk.quiet && stderr().is_terminal() {
            eprintln!();
        }
        Ok(())
    }
}

fn is_too_long(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(aloud::Error::Engine(EngineError::PromptTooLong { .. })))
}

/// Lines that are typed, with history, or piped in.
enum Lines {
    Typed { editor: Box<Editor<(), DefaultHistory>>, history: Option<PathBuf> },
    Piped,
}

impl Lines {
    fn open(history: Option<PathBuf>) -> Result<Lines> {
        if !stdin().is_terminal() {
            return Ok(Lines::Piped);
        }
        // With stdout redirected, the prompt belongs to the terminal all the same.
        let behavior = if stdout().is_terminal() { Behavior::Stdio } else { Behavior::PreferTerm };
        let config = Config::builder().behavior(behavior).auto_add_history(true).build();
        let mut editor = Editor::with_config(config)?;
        match history.as_ref().map(|path| editor.load_history(path)) {
            Some(Err(ReadlineError::Io(e))) if e.kind() == std::io::ErrorKind::NotFound => {}
            Some(loaded) => loaded.context("the history cannot be read")?,
            None => {}
        }
        Ok(Lines::Typed { editor: Box::new(editor), history })
    }

    fn next(&mut self) -> Result<Option<String>> {
        let Lines::Typed { editor, .. } = self else {
            let mut line = String::new();
            let n = stdin().read_line(&mut line).context("stdin")?;
            return Ok((n > 0).then(|| line.trim_end().to_owned()));
        };
        let mut asked = false;
        loop {
            match editor.readline("> ") {
                Ok(line) => return Ok(Some(line)),
                Err(ReadlineError::Eof) => return Ok(None),
                Err(ReadlineError::Interrupted) if asked => return Ok(None),
                Err(ReadlineError::Interrupted) => {
                    asked = true;
                    eprintln!("Ctrl-C again leaves; so does /exit.");
                }
                Err(error) => return Err(error).context("the terminal cannot be read"),
            }
        }
    }

    fn save(&mut self) -> Result<()> {
        match self {
            Lines::Typed { editor, history: Some(path) } => {
                editor.save_history(path).with_context(|| format!("`{}` cannot be written", path.display()))
            }
            _ => Ok(()),
        }
    }
}
