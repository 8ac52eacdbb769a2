//! Compiles every kernel with the compiler of GPUs that are not there, Mesa's RADV, and reports what came of it.
//!
//! Which GPU it compiles for is said to the driver by the environment, so each GPU has a process of its own: this program
//! once more, with `--compile`.

mod assembly;
mod cards;
mod gates;
mod sizes;
mod table;
mod vulkan;

use aloud_shaders::ALL;
use anyhow::{Context, Result, ensure};
use cards::{CARDS, Card};
use clap::Parser;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Compile every kernel for GPUs that are not there, and write a table of what came of it.
#[derive(Parser)]
struct Args {
    /// Folder that holds Mesa's driver: radeon_icd.json, and its libraries in lib/
    #[arg(long)]
    driver: PathBuf,
    /// Where the table goes
    #[arg(long, default_value = "docs/kernels.md")]
    out: PathBuf,
    /// Only kernels whose names contain this; prints the table and writes nothing
    #[arg(long)]
    only: Option<String>,
    /// Prints the assembly of the one kernel of this name, for the first card
    #[arg(long)]
    assembly: Option<String>,
    /// Compiles for the GPU that the environment names, and prints figures as JSON
    #[arg(long, hide = true)]
    compile: bool,
}

/// What the compiler made of a kernel.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Compiled {
    name: String,
    vgprs: u64,
    spills: u64,
    lds_bytes: u64,
    waves: u64,
    main_loop: Option<assembly::Loop>,
    assembly: Option<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let named = |name: &str| match (&args.assembly, &args.only) {
        (Some(one), _) => name == one,
        (None, Some(part)) => name.contains(part.as_str()),
        (None, None) => true,
    };
    let kernels: Vec<_> = ALL.iter().copied().filter(|kernel| named(kernel.name)).collect();
    ensure!(!kernels.is_empty(), "no kernel is named so; shaders/permutations.txt lists them");
    if args.compile {
        let device = vulkan::Device::open()?;
        let mut out = std::io::stdout().lock();
        for kernel in kernels.into_iter().filter(|kernel| device.takes(kernel)) {
            let mut compiled = device.compile(kernel).with_context(|| kernel.name.to_owned())?;
            if args.assembly.is_none() {
                compiled.assembly = None;
            }
            serde_json::to_writer(&mut out, &compiled)?;
            writeln!(out)?;
        }
        return Ok(());
    }
    if args.assembly.is_some() {
        let compiled = compile_for(&CARDS[0], &args)?;
        println!("{}", compiled[0].assembly.as_deref().unwrap_or_default());
        return Ok(());
    }
    eprintln!("compiling {} kernels for {}", kernels.len(), CARDS.each_ref().map(|card| card.family).join(", "));
    let reports: Result<Vec<(&Card, Vec<Compiled>)>> = std::thread::scope(|scope| {
        let args = &args;
        let begun = CARDS.each_ref().map(|card| (card, scope.spawn(move || compile_for(card, args))));
        let ended = begun.into_iter().map(|(card, thread)| Ok((card, thread.join().expect("it does not panic")?)));
        ended.collect()
    });
    let reports = reports?;
    let text = table::markdown(&reports);
    if args.only.is_some() {
        print!("{text}");
    } else {
        std::fs::write(&args.out, text).with_context(|| args.out.display().to_string())?;
        eprintln!("wrote {}", args.out.display());
    }
    let failures: Vec<String> = gates::check(&reports).iter().map(ToString::to_string).collect();
    ensure!(failures.is_empty(), "{} kernels are not as they should be:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// This program once more, told by the environment which GPU to compile for.
fn compile_for(card: &Card, args: &Args) -> Result<Vec<Compiled>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--driver").arg(&args.driver).arg("--compile");
    for (flag, value) in [("--only", &args.only), ("--assembly", &args.assembly)] {
        if let Some(value) = value {
            command.arg(flag).arg(value);
        }
    }
    let driver = args.driver.canonicalize().with_context(|| missing(&args.driver))?;
    let icd = driver.join("radeon_icd.json");
    ensure!(icd.exists(), missing(&args.driver));
    command
        .env("VK_DRIVER_FILES", icd)
        .env("LD_LIBRARY_PATH", driver.join("lib"))
        .env("RADV_FORCE_FAMILY", card.family);
    let output = command.stderr(Stdio::piped()).output()?;
    ensure!(
        output.status.success(),
        "compiling for {} failed: {}",
        card.family,
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = String::from_utf8(output.stdout)?;
    lines.lines().map(|line| serde_json::from_str(line).context("figures of a kernel")).collect()
}

fn missing(driver: &Path) -> String {
    format!("{} holds no driver; `cargo xtask kernel-report` unpacks one", driver.display())
}
