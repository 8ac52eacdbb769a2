//! The engine in a browser: marshalling between JavaScript and Rust, and nothing else.
//!
//! | module | offers JavaScript |
//! |---|---|
//! | [`chat`] | a model to be asked |
//! | [`devices`] | what the engine can run on here |
//! | [`files`] | a look into model files |
//! | [`folders`] | models in folders, as Hugging Face has them |
//! | [`kernels`] | the text of every kernel, as a browser takes it |
//! | [`sources`] | what counts as a file: URLs, blobs, file handles |

pub mod chat;
pub mod devices;
pub mod files;
pub mod folders;
pub mod kernels;
pub mod sources;

use wasm_bindgen::prelude::*;

/// A panic stops the module; the console then says where and why.
#[wasm_bindgen(start)]
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| web_sys::console::error_1(&panic.to_string().into())));
}
