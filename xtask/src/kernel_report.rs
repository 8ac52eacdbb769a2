//! `cargo xtask kernel-report`: every kernel through the compiler of GPUs that are not here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{run, setup, workspace};

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
    // What an earlier try left behind is no driver.
    match fs::remove_dir_all(&to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let apt = to.join("apt");
    for folder in ["lists/partial", "cache/archives/partial", "sources"] {
        fs::create_dir_all(apt.join(folder)).with_context(|| apt.display().to_string())?;
    }
    let uri = repository(&codename)?;
    let mut sources = format!("deb {uri} {codename} main\n");
    let from = if codename == OLD.0 { OLD.1 } else { &codename };
    if from != codename {
        sources += &format!("deb {uri} {from} main\n");
    }
    fs::write(apt.join("sources.list"), sources)?;
    run::run("The list of packages, kept beside the system's own", apt_get(&apt).args(["update", "-qq"]))?;
    let packages = PACKAGES.iter().map(|name| format!("{name}/{from}"));
    run::run(
        "Mesa's driver, which holds the compiler; nothing is installed",
        apt_get(&apt).args(["download", "-qq"]).args(packages).args(LIBRARIES).current_dir(&apt),
    )?;
    for package in fs::read_dir(&apt)?.flatten().map(|entry| entry.path()) {
        if package.extension().is_some_and(|extension| extension == "deb") {
            run::run("Unpack", Command::new("dpkg").arg("-x").args([&package, &to.join("files")]))?;
        }
    }
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

/// Where the system gets its packages of this release from.
fn repository(codename: &str) -> Result<String> {
    let format = "$(CODENAME) $(REPO_URI)";
    let listed = run::ask(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]));
    let listed = listed.context("apt-get does not list its sources")?;
    let uri = listed.lines().find_map(|line| line.strip_prefix(codename)?.strip_prefix(' '));
    match uri {
        Some(uri) => Ok(uri.to_owned()),
        None => bail!("apt-get has no source for {codename}"),
    }
}

/// apt-get with lists and packages of its own in `apt`.
fn apt_get(apt: &Path) -> Command {
    let mut command = Command::new("apt-get");
    let options = [
        format!("Dir::Etc::sourcelist={}", apt.join("sources.list").display()),
        format!("Dir::Etc::sourceparts={}", apt.join("sources").display()),
        format!("Dir::State::lists={}", apt.join("lists").display()),
        format!("Dir::Cache={}", apt.join("cache").display()),
        "APT::Sandbox::User=root".to_owned(),
    ];
    for option in options {
        command.args(["-o", &option]);
    }
    command
}
