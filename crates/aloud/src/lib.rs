//! Load a model, chat with it, read a stream of typed events.
