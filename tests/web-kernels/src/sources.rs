//! The kernels themselves, for the test that hands each to the browser's own compiler.

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
    /// Features that a device needs to compile it.
    #[wasm_bindgen(readonly)]
    pub features: Vec<String>,
}

/// Every kernel that a browser can be handed: for wasm32 no others are built.
#[wasm_bindgen]
#[must_use]
pub fn kernels() -> Vec<KernelSource> {
    aloud_shaders::ALL
        .iter()
        .map(|kernel| KernelSource {
            name: kernel.name.to_owned(),
            wgsl: kernel.browser_wgsl(),
            features: kernel.enables.iter().map(|name| name.replace("f16", "shader-f16")).collect(),
        })
        .collect()
}
