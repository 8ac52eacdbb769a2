//! float32 arrays in NumPy's format, version 1.0 (numpy.lib.format).

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file that appears under its name only when it is whole.
pub struct NpyWriter {
    out: BufWriter<File>,
    partial: PathBuf,
    path: PathBuf,
}

impl NpyWriter {
    /// Begins an array of `shape`, whose values then come row by row.
    pub fn create(path: &Path, shape: &[usize]) -> Result<Self> {
        let name = path.file_name().with_context(|| format!("`{}`: expected a file name", path.display()))?;
        let partial = path.with_file_name(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id()));
        let file = File::create(&partial).with_context(|| format!("`{}` cannot be written", path.display()))?;
        let mut writer = NpyWriter { out: BufWriter::new(file), partial, path: path.to_owned() };
        writer.out.write_all(&header(shape))?;
        Ok(writer)
    }

    /// Appends values.
    pub fn write(&mut self, values: &[f32]) -> std::io::Result<()> {
        values.iter().try_for_each(|v| self.out.write_all(&v.to_le_bytes()))
    }

    /// Puts the file in place.
    pub fn finish(mut self) -> Result<()> {
        self.out.flush()?;
        fs::rename(&self.partial, &self.path).with_context(|| format!("`{}` cannot be written", self.path.display()))
    }
}

impl Drop for NpyWriter {
    fn drop(&mut self) {
        // After `finish` there is none; otherwise nothing half-written stays behind.
        let _ = fs::remove_file(&self.partial);
    }
}

fn header(shape: &[usize]) -> Vec<u8> {
    let axes: Vec<String> = shape.iter().map(|n| format!("{n},")).collect();
    let mut dict = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", axes.join(" "));
    // Magic, version and length take 10 bytes; data begins at a multiple of 64.
    while !(10 + dict.len() + 1).is_multiple_of(64) {
        dict.push(' ');
    }
    dict.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((dict.len() as u16).to_le_bytes());
    bytes.extend(dict.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_numpys() {
        let bytes = header(&[2, 3]);
        assert_eq!(bytes.len(), 128);
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        assert!(bytes[10..].starts_with(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3,), }  "));
        assert_eq!(bytes.last(), Some(&b'\n'));
    }

    #[test]
    fn a_file_that_is_not_finished_is_not_there() {
        let path = std::env::temp_dir().join(format!("aloud-npy-{}.npy", std::process::id()));
        let mut writer = NpyWriter::create(&path, &[2]).unwrap();
        writer.write(&[1.0]).unwrap();
        let partial = writer.partial.clone();
        drop(writer);
        assert!(!path.exists() && !partial.exists());
        let mut writer = NpyWriter::create(&path, &[2]).unwrap();
        writer.write(&[1.0, -2.5]).unwrap();
        writer.finish().unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(bytes[128..], [0, 0, 128, 63, 0, 0, 32, 192]);
        assert!(!partial.exists());
    }
}
