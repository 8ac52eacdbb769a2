//! The engine in a browser: the build and its tests.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use crate::{run, setup, workspace};

/// The browser that the tests drive: `CHROMIUM`, or Debian's.
pub fn chromium() -> String {
    std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".into())
}

/// Builds `crates/aloud-web` and runs `web/test/`.
pub fn test() -> Result<()> {
    build()?;
    // One reporter for terminals and logs alike. The test files are named because not every supported Node expands patterns.
    let mut files: Vec<PathBuf> = std::fs::read_dir(workspace::root().join("web/test"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    files.retain(|path| path.to_string_lossy().ends_with(".test.mjs"));
    files.sort();
    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter=spec"]).args(files).current_dir(workspace::root().join("web"));
    run::run_last("Tests in headless Chromium on SwiftShader", node.env("CHROMIUM", chromium()))
}

/// Compiles `crates/aloud-web` and the kernels' tests, and writes their JavaScript bindings to `web/pkg/` and
/// `web/test/pkg/`.
fn build() -> Result<()> {
    run::run(
        "The engine for the browser, and the oracle that its kernels are tested against",
        run::cargo().args(["build", "--release", "--target", setup::WASM_TARGET]).args([
            "-p",
            "aloud-web",
            "-p",
            "aloud-web-kernels",
        ]),
    )?;
    bind("aloud_web", "web/pkg")?;
    bind("aloud_web_kernels", "web/test/pkg")
}

/// What `wasm-bindgen --target web` does.
fn bind(module: &str, folder: &str) -> Result<()> {
    let wasm = workspace::target_dir()?.join(setup::WASM_TARGET).join(format!("release/{module}.wasm"));
    eprintln!("\n==> Its JavaScript binding\n    wasm-bindgen --target web {} -> {folder}", wasm.display());
    let mut bindgen = Bindgen::new();
    bindgen.web(true)?.typescript(true).omit_default_module_path(false).input_path(&wasm);
    bindgen
        .generate(workspace::root().join(folder))
        .with_context(|| format!("wasm-bindgen could not process {}", wasm.display()))
}
