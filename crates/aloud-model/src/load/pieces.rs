//! Weights put together from rows of one or several tensors.

use super::{Allocator, Filler, Job, Progress};
use crate::error::ModelError;
use crate::tensors::{FP8_TILE, fp8_scales};
use aloud_format::{ByteSource, DType, Fp8Scales, TensorInfo};
use aloud_ops::{Executor, Tensor};
use std::ops::Range;

/// Bytes read at once; at least some rows.
const SLICE_BYTES: u64 = 4 << 20;
/// Rows at whose multiples any format may be cut on any device.
const ROW_ALIGN: u64 = 32;

/// Columns of all rows of a tensor.
#[derive(Clone, Debug)]
pub struct Piece {
    pub name: String,
    pub cols: Range<u64>,
}

impl<E: Executor> Allocator<'_, E> {
    /// A whole tensor.
    pub fn whole(&self, name: &str) -> Piece {
        let cols = *self.info(name).shape.last().expect("a weight has axes");
        Piece { name: name.to_owned(), cols: 0..cols }
    }

    /// Whether the rows of these tensors can follow one another in one weight.
    pub fn stackable(&self, pieces: &[Piece]) -> bool {
        let dtype = self.info(&pieces[0].name).dtype;
        let block = match dtype {
            DType::F8_E4M3 => FP8_TILE,
            dtype => dtype.block_elems().max(32) as u64,
        };
        let (last, others) = pieces.split_last().expect("there is one");
        let fits = |piece: &Piece| {
            self.info(&piece.name).dtype == dtype
                && piece.cols.start.is_multiple_of(block)
                && (piece.cols.end - piece.cols.start).is_multiple_of(dtype.block_elems().max(32) as u64)
        };
        fits(last) && others.iter().all(|p| fits(p) && self.rows(&p.name).is_multiple_of(ROW_ALIGN))
    }

    pub fn rows(&self, name: &str) -> u64 {
        rows(self.info(name))
    }

    /// A weight that keeps its format.
    pub fn matrix(&mut self, name: &str) -> Result<Tensor, ModelError> {
        let shape: Vec<u32> = self.info(name).shape.iter().map(|&n| n as u32).collect();
        self.weight(name, &shape, &[self.whole(name)])
    }

    /// The rows of several matrices as one weight if their formats agree, or else as weights of their own.
    pub fn rows_of(&mut self, names: &[String]) -> Result<Vec<Tensor>, ModelError> {
        let pieces: Vec<Piece> = names.iter().map(|name| self.whole(name)).collect();
        if !self.stackable(&pieces) {
            return names.iter().map(|name| self.matrix(name)).collect();
        }
        let rows = names.iter().map(|name| self.rows(name) as u32).sum();
        Ok(vec![self.weight(&names[0], &[rows, pieces[0].cols.end as u32], &pieces)?])
    }

    /// A weight of `shape` made of the rows of all pieces in turn.
    pub fn weight(&mut self, label: &str, shape: &[u32], pieces: &[Piece]) -> Result<Tensor, ModelError> {
        let dtype = stream_dtype(self.info(&pieces[0].name).dtype);
        let weight = self.executor.create_weight(label, dtype, shape).map_err(ModelError::executor)?;
        self.jobs.push(Job::Weight { weight, pieces: pieces.to_vec() });
        Ok(weight)
    }
}

/// Rows of all matrices of a tensor.
fn rows(info: &TensorInfo) -> u64 {
    info.n_elems() / info.shape.last().expect("a weight has axes")
}

/// The format that a weight travels in: FP8 takes its scales along.
fn stream_dtype(dtype: DType) -> DType {
    if dtype == DType::F8_E4M3 { DType::F8_B32 } else { dtype }
}

impl<E: Executor, S: ByteSource, P: FnMut(Progress)> Filler<'_, E, S, P> {
    /// Copies the rows of all pieces in turn, in slices.
    pub async fn weight(&mut self, weight: Tensor, pieces: &[Piece]) -> Result<(), ModelError> {
        let mut first_row = 0;
        for piece in pieces {
            let n_bytes = self.info(&piece.name).n_bytes;
            let rows = rows(self.info(&piece.name));
            let row_bytes = n_bytes / rows;
            let scales = self.scales(&piece.name).await?;
            let step = (SLICE_BYTES / row_bytes).max(ROW_ALIGN) / ROW_ALIGN * ROW_ALIGN;
            let mut row = 0;
            while row < rows {
                let n = step.min(rows - row);
                let bytes = self.read(&piece.name, row * row_bytes, n * row_bytes).await?;
                let bytes = self.stream(piece, row, bytes, scales.as_ref())?;
                self.executor.write_weight(weight, (first_row + row) as u32, &bytes).map_err(ModelError::executor)?;
                self.spare = bytes;
                row += n;
            }
            first_row += rows;
        }
        Ok(())
    }

    /// The scales of an FP8 matrix.
    async fn scales(&mut self, name: &str) -> Result<Option<Fp8Scales>, ModelError> {
        let info = self.info(name);
        let (DType::F8_E4M3, &[rows, cols]) = (info.dtype, info.shape.as_slice()) else { return Ok(None) };
        let values = self.floats(&fp8_scales(name, rows, cols).0).await?;
        Ok(Some(Fp8Scales::new(rows as usize, cols as usize, values)?))
    }

    /// Rows of a piece in the format that they travel in.
    fn stream(
        &self,
        piece: &Piece,
        row: u64,
        bytes: Vec<u8>,
        scales: Option<&Fp8Scales>,
    ) -> Result<Vec<u8>, ModelError> {
        let info = self.info(&piece.name);
        let cols = *info.shape.last().expect("a weight has axes");
        let bytes = match scales {
            Some(scales) => scales.blocks(row as usize, &bytes)?,
            None => bytes,
        };
        if piece.cols == (0..cols) {
            return Ok(bytes);
        }
        let dtype = stream_dtype(info.dtype);
        let at = |col: u64| col as usize / dtype.block_elems() * dtype.block_bytes();
        Ok(bytes
            .chunks_exact(at(cols))
            .flat_map(|row| &row[at(piece.cols.start)..at(piece.cols.end)])
            .copied()
            .collect())
    }
}
