//! A reader over the part of a header that is in memory so far.

use std::fmt;

use super::MAX_HEADER_BYTES;
use crate::FormatError;

/// Why parsing stopped.
pub(super) enum Fault {
    /// The file goes on, the window does not: read up to `end` at least and parse again.
    More { end: u64 },
    /// The file is refused.
    Bad(Box<FormatError>),
}

impl From<FormatError> for Fault {
    fn from(error: FormatError) -> Self {
        Self::Bad(Box::new(error))
    }
}

/// Reads little-endian fields from the window, naming each in errors.
pub(super) struct Cursor<'a> {
    window: &'a [u8],
    at: usize,
    pub file: &'a str,
    file_bytes: u64,
}

impl<'a> Cursor<'a> {
    /// `window`: the first bytes of a file of `file_bytes` bytes that messages call `file`.
    pub fn new(window: &'a [u8], file: &'a str, file_bytes: u64) -> Self {
        Self { window, at: 0, file, file_bytes }
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.at as u64
    }

    /// Goes back to an earlier [`position`](Self::position).
    pub fn rewind(&mut self, position: u64) {
        debug_assert!(position <= self.position());
        self.at = position as usize;
    }

    /// Bytes of the file that are not read yet.
    pub fn rest_of_file(&self) -> u64 {
        self.file_bytes.saturating_sub(self.position())
    }

    /// Bytes of the window that are not read yet.
    pub fn rest_of_window(&self) -> usize {
        self.window.len() - self.at
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: u64, field: fmt::Arguments<'_>) -> Result<&'a [u8], Fault> {
        let end = self.position().saturating_add(n);
        if end > self.file_bytes {
            return Err(FormatError::Truncated {
                file: self.file.to_owned(),
                field: field.to_string(),
                needs_bytes: end,
                file_bytes: self.file_bytes,
            }
            .into());
        }
        if end > MAX_HEADER_BYTES {
            return Err(FormatError::HeaderTooLarge {
                file: self.file.to_owned(),
                field: field.to_string(),
                needs_bytes: end,
                limit_bytes: MAX_HEADER_BYTES,
            }
            .into());
        }
        // `end` is at most MAX_HEADER_BYTES, so it fits `usize`.
        let bytes = self.window.get(self.at..end as usize).ok_or(Fault::More { end })?;
        self.at = end as usize;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, field: fmt::Arguments<'_>) -> Result<[u8; N], Fault> {
        let bytes = self.take(N as u64, field)?;
        Ok(std::array::from_fn(|at| bytes[at]))
    }

    /// A `u32`.
    pub fn u32(&mut self, field: fmt::Arguments<'_>) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    /// A `u64`.
    pub fn u64(&mut self, field: fmt::Arguments<'_>) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// A `u64` length and that many bytes of UTF-8.
    pub fn str(&mut self, field: fmt::Arguments<'_>) -> Result<&'a str, Fault> {
        let n = self.u64(format_args!("length of {field}"))?;
        let bytes = self.take(n, field)?;
        std::str::from_utf8(bytes).map_err(|error| {
            FormatError::NotUtf8 { file: self.file.to_owned(), field: field.to_string(), at: error.valid_up_to() }
                .into()
        })
    }

    /// A refusal of `field`.
    pub fn refuse<T>(
        &self,
        field: impl fmt::Display,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Result<T, Fault> {
        Err(FormatError::field(self.file, field, expected, found).into())
    }
}
