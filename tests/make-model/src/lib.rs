//! Models of random weights: every architecture that the engine runs, at any size, in any format.
//!
//! A [`Shape`] knows the tensors of its model in both containers ([`Shape::parts`]), its `config.json` and the metadata of
//! its GGUF file. Tests fill tiny ones with known values; the program `aloud-make-model` writes large ones to disk.

mod config;
mod parts;
mod quant;
mod shape;

pub use config::Form;
pub use parts::{Make, Part, permuted};
pub use quant::{Quant, fallback, hf_dtype};
pub use shape::{Arch, Scaling, Shape};
