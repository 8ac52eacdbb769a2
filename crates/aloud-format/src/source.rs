//! Where bytes come from: one trait, implemented at the edges.

use std::future::Future;

use crate::FormatError;

/// A file of known length, read by ranges: a mapped file, HTTP ranges, a browser's blob.
///
/// Nothing here is `Send`: in a browser the futures belong to one thread.
pub trait ByteSource {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills all of `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// A range that ends past [`len`](Self::len), and whatever the layer below reports, as
    /// [`FormatError::Read`].
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> impl Future<Output = Result<(), FormatError>>;

    /// Path or URL, for messages.
    fn name(&self) -> &str;
}

impl<S: ByteSource> ByteSource for &S {
    fn len(&self) -> u64 {
        (**self).len()
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        (**self).read_at(offset, buf).await
    }

    fn name(&self) -> &str {
        (**self).name()
    }
}

/// A file that is in memory already, owned or not: tests, embedded models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemorySource<B = Vec<u8>> {
    /// What messages call the file.
    pub name: String,
    /// The whole file.
    pub bytes: B,
}

impl<B: AsRef<[u8]>> MemorySource<B> {
    /// A source of `bytes` that messages call `name`.
    pub fn new(name: impl Into<String>, bytes: B) -> Self {
        Self { name: name.into(), bytes }
    }
}

impl<B: AsRef<[u8]>> ByteSource for MemorySource<B> {
    fn len(&self) -> u64 {
        self.bytes.as_ref().len() as u64
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        let all = self.bytes.as_ref();
        let range = usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(buf.len())?))
            .and_then(|range| all.get(range));
        match range {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(FormatError::read(
                &self.name,
                offset,
                buf.len(),
                format_args!("the range ends past the last of {} bytes", all.len()),
            )),
        }
    }

    fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_exact_or_refused() {
        let source = MemorySource::new("m", [1, 2, 3, 4]);
        let mut buf = [0; 2];
        pollster::block_on(source.read_at(2, &mut buf)).unwrap();
        assert_eq!(buf, [3, 4]);
        for offset in [3, 5, u64::MAX] {
            let error = pollster::block_on(source.read_at(offset, &mut buf)).unwrap_err();
            assert!(error.to_string().contains("cannot read 2 bytes"), "{error}");
        }
    }
}
