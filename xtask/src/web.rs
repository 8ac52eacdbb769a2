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

/// The most that JavaScript and wasm of the package may have, compressed as servers do it.
const MOST_GZIP_BYTES: u64 = 1_000_000;

/// Builds the package and runs its tests in `web/test/`.
pub fn test() -> Result<()> {
    compile(&["aloud-web", "aloud-web-kernels"])?;
    bind("aloud_web_kernels", "web/test/pkg")?;
    bundle()?;
    let web = workspace::root().join("web");
    run::run("Tests of its pure parts", Command::new("npm").args(["run", "--silent", "unit"]).current_dir(&web))?;
    // One reporter for terminals and logs alike. The test files are named because not every supported Node expands patterns.
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(web.join("test"))?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|path| path.to_string_lossy().ends_with(".test.mjs"));
    files.sort();
    let mut node = Command::new("node");
    // Files at the same time would share two cores and a software GPU, and their limits of time with them.
    node.args(["--test", "--test-concurrency=1", "--test-reporter=spec"]).args(files).current_dir(&web);
    run::run_last("Tests in headless Chromium on SwiftShader", node.env("CHROMIUM", chromium()))
}

/// Builds the npm package: `crates/aloud-web` as wasm, then all of `web/dist/`.
pub fn package() -> Result<()> {
    compile(&["aloud-web"])?;
    bundle()
}

/// Builds the demo page into `web/dist-page/` and serves it.
pub fn page() -> Result<()> {
    package()?;
    let web = workspace::root().join("web");
    run::run("The page, web/dist-page/", Command::new("npm").args(["run", "--silent", "page"]).current_dir(&web))?;
    let mut preview = Command::new("node_modules/.bin/vite");
    preview.args(["preview", "--config", "page/vite.config.mjs"]).current_dir(&web);
    run::run_last("Here it is; Ctrl-C stops it", &mut preview)
}

/// Compiles crates to wasm, as small as it gets.
fn compile(packages: &[&str]) -> Result<()> {
    let mut cargo = run::cargo();
    cargo.args(["build", "--profile", "web", "--target", setup::WASM_TARGET]);
    for package in packages {
        cargo.args(["-p", package]);
    }
    run::run("The engine for the browser, as small as it gets", &mut cargo)
}

/// Binds the compiled engine and bundles it with the package's TypeScript.
fn bundle() -> Result<()> {
    bind("aloud_web", "web/pkg")?;
    let web = workspace::root().join("web");
    let wasm = "pkg/aloud_web_bg.wasm";
    // What every browser with WebGPU has, and rustc uses.
    let features =
        ["bulk-memory", "nontrapping-float-to-int", "sign-ext", "mutable-globals", "reference-types", "multivalue"];
    let features = features.map(|feature| format!("--enable-{feature}"));
    run::run(
        "Smaller still",
        Command::new("node_modules/.bin/wasm-opt").args(features).args(["-Oz", wasm, "-o", wasm]).current_dir(&web),
    )?;
    run::run("Its types are right", Command::new("npm").args(["run", "--silent", "check"]).current_dir(&web))?;
    run::run("The package, web/dist/", Command::new("npm").args(["run", "--silent", "build"]).current_dir(&web))?;
    check_size()
}

/// What a page fetches to talk: everything in `web/dist/` but adapters and components.
fn check_size() -> Result<()> {
    let dist = workspace::root().join("web/dist");
    let mut sum = 0;
    for entry in std::fs::read_dir(&dist)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_extra = ["ai-sdk", "prompt-api", "components"].iter().any(|extra| name.starts_with(extra));
        if !is_extra && (name.ends_with(".js") || name.ends_with(".wasm")) {
            let gzip = Command::new("gzip").args(["-9", "-c"]).arg(&path).output().context("gzip")?;
            sum += gzip.stdout.len() as u64;
        }
    }
    eprintln!("    {sum} bytes compressed, of {MOST_GZIP_BYTES} at most");
    anyhow::ensure!(
        sum <= MOST_GZIP_BYTES,
        "the package has {sum} bytes compressed, expected {MOST_GZIP_BYTES} at most"
    );
    Ok(())
}

/// What `wasm-bindgen --target web` does.
fn bind(module: &str, folder: &str) -> Result<()> {
    let wasm = workspace::target_dir()?.join(setup::WASM_TARGET).join(format!("web/{module}.wasm"));
    eprintln!("\n==> Its JavaScript binding\n    wasm-bindgen --target web {} -> {folder}", wasm.display());
    let mut bindgen = Bindgen::new();
    bindgen.web(true)?.typescript(true).omit_default_module_path(true).input_path(&wasm);
    bindgen
        .generate(workspace::root().join(folder))
        .with_context(|| format!("wasm-bindgen could not process {}", wasm.display()))
}
