//! `cargo xtask kernel-report`: every kernel through the compiler of GPUs that are not here.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{aside, run, setup, workspace};

/// Debian's release whose own Mesa is too old for the GPUs of the report, and where it has a newer one.
const OLD: (&str, &str) = ("bookworm", "bookworm-backports");
/// The driver, and what it is linked with that a system without a GPU may not have.
const PACKAGES: &[&str] = &["mesa-vulkan-drivers", "libdrm2", "libdrm-amdgpu1"];
const LIBRARIES: &[&str] = &["libllvm19", "libz3-4"];

/// Unpacks the driver if it is not there yet, and runs the report with these arguments.
pub fn kernel_report(args: &[String]) -> Result<()> {
    report(&driver()?, args)
}

/// As CI does it: without the driver the report is left out, which is said aloud.
pub fn in_ci() -> Result<()> {
    match driver() {
        Ok(driver) => report(&driver, &["--out".to_owned(), "target/kernels.md".to_owned()]),
        Err(error) => {
            eprintln!(
                "\n!!! SKIPPED: no kernel was compiled for a real GPU, because Mesa's driver could not be unpacked:"
            );
            eprintln!("!!! {error:#}\n");
            Ok(())
        }
    }
}

fn report(driver: &Path, args: &[String]) -> Result<()> {
    let mut command = run::cargo();
    command.args(["run", "-p", "aloud-kernel-report", "--", "--driver"]).arg(driver).args(args);
    run::run("What RADV's compiler makes of every kernel, for GPUs that are not here", &mut command)
}

/// The folder that holds the driver.
fn driver() -> Result<PathBuf> {
    let to = workspace::root().join("target/radv");
    if to.join("radeon_icd.json").exists() {
        return Ok(to);
    }
    ensure!(cfg!(target_arch = "x86_64"), "the driver is unpacked on x86_64 alone");
    let codename = setup::debian().context("the driver comes as a package of Debian, and this is another system")?;
    workspace::make_empty(&to)?;
    let from = if codename == OLD.0 { OLD.1 } else { &codename };
    let packages = PACKAGES.iter().map(|name| format!("{name}/{from}"));
    let packages: Vec<String> = packages.chain(LIBRARIES.iter().map(ToString::to_string)).collect();
    let releases: &[&str] = if from == codename { &[from] } else { &[&codename, from] };
    aside::unpack("Mesa's driver, which holds the compiler; nothing is installed", &to, releases, &packages)?;
    fs::rename(to.join("files/usr/lib/x86_64-linux-gnu"), to.join("lib"))?;
    let library = to.join("lib/libvulkan_radeon.so");
    ensure!(library.exists(), "{} is not among the unpacked files", library.display());
    let about = format!(
        "{{\"file_format_version\": \"1.0.0\", \"ICD\": {{\"api_version\": \"1.3.0\", \"library_path\": {:?}}}}}\n",
        library.display().to_string()
    );
    // Last: only a whole driver is taken for one.
    fs::write(to.join("radeon_icd.json"), about)?;
    Ok(to)
}
