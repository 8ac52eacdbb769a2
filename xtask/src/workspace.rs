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

/// Makes `folder` anew: what an earlier try left behind is gone.
pub fn make_empty(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())
}

/// Fills `folder` by `make`, unless it is there and made of the same. What it was made of is written last, so what an
/// earlier try left behind is made anew.
pub fn once(folder: &Path, made_of: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let stamp = folder.join("made-of.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == made_of) {
        eprintln!("{}: present", folder.display());
        return Ok(());
    }
    make_empty(folder)?;
    make(folder)?;
    Ok(std::fs::write(&stamp, made_of)?)
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_half_made_is_made_anew_and_what_is_whole_is_kept() {
        let folder = std::env::temp_dir().join(format!("aloud-xtask-once-{}", std::process::id()));
        let half = |folder: &Path| {
            fs::write(folder.join("half"), "")?;
            anyhow::bail!("stopped")
        };
        assert!(once(&folder, "a", half).is_err());
        let whole = |folder: &Path| {
            assert!(!folder.join("half").exists());
            Ok(())
        };
        once(&folder, "a", whole).unwrap();
        once(&folder, "a", |_| panic!("it is there")).unwrap();
        assert!(once(&folder, "b", half).is_err(), "made of something else");
        fs::remove_dir_all(folder).unwrap();
    }
}
