//! Models of random weights: every architecture that the engine runs, at any size, in any format.
//!
//! A [`Shape`] knows the tensors of its model in both containers ([`Shape::parts`]), its `config.json` and the metadata of
//! its GGUF file. Tests fill tiny ones with known values. For large ones a [`Plan`] says what lies in which file, and
//! [`write_plan`] streams them to disk: `cargo xtask make-model --help`.

mod config;
mod fill;
mod parts;
mod plan;
mod presets;
mod quant;
mod shape;
pub mod tokenizer;
mod write;

pub use config::Form;
pub use fill::{Filler, Spread};
pub use parts::{Make, Part, permuted};
pub use plan::{Container, Plan, PlannedFile, PlannedTensor};
pub use presets::{PRESETS, Preset};
pub use quant::{Fp8Scales, Quant, fp8_scales, hf_dtype};
pub use shape::{Arch, Scaling, Shape};
pub use write::{write_file, write_plan};
