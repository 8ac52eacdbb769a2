//! Writing a planned model: streamed, and in place only when it is whole.

use crate::{Filler, Plan, PlannedFile};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Streams one file; `on_bytes` hears of every chunk and may stop the writing with an error.
///
/// # Errors
/// If `to` cannot be written, and what `on_bytes` reports.
pub fn write_file(
    file: &PlannedFile,
    filler: &mut Filler,
    to: &mut impl Write,
    mut on_bytes: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<()> {
    to.write_all(&file.header)?;
    on_bytes(file.header.len() as u64)?;
    for tensor in &file.tensors {
        let mut put = |bytes: &[u8]| {
            to.write_all(bytes)?;
            on_bytes(bytes.len() as u64)
        };
        match &tensor.known {
            Some(bytes) => put(bytes)?,
            None => filler.fill(&tensor.values_of, tensor.dtype, &tensor.shape, tensor.spread, &mut put)?,
        }
        let padding = tensor.n_bytes.next_multiple_of(file.alignment) - tensor.n_bytes;
        put(&vec![0; padding as usize])?;
    }
    Ok(())
}

/// Writes all files of a plan into `folder`. They have temporary names until the last is complete; if anything fails they
/// are removed.
///
/// # Errors
/// If a file cannot be written, and what `on_bytes` reports.
pub fn write_plan(
    plan: &Plan,
    seed: u64,
    folder: &Path,
    mut on_bytes: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)?;
    let mut partial = Partial(Vec::new());
    let mut filler = Filler::new(seed);
    for file in &plan.files {
        let mut to = BufWriter::with_capacity(1 << 20, partial.create(folder, &file.name)?);
        write_file(file, &mut filler, &mut to, &mut on_bytes)?;
        to.flush()?;
    }
    for (name, bytes) in &plan.texts {
        partial.create(folder, name)?.write_all(bytes)?;
        on_bytes(bytes.len() as u64)?;
    }
    partial.finish()
}

/// Files under temporary names, with their final ones.
struct Partial(Vec<(PathBuf, PathBuf)>);

impl Partial {
    fn create(&mut self, folder: &Path, name: &str) -> io::Result<File> {
        let temporary = folder.join(format!("{name}.partial"));
        let file = File::create(&temporary)?;
        self.0.push((temporary, folder.join(name)));
        Ok(file)
    }

    fn finish(mut self) -> io::Result<Vec<PathBuf>> {
        let mut done = Vec::new();
        while let Some((temporary, last)) = self.0.first().cloned() {
            fs::rename(&temporary, &last)?;
            self.0.remove(0);
            done.push(last);
        }
        Ok(done)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        for (temporary, _) in &self.0 {
            // Nothing better can be done about a file that cannot be removed either.
            let _ = fs::remove_file(temporary);
        }
    }
}
