//! Tokenizers, chat templates, incremental detokenising and thought splitting.
