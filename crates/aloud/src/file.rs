//! Files on disk, read by ranges.

use crate::error::Error;
use aloud_format::{ByteSource, FormatError};
use std::fs::File;
use std::path::Path;

/// A file, read at offsets without moving a cursor; nothing of it is held in memory.
#[derive(Debug)]
pub struct FileSource {
    name: String,
    file: File,
    len: u64,
}

impl FileSource {
    /// Opens a file.
    ///
    /// # Errors
    /// If it is not there, not readable, or not a file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let refused = |expected, found: String| Error::Path { path: path.display().to_string(), expected, found };
        let file = File::open(path).map_err(|e| refused("a readable file", e.to_string()))?;
        let metadata = file.metadata().map_err(|e| refused("a readable file", e.to_string()))?;
        if !metadata.is_file() {
            return Err(refused("a file", "something else".into()));
        }
        Ok(FileSource { name: path.display().to_string(), file, len: metadata.len() })
    }
}

impl ByteSource for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        read_exact_at(&self.file, offset, buf).map_err(|e| FormatError::read(&self.name, offset, buf.len(), e))
    }

    fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buf, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut offset: u64, mut buf: &mut [u8]) -> std::io::Result<()> {
    while !buf.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buf, offset)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => {
                buf = &mut buf[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}
