//! `cargo xtask test`: all that CI runs.

use anyhow::Result;

use crate::{check, run, setup, vulkan, web};

/// Sets everything up, then runs the checks, the native tests and the browser tests; the first failure stops it.
///
/// Nothing is printed after the last test runner's own summary.
pub fn all() -> Result<()> {
    setup::everything()?;
    check::check()?;
    let mut command = run::cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    vulkan::set_env(&mut command, vulkan::CpuDrivers::All)?;
    run::run("Tests on the host, on every Vulkan adapter found", &mut command)?;
    web::test()
}
