//! Token ids in, token ids out: prefill, decode, sampling, KV pages.
