//! The engine in a browser: marshalling between JavaScript and Rust, and nothing else.
//!
//! | module | offers JavaScript |
//! |---|---|
//! | [`kernels`] | the text of every kernel, as a browser takes it |

pub mod kernels;
