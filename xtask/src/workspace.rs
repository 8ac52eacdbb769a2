//! What Cargo says about this workspace.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand, TargetKind};

/// Members that run on the host only; every other member with a library is built for wasm32.
const HOST_ONLY: &[&str] = &["aloud-cli", "aloud-make-model", "aloud-tests", "xtask"];

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ lies in the repository's root")
}

/// Where Cargo builds to: `target/`, unless `CARGO_TARGET_DIR` or a configuration says otherwise.
pub fn target_dir() -> Result<PathBuf> {
    Ok(metadata()?.target_directory.into_std_path_buf())
}

/// The names of the crates that have to build for wasm32.
pub fn wasm32_crates() -> Result<Vec<String>> {
    let metadata = metadata()?;
    let is_library = |kinds: &[TargetKind]| {
        kinds.iter().any(|kind| matches!(kind, TargetKind::Lib | TargetKind::RLib | TargetKind::CDyLib))
    };
    Ok(metadata
        .workspace_packages()
        .iter()
        .filter(|package| !HOST_ONLY.contains(&package.name.as_str()))
        .filter(|package| package.targets.iter().any(|target| is_library(&target.kind)))
        .map(|package| package.name.to_string())
        .collect())
}

fn metadata() -> Result<Metadata> {
    MetadataCommand::new().current_dir(root()).no_deps().exec().context("`cargo metadata` failed")
}
