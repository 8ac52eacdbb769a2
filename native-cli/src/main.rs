//! The `aloud` command.
fn main() {}
