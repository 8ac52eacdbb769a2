//! What the engine can run on here.

use wasm_bindgen::prelude::*;

/// A device as the browser describes it.
#[wasm_bindgen(getter_with_clone)]
pub struct Device {
    /// The browser's name for it; many give none.
    #[wasm_bindgen(readonly)]
    pub name: String,
    /// What offers it.
    #[wasm_bindgen(readonly)]
    pub backend: String,
    /// Largest single binding.
    #[wasm_bindgen(readonly, js_name = maxBindingBytes)]
    pub max_binding_bytes: f64,
    /// Largest buffer.
    #[wasm_bindgen(readonly, js_name = maxBufferBytes)]
    pub max_buffer_bytes: f64,
    /// Workgroup memory.
    #[wasm_bindgen(readonly, js_name = maxWorkgroupBytes)]
    pub max_workgroup_bytes: u32,
}

/// All devices that the engine can run on: one, or none where there is no WebGPU.
#[wasm_bindgen]
pub async fn devices() -> Vec<Device> {
    let devices = aloud::adapters().await.into_iter().map(|adapter| Device {
        name: adapter.name,
        backend: adapter.backend,
        max_binding_bytes: adapter.max_binding_bytes as f64,
        max_buffer_bytes: adapter.max_buffer_bytes as f64,
        max_workgroup_bytes: adapter.max_workgroup_bytes,
    });
    devices.collect()
}
