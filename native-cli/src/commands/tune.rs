//! `aloud tune`: which variants of kernels are fastest here.

use crate::args::{Talk, TuneArgs};
use crate::{open, tunings};
use aloud::{LoadOptions, Variant};
use anyhow::Result;
use serde_json::json;
use std::io::Write;
use std::time::Duration;

/// There is nothing else to wait for.
const BUDGET: Duration = Duration::from_secs(20);

/// Runs it.
pub fn run(args: &TuneArgs, talk: Talk) -> Result<()> {
    if args.show {
        return show(args.json);
    }
    if args.forget {
        let found = tunings::forget()?;
        if !talk.quiet {
            eprintln!("{}", if found { "forgotten" } else { "nothing was known" });
        }
        return Ok(());
    }
    let which = open::which(args.model.model.as_ref(), talk);
    let options = LoadOptions { tune: Some(BUDGET), ..args.model.load_options() };
    let model = open::model_as_told(which, &args.model, &options, talk)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let measured = model.tuned().iter().map(|tuned| {
            let tried: Vec<_> = tuned
                .tried
                .iter()
                .map(|(variant, speed)| match variant {
                    Variant::Threads(threads) => json!({ "threads": threads, "bytes_per_second": speed }),
                    Variant::Tile(tile) => json!({ "tile": tile.name(), "multiply_adds_per_second": speed }),
                })
                .collect();
            let (format, width) = (tuned.dtype.name(), tuned.width.name());
            let (kind, chosen) = match tuned.chosen {
                Variant::Threads(threads) => ("threads", json!(threads)),
                Variant::Tile(tile) => ("tile", json!(tile.name())),
            };
            json!({ "format": format, "width": width, "shape": tuned.shape, "tried": tried, kind: chosen })
        });
        let (device, known) = model.tuning();
        let measured: Vec<_> = measured.collect();
        writeln!(out, "{:#}", json!({ "device": device, "measured": measured, "known": known }))?;
        return Ok(());
    }
    writeln!(out, "{}", model.tuning().0)?;
    for tuned in model.tuned() {
        let [rows, cols] = tuned.shape;
        let name = format!("{} {}, {rows} x {cols}", tuned.dtype.name(), tuned.width.name());
        write!(out, "  {name:<32}")?;
        for &(variant, speed) in &tuned.tried {
            let mark = if variant == tuned.chosen { "*" } else { "" };
            let unit = if matches!(variant, Variant::Tile(_)) { "GMAC/s" } else { "GB/s" };
            write!(out, "{:>16}", format!("{variant}: {:.2} {unit}{mark}", speed / 1e9))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// What was measured before.
fn show(as_json: bool) -> Result<()> {
    let all = tunings::read();
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{:#}", json!(all))?;
        return Ok(());
    }
    if all.is_empty() {
        writeln!(out, "nothing was measured yet")?;
    }
    for (device, text) in &all {
        writeln!(out, "{device}")?;
        for entry in text.split_whitespace() {
            let (what, variant) = entry.split_once('=').unwrap_or((entry, "?"));
            let kind = if variant.parse::<u32>().is_ok() { "threads" } else { "tile" };
            writeln!(out, "  {what:<16} {kind:<8} {variant}")?;
        }
    }
    if let Some(path) = tunings::path() {
        writeln!(out, "kept in {}", path.display())?;
    }
    Ok(())
}
