//! Packages of Debian, unpacked into a folder: nothing is installed, and the system's own lists stay as they are.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{run, setup};

/// Unpacks `packages` into `to/files`. They come from `releases`; `name/release` chooses one of them.
pub fn unpack(why: &str, to: &Path, releases: &[&str], packages: &[String]) -> Result<()> {
    let apt = to.join("apt");
    for folder in ["lists/partial", "cache/archives/partial", "sources"] {
        fs::create_dir_all(apt.join(folder)).with_context(|| apt.display().to_string())?;
    }
    let uri = repository()?;
    let sources = releases.iter().map(|release| format!("deb {uri} {release} main\n"));
    fs::write(apt.join("sources.list"), sources.collect::<String>())?;
    run::run("The list of packages, kept beside the system's own", apt_get(&apt).args(["update", "-qq"]))?;
    run::run(why, apt_get(&apt).args(["download", "-qq"]).args(packages).current_dir(&apt))?;
    for package in fs::read_dir(&apt)?.flatten().map(|entry| entry.path()) {
        if package.extension().is_some_and(|extension| extension == "deb") {
            run::run("Unpack", Command::new("dpkg").arg("-x").args([&package, &to.join("files")]))?;
        }
    }
    Ok(())
}

/// Where the system gets its packages from.
fn repository() -> Result<String> {
    let codename = setup::debian().context("packages of Debian are wanted, and this is another system")?;
    let format = "$(CODENAME) $(REPO_URI)";
    let listed = run::ask(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]));
    let listed = listed.context("apt-get does not list its sources")?;
    let uri = listed.lines().find_map(|line| line.strip_prefix(&codename)?.strip_prefix(' '));
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
