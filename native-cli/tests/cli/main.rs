//! The command as its users meet it: arguments in, stdout, stderr and exit code out.

mod answers;
mod common;
mod files;
mod help;
