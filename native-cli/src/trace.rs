//! What goes on inside a model, as a file that grows line by line.

use aloud::Trace;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// One JSON object per line.
pub struct TraceFile(File);

impl TraceFile {
    /// Begins the file anew.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("`{}` cannot be written", path.display()))?;
        Ok(TraceFile(file))
    }

    /// Appends a line in one piece: whoever reads along sees whole ones.
    pub fn write(&mut self, trace: &Trace) -> io::Result<()> {
        let mut line = serde_json::to_vec(trace)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }
}
