//! The kernels themselves, for the test that hands each to the browser's own compiler.

use aloud_shaders::{ALL, Kernel};
use wasm_bindgen::prelude::*;

/// A WGSL module as a browser takes it.
#[wasm_bindgen(getter_with_clone)]
pub struct KernelSource {
    /// The kernel's name, unique among all.
    #[wasm_bindgen(readonly)]
    pub name: String,
    /// The module's text, with the `enable` lines that browsers require.
    #[wasm_bindgen(readonly)]
    pub wgsl: String,
    /// Whether only a device with the feature `subgroups` can compile it.
    #[wasm_bindgen(readonly)]
    pub subgroups: bool,
}

/// Every kernel that a browser can be handed.
#[wasm_bindgen]
#[must_use]
pub fn kernels() -> Vec<KernelSource> {
    ALL.iter().map(|kernel| source(kernel)).collect()
}

/// Browsers want a module to enable the subgroup operations; naga, which compiles for every other target, rejects the line.
fn source(kernel: &Kernel) -> KernelSource {
    let enable = if kernel.subgroups { "enable subgroups;\n" } else { "" };
    KernelSource { name: kernel.name.into(), wgsl: format!("{enable}{}", kernel.wgsl), subgroups: kernel.subgroups }
}
