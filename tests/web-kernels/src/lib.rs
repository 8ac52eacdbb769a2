//! The kernels in a browser, against the oracle in the same browser, and a model against `transformers`.
//!
//! A module of its own, so that the one that users load never carries the oracle.

mod cases;
pub mod sources;

use aloud_cpu::CpuExecutor;
use aloud_gpu::{Choice, Gpu, GpuError, GpuExecutor, GpuOptions, Tile};
use aloud_ops::{Elem, Executor};
use aloud_tests::deepseek::{Finding, examine_v3};
use aloud_tests::{Scenario, relative_error};
use cases::{Case, Compare};
use wasm_bindgen::prelude::*;

/// A panic stops the module; the console then says where and why.
#[wasm_bindgen(start)]
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| web_sys::console::error_1(&panic.to_string().into())));
}

/// What came of a comparison.
#[wasm_bindgen(getter_with_clone)]
pub struct Compared {
    /// Kernels, or what a model did.
    #[wasm_bindgen(readonly)]
    pub name: String,
    /// How far the device is off the oracle, or the model off `transformers`.
    #[wasm_bindgen(readonly)]
    pub error: f64,
    /// How far it may be.
    #[wasm_bindgen(readonly)]
    pub tolerance: f64,
}

/// Runs one kernel of each kind on the browser's device and on the oracle.
///
/// # Errors
/// If the device does not open, or refuses something.
#[wasm_bindgen(js_name = runKernelCases)]
pub async fn run_kernel_cases() -> Result<Vec<Compared>, JsError> {
    let mut device = open().await?;
    let mut results = Vec::new();
    for case in cases::all() {
        let got = run(&mut device, &case).await?;
        let expected = run(&mut CpuExecutor::new(), &case).await?;
        let pairs = got.iter().zip(&expected);
        let error = pairs.map(|(got, expected)| case.compare.error(got, expected)).fold(0.0, f64::max);
        results.push(Compared { name: case.name, error, tolerance: case.tolerance });
    }
    Ok(results)
}

/// Multiplies rows as a GPU does with a few of them, or by tiles whose factors are halves; without `shader-f16` nothing is compared
/// of those. Nobody granted the device subgroups.
///
/// # Errors
/// If the device does not open, or refuses something.
#[wasm_bindgen(js_name = runTiles)]
pub async fn run_tiles(halves: bool) -> Result<Vec<Compared>, JsError> {
    let tile = if halves { Tile::Half } else { Tile::Few };
    let options = GpuOptions { tile: Some(tile), ..GpuOptions::default() };
    let mut device = GpuExecutor::new(Gpu::open(&Choice::Best, options).await?);
    let mut oracle = if halves { CpuExecutor::with_halves() } else { CpuExecutor::new() };
    let mut results = Vec::new();
    let is_offered = device.gpu().caps.tiles.offers(tile);
    for case in cases::tiles(tile).into_iter().filter(|_| is_offered) {
        let [got, expected] = [run(&mut device, &case).await?, run(&mut oracle, &case).await?];
        let error = case.compare.error(&got[0], &expected[0]);
        results.push(Compared { name: case.name, error, tolerance: case.tolerance });
    }
    Ok(results)
}

/// Loads a tiny DeepSeek-V3 and compares its logits and texts with those of `transformers`.
///
/// # Errors
/// If the engine refuses something.
#[wasm_bindgen(js_name = examineDeepseekV3)]
pub async fn examine_deepseek_v3() -> Result<Vec<Compared>, JsError> {
    let mut results = Vec::new();
    let keep = |f: Finding| {
        results.push(Compared { name: f.name, error: f.error, tolerance: f.tolerance });
    };
    examine_v3(open().await?, keep).await?;
    Ok(results)
}

/// Asks the device for something that it has to refuse.
///
/// # Errors
/// What the device said.
#[wasm_bindgen(js_name = writePastTheEnd)]
pub async fn write_past_the_end() -> Result<(), JsError> {
    let mut device = open().await?;
    let state = device.create_state("small", Elem::U32, &[4])?;
    device.write_state(state, 1 << 20, &[0; 16]);
    device.read_state(state).await?;
    Ok(())
}

async fn open() -> Result<GpuExecutor, GpuError> {
    Ok(GpuExecutor::new(Gpu::open(&Choice::Best, GpuOptions::default()).await?))
}

async fn run<E: Executor>(executor: &mut E, case: &Case) -> Result<Vec<Vec<u8>>, E::Error> {
    let step = executor.create_state("step", Elem::U32, &[4])?;
    executor.write_state(step, 0, bytemuck::bytes_of(&case.step()));
    let (recording, outputs) = case.record(executor, step);
    let plan = executor.compile(&recording)?;
    executor.submit(&plan, case.step().pos + case.step().n_tokens, None)?;
    let mut results = Vec::new();
    for output in outputs {
        results.push(executor.read_state(output).await?);
    }
    Ok(results)
}

impl Compare {
    fn error(self, got: &[u8], expected: &[u8]) -> f64 {
        match self {
            Compare::Floats => relative_error(bytemuck::cast_slice(got), bytemuck::cast_slice(expected)),
            Compare::Bytes => got.iter().zip(expected).filter(|(a, b)| a != b).count() as f64,
        }
    }
}
