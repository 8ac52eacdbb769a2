//! A model of DeepSeek-V2-Lite's widths, 16 layers and over 1 GB, of random weights: written, looked at, loaded and run.

use aloud::{ChatOptions, Choice, Elem, Header, LoadOptions, MemoryNeed, Message, Model, ModelFiles, Role};
use aloud_make_model::{Container, Plan, Quant, Shape, write_plan};
use aloud_tests::places::{Place, fastest_gpu};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const N_CTX: u32 = 1024;

/// Gone when the test ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn write(folder: &Path) -> PathBuf {
    let mut shape = Shape::preset("v2-lite").expect("is known");
    for (key, value) in [("num_hidden_layers", "16"), ("n_routed_experts", "8")] {
        shape.set(key, value).expect("is possible");
    }
    let quant = Quant::parse("Q4_K_M").expect("is known");
    let plan = Plan::new(&shape, quant, Container::Gguf { legacy_kv_b: false }, "lite", 1).expect("is possible");
    assert!(plan.n_bytes() > 1_000_000_000, "{} bytes", plan.n_bytes());
    write_plan(&plan, 0, folder, |_| Ok(())).expect("is written").remove(0)
}

#[test]
fn a_gigabyte_of_v2_lite_runs_in_the_memory_foretold() {
    let Some(Place::Gpu { index, .. }) = fastest_gpu() else { return };
    let folder = Folder(Path::new(env!("CARGO_TARGET_TMPDIR")).join("large_model"));
    let path = write(&folder.0);
    let header = pollster::block_on(Header::read(&ModelFiles::open(&path).expect("opens"))).expect("is a model");
    let need = MemoryNeed::of(&header.config, &header.tensors, N_CTX, Elem::F16).expect("fits together");
    let options =
        LoadOptions { device: Choice::Named(index.to_string()), n_ctx: Some(N_CTX), ..LoadOptions::default() };
    let files = ModelFiles::open(&path).expect("opens");
    let mut model = pollster::block_on(Model::load(files, &options, |_| {})).expect("loads");
    let resident = model.resident();
    let (held, foretold) = (resident.held_bytes + resident.activation_bytes, need.weight_bytes + need.kv_bytes);
    let off = held as f64 / foretold as f64 - 1.0;
    println!(
        "foretold {foretold} bytes, held {held} ({} of activations): {:+.2} %",
        resident.activation_bytes,
        off * 1e2
    );
    assert!(off.abs() <= 0.05, "foretold {foretold} bytes, held {held}");

    let messages = [Message::new(Role::User, "Why is the sky blue, and what would have to change for it to be green?")];
    let options = ChatOptions { max_tokens: Some(4), ..ChatOptions::default() };
    let ending = pollster::block_on(model.chat(&messages, &options, |_| ControlFlow::Continue(()))).expect("answers");
    assert!(ending.usage.completion_tokens >= 1 && ending.usage.prompt_tokens > 20, "{:?}", ending.usage);
    // Random weights say nothing, but they say it in numbers.
    let mut last = Vec::new();
    let prompt: Vec<u32> = (0..40).map(|i| i * 5 + 1).collect();
    pollster::block_on(model.logits(&prompt, |_, row| last = row.to_vec())).expect("computes");
    let spread = last.iter().fold(0f32, |a, v| a.max(v.abs()));
    assert!(last.iter().all(|v| v.is_finite()) && spread > 0.01, "logits up to {spread}");
}
