//! The engine in a browser: marshalling between JavaScript and Rust, and nothing else.
//!
//! | module | offers JavaScript |
//! |---|---|
//! | [`answer`] | a conversation's answer, event by event |
//! | [`errors`] | what went wrong, with a code |
//! | [`model`] | loading a model, and what it is |
//! | [`probe`] | how fast the GPU is, and what a model would need |
//! | [`sources`] | files that JavaScript reads |

pub mod answer;
pub mod errors;
pub mod model;
pub mod probe;
pub mod sources;

use wasm_bindgen::prelude::*;

/// A panic stops the module; the console then says where and why.
#[wasm_bindgen(start)]
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| web_sys::console::error_1(&panic.to_string().into())));
}
