//! A Chromium whose WebGPU is lavapipe, Mesa's Vulkan driver for the CPU: it has f16, and subgroups of another size than
//! SwiftShader's. A copy of Debian's Chromium is made to take lavapipe for its own driver.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::workspace::once;
use crate::{run, setup, vulkan, workspace};

/// Switches off what keeps the driver from Chromium's GPU process, and has adapters say what they are.
const CHROMIUM_FLAGS: &str = "--disable-gpu-sandbox --enable-webgpu-developer-features";

/// Makes it if it is not there, and gives the program that starts it.
///
/// # Errors
/// If Debian's Chromium or lavapipe is not here and cannot be installed.
pub fn make() -> Result<PathBuf> {
    let installed = Path::new(vulkan::SWIFTSHADER_ICD).parent().expect("the driver lies in a folder");
    ensure!(
        installed.join("libvk_swiftshader.so").exists(),
        "{} has no Chromium; a copy of Debian's is made to use lavapipe (apt-get install chromium)",
        installed.display()
    );
    let library = library_of(&driver()?)?;
    let source = workspace::root().join("tests/peers/chromium-lavapipe/shim.c");
    let version = run::ask(Command::new(installed.join("chromium")).arg("--version")).unwrap_or_default();
    let made_of = format!("{version}\n{library}\n{CHROMIUM_FLAGS}\n{}", fs::read_to_string(&source)?);
    let folder = workspace::target_dir()?.join("chromium-lavapipe");
    once(&folder, &made_of, |to| {
        let browser = to.join("browser");
        let copy = |how: &str| {
            let mut cp = Command::new("cp");
            cp.args(["--recursive", how]).arg(installed).arg(&browser);
            run::run("A copy of Chromium whose WebGPU will be lavapipe", &mut cp)
        };
        if copy("--link").is_err() {
            let _ = fs::remove_dir_all(&browser);
            copy("--preserve=mode")?;
        }
        // These two become other files; the installed ones, which the copy shares, stay as they are.
        for name in ["libvk_swiftshader.so", "vk_swiftshader_icd.json"] {
            fs::remove_file(browser.join(name)).with_context(|| name)?;
        }
        setup::debian_packages(&["gcc", "libvulkan-dev"], "a library stands between Chromium and lavapipe", "gcc")?;
        let mut gcc = Command::new("gcc");
        gcc.args(["-O2", "-shared", "-fPIC", "-fvisibility=hidden", &format!("-DLAVAPIPE={library:?}")]);
        gcc.arg("-o").arg(browser.join("libvk_swiftshader.so")).arg(&source).arg("-ldl");
        run::run("What Chromium takes for its own driver, and is lavapipe", &mut gcc)?;
        let icd = json!({"library_path": "./libvk_swiftshader.so", "api_version": "1.3.0"});
        let description = json!({"file_format_version": "1.0.0", "ICD": icd}).to_string();
        fs::write(browser.join("vk_swiftshader_icd.json"), description)?;
        let run = to.join("run");
        fs::write(&run, format!("#!/bin/sh\nexec {:?} {CHROMIUM_FLAGS} \"$@\"\n", browser.join("chromium")))?;
        run::run("It can be started", Command::new("chmod").arg("+x").arg(run))
    })?;
    Ok(folder.join("run"))
}

/// lavapipe's description.
///
/// # Errors
/// If it is not here and cannot be installed.
pub fn driver() -> Result<PathBuf> {
    if vulkan::lavapipe_icd().is_none() {
        setup::debian_packages(
            &["mesa-vulkan-drivers", "libvulkan1"],
            "lavapipe is Mesa's Vulkan driver for the CPU",
            "Mesa's lavapipe, for example Fedora: dnf install mesa-vulkan-drivers; Arch: pacman -S vulkan-swrast",
        )?;
    }
    vulkan::lavapipe_icd().context("Mesa's lavapipe is not here")
}

/// The driver's library, of which its description tells.
fn library_of(description: &Path) -> Result<String> {
    let text = fs::read_to_string(description).with_context(|| description.display().to_string())?;
    let description: Value = serde_json::from_str(&text)?;
    Ok(description["ICD"]["library_path"].as_str().context("a driver's description names its library")?.to_owned())
}
