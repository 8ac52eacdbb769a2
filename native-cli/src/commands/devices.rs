//! `aloud devices`: the adapters there are.

use crate::args::DevicesArgs;
use crate::text::bytes;
use aloud::{AdapterSummary, GpuError};
use anyhow::Result;
use serde_json::{Value, json};
use std::io::Write;

/// Runs it.
pub fn run(args: &DevicesArgs) -> Result<()> {
    let adapters = pollster::block_on(aloud::adapters());
    if adapters.is_empty() {
        return Err(aloud::Error::Gpu(GpuError::NoAdapter).into());
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        let devices: Vec<Value> = adapters.iter().map(as_json).collect();
        writeln!(out, "{:#}", json!({ "devices": devices }))?;
        return Ok(());
    }
    for a in &adapters {
        writeln!(out, "{}: {}", a.index, a.name)?;
        writeln!(out, "   {}, {}, driver {}", a.kind, a.backend, a.driver)?;
        let subgroups = a.subgroup_sizes.map_or("none".into(), |(min, max)| format!("{min} to {max}"));
        writeln!(
            out,
            "   binding {}, buffer {}, workgroup memory {}, subgroups {subgroups}, f16 {}",
            bytes(a.max_binding_bytes),
            bytes(a.max_buffer_bytes),
            bytes(u64::from(a.max_workgroup_bytes)),
            if a.f16 { "yes" } else { "no" },
        )?;
    }
    Ok(())
}

/// An adapter for machines.
pub fn as_json(a: &AdapterSummary) -> Value {
    json!({
        "index": a.index,
        "name": a.name,
        "backend": a.backend,
        "kind": a.kind,
        "driver": a.driver,
        "max_binding_bytes": a.max_binding_bytes,
        "max_buffer_bytes": a.max_buffer_bytes,
        "max_workgroup_bytes": a.max_workgroup_bytes,
        "subgroup_sizes": a.subgroup_sizes.map(|(min, max)| [min, max]),
        "f16": a.f16,
    })
}
