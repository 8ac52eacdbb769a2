//! The engine in a browser: the build and its tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use crate::{lavapipe_chromium, run, setup, workspace};

/// The browser that the tests drive: `CHROMIUM`, or Debian's.
pub fn chromium() -> String {
    std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".into())
}

/// The most that JavaScript and wasm of the package may have, compressed as servers do it.
const MOST_GZIP_BYTES: u64 = 1_000_000;

/// Tests in `web/test/` of what devices compute: run on lavapipe too, which has f16 and subgroups of another size.
const ON_LAVAPIPE: &[&str] = &["deepseek", "kernels", "page-real", "probe"];

/// Those that look at the clock: nothing else runs beside them. Others share the cores by two, the longest, `engine`, first.
const ALONE: &[&str] = &["page-real", "probe", "tuning"];

/// Builds the package and runs its tests in `web/test/`, some of them in two browsers.
pub fn test(only: &[String]) -> Result<()> {
    compile(&["aloud-web", "aloud-web-kernels"])?;
    bind("aloud_web_kernels", "web/test/pkg")?;
    bundle()?;
    let web = workspace::root().join("web");
    run::run("Tests of its pure parts", Command::new("npm").args(["run", "--silent", "unit"]).current_dir(&web))?;
    // One reporter for terminals and logs alike. The test files are named because not every supported Node expands patterns.
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(web.join("test"))?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    let is_wanted = |name: &str| only.is_empty() || only.iter().any(|wanted| wanted == name);
    files.retain(|path| {
        path.file_name().and_then(|name| name.to_str()?.strip_suffix(".test.mjs")).is_some_and(is_wanted)
    });
    files.sort_by_key(|path| (!is_one_of(&["engine"], path), path.clone()));
    anyhow::ensure!(!files.is_empty(), "web/test has none of: {}", only.join(", "));
    // First, so that the summary of all tests is the last thing that is printed.
    let missing = on_lavapipe(&files)?;
    if let Some(why) = &missing {
        eprintln!("\n!!! NOT RUN: tests in Chromium on lavapipe ({}): {why}", ON_LAVAPIPE.join(", "));
    }
    let (alone, by_twos): (Vec<PathBuf>, Vec<PathBuf>) = files.into_iter().partition(|path| is_one_of(ALONE, path));
    let on_swiftshader = |files, at_once| {
        let mut node = node_tests(files, at_once);
        // What was not run is told again, as a skipped test.
        node.env("CHROMIUM", chromium()).env("LAVAPIPE", missing.as_deref().unwrap_or("tested"));
        node
    };
    const TITLE: &str = "Tests in headless Chromium on SwiftShader";
    if by_twos.is_empty() {
        return run::run_last(TITLE, &mut on_swiftshader(&alone, 1));
    }
    if !alone.is_empty() {
        run::run(TITLE, &mut on_swiftshader(&alone, 1))?;
    }
    run::run_last(TITLE, &mut on_swiftshader(&by_twos, 2))
}

/// Whether a file has the tests of one of these names.
fn is_one_of(names: &[&str], file: &Path) -> bool {
    names.iter().any(|name| file.ends_with(format!("{name}.test.mjs")))
}

/// Runs tests in a second browser. Gives the reason where there is none.
fn on_lavapipe(files: &[PathBuf]) -> Result<Option<String>> {
    if std::env::var_os("CHROMIUM").is_some() {
        return Ok(Some("CHROMIUM names the one browser to test in".to_owned()));
    }
    let browser = match lavapipe_chromium::make() {
        Ok(browser) => browser,
        Err(error) => return Ok(Some(format!("{error:#}"))),
    };
    let files: Vec<PathBuf> = files.iter().filter(|file| is_one_of(ON_LAVAPIPE, file)).cloned().collect();
    if files.is_empty() {
        return Ok(None);
    }
    let mut node = node_tests(&files, 1);
    run::run(
        "Tests in headless Chromium on lavapipe, which has f16",
        node.env("CHROMIUM", browser).env("LAVAPIPE", "tested"),
    )?;
    Ok(None)
}

/// So many files at once: they share two cores and a software GPU, and their limits of time with them.
fn node_tests(files: &[PathBuf], at_once: usize) -> Command {
    let mut node = Command::new("node");
    node.args(["--test", &format!("--test-concurrency={at_once}"), "--test-reporter=spec"]).args(files);
    node.current_dir(workspace::root().join("web"));
    node
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
    // Functions moved into their one caller make it larger than gzip's window sees: 5 % more bytes compressed.
    let options = ["-Oz", "--one-caller-inline-max-function-size=0", wasm, "-o", wasm];
    let mut wasm_opt = Command::new("node_modules/.bin/wasm-opt");
    run::run("Smaller still", wasm_opt.args(features).args(options).current_dir(&web))?;
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
