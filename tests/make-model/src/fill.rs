//! Values of large tensors, fast: rows are put together from a pool of encoded pieces.

use aloud_format::{DType, quantize};
use std::collections::HashMap;
use std::io;

/// Values in a pool.
const POOL_ELEMS: usize = 1 << 20;
/// Values in a piece, where rows are that long.
const PIECE_ELEMS: u64 = 256;
/// Bytes handed on at a time, at least.
const CHUNK_BYTES: usize = 1 << 20;

/// SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In `[-1, 1)`.
    fn signed(&mut self) -> f64 {
        (self.bits() >> 40) as f64 / f64::from(1 << 23) - 1.0
    }

    /// Below `n`.
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// What values lie around, and how far they go: `centre + width * v`, v in `[-1, 1)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// In the middle.
    pub centre: f64,
    /// To each side.
    pub width: f64,
}

impl Spread {
    /// The spread of a tensor by its name in either container, so that activations stay of order 1 in every layer; `cols`
    /// is the length of its rows.
    #[must_use]
    pub fn of(name: &str, cols: u64) -> Spread {
        let fan_in = (cols as f64).sqrt();
        let (centre, width) = match name {
            _ if name.ends_with("bias") => (0.0, 0.1),
            _ if name.contains("norm") => (1.0, 0.25),
            "model.embed_tokens.weight" | "token_embd.weight" => (0.0, 1.0),
            _ if name.ends_with("mlp.gate.weight") || name.contains("ffn_gate_inp") => (0.0, 4.0 / fan_in),
            _ => (0.0, 3f64.sqrt() / fan_in),
        };
        Spread { centre, width }
    }
}

/// Encoded pieces of one format and spread.
struct Pool {
    piece_bytes: usize,
    pieces: Vec<u8>,
}

/// Fills tensors. The same seed and name give the same bytes.
///
/// A tensor of a few thousand values is as random as it can be. In a large one each piece of 256 values is drawn from a
/// pool of some 4,000 that all tensors of one format and row length share: pieces recur, rows of a thousand values do not.
pub struct Filler {
    seed: u64,
    pools: HashMap<(DType, u64, u64, u64), Pool>,
}

impl Filler {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Filler {
        Filler { seed, pools: HashMap::new() }
    }

    /// Hands the bytes of a tensor to `to`, in chunks of about a MiB; `name` and the seed decide which.
    ///
    /// # Errors
    /// What `to` reports.
    ///
    /// # Panics
    /// If rows are not whole blocks of `dtype`.
    pub fn fill(
        &mut self,
        name: &str,
        dtype: DType,
        shape: &[u64],
        spread: Spread,
        mut to: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let cols = shape.last().copied().unwrap_or(1);
        let piece_elems = piece_elems(cols).max(dtype.block_elems() as u64);
        assert!(cols.is_multiple_of(piece_elems), "{name}: rows of {cols} are not blocks of {dtype}");
        let key = (dtype, piece_elems, spread.centre.to_bits(), spread.width.to_bits());
        let seed = self.seed;
        let pool = self.pools.entry(key).or_insert_with(|| pool(seed, dtype, piece_elems as usize, spread));
        let n_pool = pool.pieces.len() / pool.piece_bytes;
        let mut numbers = Numbers(hash(name) ^ self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut chunk = Vec::with_capacity(CHUNK_BYTES + pool.piece_bytes);
        for _ in 0..shape.iter().product::<u64>() / piece_elems {
            let at = numbers.below(n_pool) * pool.piece_bytes;
            chunk.extend_from_slice(&pool.pieces[at..at + pool.piece_bytes]);
            if chunk.len() >= CHUNK_BYTES {
                to(&chunk)?;
                chunk.clear();
            }
        }
        to(&chunk)
    }
}

/// The largest power of two up to [`PIECE_ELEMS`] that divides `cols`.
fn piece_elems(cols: u64) -> u64 {
    PIECE_ELEMS.min(1 << cols.trailing_zeros())
}

fn pool(seed: u64, dtype: DType, piece_elems: usize, spread: Spread) -> Pool {
    let mut numbers = Numbers(hash(dtype.name()) ^ seed.rotate_left(32) ^ spread.width.to_bits());
    let n_pieces = POOL_ELEMS / piece_elems.max(64);
    let values: Vec<f32> =
        (0..n_pieces * piece_elems).map(|_| (spread.centre + spread.width * numbers.signed()) as f32).collect();
    let pieces = quantize(dtype, &values);
    Pool { piece_bytes: pieces.len() / n_pieces, pieces }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(seed: u64, name: &str, dtype: DType, shape: &[u64]) -> Vec<u8> {
        let mut all = Vec::new();
        let spread = Spread::of(name, shape[shape.len() - 1]);
        let keep = |chunk: &[u8]| {
            all.extend_from_slice(chunk);
            Ok(())
        };
        Filler::new(seed).fill(name, dtype, shape, spread, keep).expect("keeps");
        all
    }

    #[test]
    fn seed_and_name_decide() {
        let shape = [96, 768];
        let a = bytes(1, "blk.0.ffn_up.weight", DType::Q4_K, &shape);
        assert_eq!(a.len() as u64, DType::Q4_K.bytes_for(96 * 768).expect("whole blocks"));
        assert_eq!(bytes(1, "blk.0.ffn_up.weight", DType::Q4_K, &shape), a);
        assert_ne!(bytes(2, "blk.0.ffn_up.weight", DType::Q4_K, &shape), a);
        assert_ne!(bytes(1, "blk.1.ffn_up.weight", DType::Q4_K, &shape), a);
    }

    #[test]
    fn long_rows_do_not_recur() {
        let all = bytes(7, "token_embd.weight", DType::Q8_0, &[8192, 1024]);
        let rows: std::collections::HashSet<&[u8]> = all.chunks(all.len() / 8192).collect();
        assert_eq!(rows.len(), 8192);
    }

    #[test]
    fn odd_rows_are_filled() {
        assert_eq!(bytes(1, "output_norm.weight", DType::F32, &[33]).len(), 132);
        assert_eq!(bytes(1, "x.weight", DType::Q5_0, &[3, 96]).len(), 3 * 66);
    }
}
