//! What each command does, one file per command.

pub mod ask;
pub mod bench;
pub mod chat;
pub mod completions;
pub mod devices;
pub mod estimate;
pub mod inspect;
pub mod logits;
pub mod perplexity;
pub mod starts;
pub mod tokenize;
pub mod tune;
