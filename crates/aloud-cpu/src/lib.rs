//! The oracle: runs a Recording in plain Rust with f64 sums.
