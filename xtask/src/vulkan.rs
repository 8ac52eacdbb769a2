//! Which Vulkan drivers are here, and which of them a command is to see.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

const ICD_DIRS: &[&str] = &["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
/// Debian's chromium package brings SwiftShader, a second CPU driver that shares no code with lavapipe.
pub const SWIFTSHADER_ICD: &str = "/usr/lib/chromium/vk_swiftshader_icd.json";
/// Variables by which the user chooses drivers; when one is set, nothing is changed here.
const USER_CHOICE: &[&str] = &["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES"];

/// Which CPU drivers to offer on a machine without a GPU.
#[derive(Clone, Copy, PartialEq)]
pub enum CpuDrivers {
    /// The fastest one: lavapipe.
    Lavapipe,
    /// All of them, so that tests can compare adapters.
    All,
}

/// Whether a GPU's device node is here. Driver files are no sign of it: Mesa's package brings those of every vendor.
pub fn has_gpu() -> bool {
    if !cfg!(target_os = "linux") {
        return true; // Metal and DX12 come with their systems.
    }
    let render_node = std::fs::read_dir("/dev/dri")
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("renderD")));
    render_node || Path::new("/dev/nvidiactl").exists() || Path::new("/dev/dxg").exists()
}

/// The driver description files that the Vulkan loader finds.
pub fn icd_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = ICD_DIRS
        .iter()
        .filter_map(|dir| std::fs::read_dir(dir).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    files
}

/// Mesa's CPU driver, if it is installed.
pub fn lavapipe_icd() -> Option<PathBuf> {
    icd_files()
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lvp_icd")))
}

/// Whether some driver can run: a GPU with any driver file, or lavapipe.
pub fn has_driver() -> bool {
    !cfg!(target_os = "linux") || lavapipe_icd().is_some() || (has_gpu() && !icd_files().is_empty())
}

/// Sets the environment that `command` needs to find its adapters: on a machine without a GPU, the CPU drivers alone.
pub fn set_env(command: &mut Command, drivers: CpuDrivers) -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        command.env("XDG_RUNTIME_DIR", private_dir()?); // Without it Mesa warns at every start.
    }
    if has_gpu() || USER_CHOICE.iter().any(|name| std::env::var_os(name).is_some()) {
        return Ok(());
    }
    let mut files: Vec<PathBuf> = lavapipe_icd().into_iter().collect();
    if drivers == CpuDrivers::All && Path::new(SWIFTSHADER_ICD).exists() {
        files.push(SWIFTSHADER_ICD.into());
    }
    command.env("VK_DRIVER_FILES", std::env::join_paths(files)?);
    Ok(())
}

/// Lets `command` know nothing of the drivers that the user chose.
pub fn ignore_choice(command: &mut Command) {
    for name in USER_CHOICE {
        command.env_remove(name);
    }
}

/// A directory that only this user can read, as XDG_RUNTIME_DIR has to be.
fn private_dir() -> Result<PathBuf> {
    let dir = crate::workspace::target_dir()?.join("xdg-runtime");
    std::fs::create_dir_all(&dir).with_context(|| format!("could not create {}", dir.display()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(dir)
}
