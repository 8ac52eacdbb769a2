//! The repository's structure is as its documents say.
//!
//! These checks read files and ask `cargo metadata`; they run no code of the project's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};

/// Files that are lists and may be long.
const LIST_FILES: &[&str] = &[];
const RUST_LINES: usize = 400;
const KERNEL_LINES: usize = 150;
const ARCHITECTURE_LINES: usize = 500;
/// Work left undone, as people mark it. In two parts each, so that this file doesn't find itself.
const LEFTOVERS: &[(&str, &str)] = &[("TO", "DO"), ("FIX", "ME"), ("todo", "!("), ("unimpl", "emented!(")];
/// Folders that hold no source of ours.
const NOT_SOURCE: &[&str] = &[".git", "target", "assets", "node_modules", "pkg", "dist"];

#[test]
fn imports_are_as_in_the_table() -> Result<()> {
    let table = import_table()?;
    let metadata = metadata()?;
    let members: BTreeSet<String> = metadata.workspace_packages().iter().map(|p| p.name.to_string()).collect();
    let mut problems = Vec::new();
    for name in members.iter().filter(|name| !table.contains_key(*name)) {
        problems.push(format!("{name} is a workspace member without a row"));
    }
    for name in table.keys().filter(|name| !members.contains(*name)) {
        problems.push(format!("{name} has a row and is no workspace member"));
    }
    for package in metadata.workspace_packages() {
        let Some(May::Import(allowed)) = table.get(package.name.as_str()) else { continue };
        // Of every kind: a test that needs a crate from further up belongs in tests/.
        for dependency in package.dependencies.iter().filter(|d| members.contains(&d.name)) {
            if !allowed.contains(&dependency.name) {
                problems.push(format!("{} imports {}", package.name, dependency.name));
            }
        }
    }
    assert!(problems.is_empty(), "not as in ARCHITECTURE.md's import table:\n  {}", problems.join("\n  "));
    Ok(())
}

#[test]
fn only_aloud_gpu_names_wgpu() -> Result<()> {
    let metadata = metadata()?;
    let packages = metadata.workspace_packages();
    let namers: Vec<&str> = packages
        .iter()
        .filter(|package| package.dependencies.iter().any(|d| d.name.starts_with("wgpu")))
        .map(|package| package.name.as_str())
        .collect();
    assert_eq!(namers, ["aloud-gpu"], "the device's library stays behind one crate");
    Ok(())
}

#[test]
fn files_are_short() -> Result<()> {
    let mut far_too_long = Vec::new();
    for path in source_files()? {
        let limit = match extension(&path) {
            "rs" => RUST_LINES,
            "wgsl" | "wesl" => KERNEL_LINES,
            _ => continue,
        };
        let shown = shown(&path);
        let lines = std::fs::read_to_string(&path)?.lines().count();
        if lines > limit && !LIST_FILES.contains(&shown.as_str()) {
            println!("{shown}: {lines} lines, more than {limit}");
            if lines > 2 * limit {
                far_too_long.push(format!("{shown}: {lines} lines, more than twice {limit}"));
            }
        }
    }
    assert!(far_too_long.is_empty(), "split these:\n  {}", far_too_long.join("\n  "));
    let architecture = read("ARCHITECTURE.md")?.lines().count();
    assert!(
        architecture <= ARCHITECTURE_LINES,
        "ARCHITECTURE.md: {architecture} lines, more than {ARCHITECTURE_LINES}"
    );
    Ok(())
}

#[test]
fn nothing_is_left_undone() -> Result<()> {
    let mut found = Vec::new();
    for path in source_files()? {
        if !["rs", "wgsl", "wesl", "mjs", "js", "html", "toml", "py", "sh"].contains(&extension(&path)) {
            continue;
        }
        for (index, line) in std::fs::read_to_string(&path)?.lines().enumerate() {
            if LEFTOVERS.iter().any(|(a, b)| line.contains(&format!("{a}{b}"))) {
                found.push(format!("{}:{}: {}", shown(&path), index + 1, line.trim()));
            }
        }
    }
    assert!(
        found.is_empty(),
        "finish these, or say in the documents that they are not there:\n  {}",
        found.join("\n  ")
    );
    Ok(())
}

#[test]
fn the_changelog_has_a_place_for_the_next_change() -> Result<()> {
    assert!(
        read("CHANGELOG.md")?.lines().any(|line| line == "## [Unreleased]"),
        "CHANGELOG.md lacks `## [Unreleased]`"
    );
    Ok(())
}

/// What a row of the import table allows.
enum May {
    ImportAnything,
    Import(BTreeSet<String>),
}

/// The table in ARCHITECTURE.md headed `| crate | may import |`. Crates stand in backquotes; the second column is a list
/// of crates, `none of ours` or `anything`, and nothing else.
fn import_table() -> Result<BTreeMap<String, May>> {
    let text = read("ARCHITECTURE.md")?;
    let rows = text
        .lines()
        .skip_while(|line| *line != "| crate | may import |")
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut table = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [crates, may_import] = cells[..] else {
            anyhow::bail!("a row of the import table has not two cells: {row}")
        };
        for name in in_backquotes(crates) {
            let may = match may_import {
                "anything" => May::ImportAnything,
                "none of ours" => May::Import(BTreeSet::new()),
                list => {
                    let names = in_backquotes(list);
                    anyhow::ensure!(!names.is_empty(), "the import table's row for {name} names no crate: {list}");
                    May::Import(names)
                }
            };
            table.insert(name, may);
        }
    }
    anyhow::ensure!(!table.is_empty(), "ARCHITECTURE.md has no table headed `| crate | may import |`");
    Ok(table)
}

fn in_backquotes(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn metadata() -> Result<Metadata> {
    MetadataCommand::new().current_dir(root()).no_deps().exec().context("`cargo metadata` failed")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository's root")
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).with_context(|| format!("could not read {path}"))
}

fn source_files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                files.push(entry.path());
            } else if !NOT_SOURCE.contains(&entry.file_name().to_string_lossy().as_ref()) {
                folders.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().replace('\\', "/")
}
