//! Typed operations and the Recording that holds them.
