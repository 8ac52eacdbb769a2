//! The small models of `models/`, what `transformers` answers with their weights, and how answers are judged.

use aloud::{ByteSource, FileSource, Header, MemorySource, ModelFiles};
use aloud_engine::{Request, Thought};
use aloud_tests::places::greedy;
use aloud_tests::tiny::Stored;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A held-out question and what `transformers` makes of it: greedily, in f32, with the dequantised weights.
#[derive(Clone, Debug)]
pub struct Golden {
    /// The question.
    pub question: String,
    /// The right answer.
    pub answer: String,
    /// The prompt by the chat template.
    pub prompt_ids: Vec<u32>,
    /// What follows, the end token included.
    pub ids: Vec<u32>,
    /// The same as text, tags included.
    pub text: String,
    /// What follows a thought that is closed at once, where that was asked.
    pub suppressed_ids: Option<Vec<u32>>,
}

impl Golden {
    fn of(line: &str) -> Golden {
        let json: Value = serde_json::from_str(line).expect("is JSON");
        let text = |key: &str| json[key].as_str().unwrap_or_else(|| panic!("{key} of {line}")).to_owned();
        let ids = |key: &str| -> Option<Vec<u32>> {
            let ids = json[key].as_array()?.iter();
            Some(ids.map(|id| id.as_u64().expect("an id") as u32).collect())
        };
        let required = |key: &str| ids(key).unwrap_or_else(|| panic!("{key} of {line}"));
        Golden {
            question: text("question"),
            answer: text("answer"),
            prompt_ids: required("prompt_ids"),
            ids: required("ids"),
            text: text("text").trim_end_matches("<｜end▁of▁sentence｜>").to_owned(),
            suppressed_ids: ids("suppressed_ids"),
        }
    }

    /// Whether a model that continues the prompt so is right: it closes its thought, gives the answer and nothing else, and
    /// ends.
    pub fn is_right(&self, header: &Header, ids: &[u32]) -> bool {
        let ended = ids.last().is_some_and(|id| header.tokenizer.stop_ids().contains(id));
        let text = header.tokenizer.decode(ids);
        ended && text.split_once("</think>").is_some_and(|(_, answer)| answer.trim() == self.answer)
    }
}

/// The lines of `tests/goldens/NAME.jsonl`.
pub fn goldens(name: &str) -> Vec<Golden> {
    let path = folder().join("tests/goldens").join(name).with_extension("jsonl");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(Golden::of).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files of a model in `models/`.
pub fn files(name: &str) -> ModelFiles<FileSource> {
    ModelFiles::open(folder().join("models").join(name)).expect("is a model")
}

/// A model of `models/`, in memory.
pub fn read(name: &str) -> (Header, Stored) {
    let files = files(name);
    let header = pollster::block_on(Header::read(&files)).expect("is a model");
    let sources: Vec<FileSource> = files.into_weights();
    let in_memory = |source: &FileSource| {
        let mut bytes = vec![0; source.len() as usize];
        pollster::block_on(source.read_at(0, &mut bytes)).expect("reads");
        MemorySource::new(source.name(), bytes)
    };
    let (config, tensors) = (header.config.clone(), header.tensors.clone());
    let stored = Stored { config, tensors, sources: sources.iter().map(in_memory).collect() };
    (header, stored)
}

/// A request as [`aloud::Model::chat`] makes it, greedy.
pub fn request(header: &Header, prompt: &[u32], max_tokens: u32) -> Request {
    let open_at_start = header.think_ids().is_some_and(|(open, close)| {
        let last = prompt.iter().rposition(|&id| id == open || id == close);
        last.is_some_and(|at| prompt[at] == open)
    });
    let thought = header.think_ids().map(|(open, close)| Thought { open, close, budget: None, open_at_start });
    let stop_ids = header.tokenizer.stop_ids().to_vec();
    Request { thought, stop_ids, ..greedy(prompt, max_tokens) }
}
