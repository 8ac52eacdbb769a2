//! What was measured on this machine's devices, kept from one run to the next.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

/// The file: a JSON object of a device's key and its text.
pub fn path() -> Option<PathBuf> {
    dirs::cache_dir().map(|folder| folder.join("aloud").join("tuning.json"))
}

/// What the file holds. A file that is missing or damaged holds nothing: all of it can be measured again.
pub fn read() -> BTreeMap<String, String> {
    let text = path().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Adds to the file what is known of a device. It is there whole or not at all.
pub fn keep((key, text): (String, String)) -> Result<()> {
    let path = path().context("this system names no folder for caches")?;
    let mut all = read();
    if all.get(&key) == Some(&text) || text.is_empty() {
        return Ok(());
    }
    all.insert(key, text);
    let folder = path.parent().expect("the file lies in a folder");
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let part = folder.join(format!("tuning.json.{}", std::process::id()));
    let written = std::fs::write(&part, format!("{:#}\n", serde_json::json!(all)));
    written.and_then(|()| std::fs::rename(&part, &path)).with_context(|| path.display().to_string())
}

/// Deletes the file; whether there was one.
pub fn forget() -> Result<bool> {
    let Some(path) = path() else { return Ok(false) };
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}
