//! WGSL compute kernels as validated constants.
//!
//! The sources are in `wgsl/`, one kernel per file, with imports and conditions written in WESL. `build.rs` resolves each
//! line of `permutations.txt`, validates the result with naga and makes a [`Kernel`] of it. In each kernel's header stands
//! the equation, then each binding with its shape. Kernels without `_sg`, `_i8`, `_half` or `_coop` run anywhere: no f16, no subgroups, at most
//! 16 KiB of workgroup memory, 8 storage bindings (`mla_project_query`: 10) and 256 invocations.

/// One storage binding of a kernel, in group 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its number.
    pub index: u32,
    /// Its name in the source.
    pub name: &'static str,
    /// Whether the kernel writes it.
    pub writable: bool,
}

/// A compute shader with the entry point `main`.
#[derive(Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Unique name: file and features.
    pub name: &'static str,
    /// Its declarations, by their numbers in `PARTS`: kernels share most of them, and pages load all of them.
    parts: &'static [u16],
    /// Its bindings by number.
    pub bindings: &'static [Binding],
    /// Names of its pipeline-overridable constants.
    pub overrides: &'static [&'static str],
    /// WGSL extensions that it needs, `subgroups` among them.
    pub enables: &'static [&'static str],
}

impl Kernel {
    /// The source as naga takes it.
    #[must_use]
    pub fn wgsl(&self) -> String {
        self.enabling(self.enables.iter().filter(|name| **name != "subgroups"))
    }

    /// The source as a browser takes it, which wants `enable subgroups;` to be said; naga rejects the line.
    #[must_use]
    pub fn browser_wgsl(&self) -> String {
        self.enabling(self.enables.iter())
    }

    fn enabling<'a>(&self, names: impl Iterator<Item = &'a &'a str>) -> String {
        let head: String = names.map(|name| format!("enable {name};\n")).collect();
        head + &self.parts.iter().map(|&part| PARTS[usize::from(part)]).collect::<Vec<_>>().join("\n\n")
    }

    /// The kernel of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Kernel> {
        ALL.iter().copied().find(|k| k.name == name)
    }
}

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
