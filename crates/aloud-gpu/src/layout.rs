//! How weights lie on the device: the file's blocks, cut into planes that can be read 16 bytes at a time.
//!
//! The quants of a block go to one plane, what is left (scales, fifth bits) to another, at the same number of bytes, so
//! that no block straddles a word. Blocks whose scale is a single half share words in pairs.

use aloud_ops::DType;

/// Rows that share a scale of [`Scales::PerTile`]. The format has 128, but parts of a weight may begin at fewer.
pub const TILE_ROWS: u64 = 32;
/// Blocks of a row that share a scale of [`Scales::PerTile`].
pub const TILE_BLOCKS: u64 = 4;

/// The leftovers of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scales {
    /// None: the block lies in the quants plane as in the file.
    None,
    /// So many words per block.
    PerBlock(u64),
    /// So many words per two blocks.
    PerPair(u64),
    /// A word per [`TILE_ROWS`] rows of [`TILE_BLOCKS`] blocks.
    PerTile,
}

/// Where a block's bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planes {
    /// Values per block.
    pub block_elems: u32,
    /// Bytes of a block in the file, or in what stands for it while weights stream.
    pub file_bytes: usize,
    /// Bytes of a block in the quants plane.
    pub quant_bytes: u64,
    /// The rest.
    pub scales: Scales,
}

/// The format that a file's format has on the device, if it can be had there without loss.
#[must_use]
pub fn device_dtype(dtype: DType) -> Option<DType> {
    match dtype {
        // Its uneven steps are whole numbers of a byte.
        DType::IQ4_NL => Some(DType::Q8_0),
        // The scales lie with the weight, as all formats have it.
        DType::F8_B32 => Some(DType::F8_E4M3),
        DType::F8_E4M3 => None,
        _ => planes(dtype).map(|_| dtype),
    }
}

/// The planes of a device format.
#[must_use]
pub fn planes(dtype: DType) -> Option<Planes> {
    let (quant_bytes, scales) = match dtype {
        DType::F32 => (128, Scales::None),
        DType::F16 | DType::BF16 => (64, Scales::None),
        DType::Q4_0 => (16, Scales::PerPair(1)),
        DType::Q4_1 => (16, Scales::PerBlock(1)),
        DType::Q5_0 => (16, Scales::PerPair(3)),
        DType::Q5_1 => (16, Scales::PerBlock(2)),
        DType::Q8_0 => (32, Scales::PerPair(1)),
        DType::Q2_K => (80, Scales::PerBlock(1)),
        DType::Q3_K => (96, Scales::PerPair(7)),
        DType::Q4_K => (144, Scales::None),
        DType::Q5_K => (176, Scales::None),
        DType::Q6_K => (208, Scales::PerPair(1)),
        DType::F8_E4M3 => (32, Scales::PerTile),
        _ => return None,
    };
    // Plain formats are walked in groups of 32 like the others.
    let streamed = if dtype == DType::F8_E4M3 { DType::F8_B32 } else { dtype };
    let block_elems = streamed.block_elems().max(32);
    let file_bytes = streamed.block_bytes() * (block_elems / streamed.block_elems());
    Some(Planes { block_elems: block_elems as u32, file_bytes, quant_bytes, scales })
}

impl Planes {
    /// Bytes of the scales plane for so many rows of so many blocks each.
    #[must_use]
    pub fn scale_bytes(&self, rows: u64, row_blocks: u64) -> u64 {
        match self.scales {
            Scales::None => 0,
            Scales::PerBlock(words) => rows * row_blocks * words * 4,
            Scales::PerPair(words) => (rows * row_blocks).div_ceil(2) * words * 4,
            Scales::PerTile => rows.div_ceil(TILE_ROWS) * row_blocks.div_ceil(TILE_BLOCKS) * 4,
        }
    }

    /// Parts of a weight, and slices that are written, begin at multiples of so many rows: no scale of a tile is cut, and
    /// pairs of blocks that share words stay together.
    #[must_use]
    pub fn row_align(&self) -> u64 {
        if self.scales == Scales::PerTile { TILE_ROWS } else { 2 }
    }
}

/// The quants plane and the scales plane of rows of `row_blocks` blocks; the first row is one that a part may begin at.
#[must_use]
pub fn repack(dtype: DType, bytes: &[u8], row_blocks: u64) -> (Vec<u8>, Vec<u8>) {
    let planes = planes(dtype).expect("the caller asked device_dtype");
    if planes.scales == Scales::PerTile {
        return repack_tiles(bytes, row_blocks as usize);
    }
    let blocks = bytes.len() / planes.file_bytes;
    let mut quants = Vec::with_capacity(blocks * planes.quant_bytes as usize);
    let mut scales = Vec::new();
    if planes.scales == Scales::None {
        return (bytes.to_vec(), scales);
    }
    for pair in bytes.chunks(2 * planes.file_bytes) {
        let (a, b) = pair.split_at(planes.file_bytes.min(pair.len()));
        let blocks = || [a, b].into_iter().filter(|block| !block.is_empty());
        // Words that the pair shares: this range of both blocks, zeros where there is no second one.
        let mut share = |range: std::ops::Range<usize>| {
            scales.extend_from_slice(&a[range.clone()]);
            match b.get(range.clone()) {
                Some(second) => scales.extend_from_slice(second),
                None => scales.resize(scales.len() + range.len(), 0),
            }
        };
        match dtype {
            DType::Q4_0 | DType::Q8_0 => {
                blocks().for_each(|b| quants.extend_from_slice(&b[2..]));
                share(0..2);
            }
            DType::Q4_1 => blocks().for_each(|b| {
                quants.extend_from_slice(&b[4..]);
                scales.extend_from_slice(&b[..4]);
            }),
            DType::Q5_0 => {
                blocks().for_each(|b| quants.extend_from_slice(&b[6..]));
                share(2..6);
                share(0..2);
            }
            DType::Q5_1 => blocks().for_each(|b| {
                quants.extend_from_slice(&b[8..]);
                scales.extend_from_slice(&b[4..8]);
                scales.extend_from_slice(&b[..4]);
            }),
            DType::Q2_K => blocks().for_each(|b| {
                quants.extend_from_slice(&b[..80]);
                scales.extend_from_slice(&b[80..]);
            }),
            DType::Q3_K => {
                blocks().for_each(|b| quants.extend_from_slice(&b[..96]));
                share(96..108);
                share(108..110);
            }
            DType::Q6_K => {
                blocks().for_each(|b| quants.extend_from_slice(&b[..208]));
                share(208..210);
            }
            _ => unreachable!("formats without scales returned above"),
        }
    }
    (quants, scales)
}

/// The codes of F8_B32 blocks, and of the scales one per tile.
///
/// # Panics
/// If blocks of a tile differ in scale: such a weight is not FP8 with scales of 128 x 128.
#[track_caller]
fn repack_tiles(bytes: &[u8], row_blocks: usize) -> (Vec<u8>, Vec<u8>) {
    let blocks = bytes.as_chunks::<36>().0;
    let (mut quants, mut scales) = (Vec::with_capacity(blocks.len() * 32), Vec::new());
    for rows in blocks.chunks(row_blocks * TILE_ROWS as usize) {
        let row = &rows[..row_blocks];
        row.chunks(TILE_BLOCKS as usize).for_each(|tile| scales.extend_from_slice(&tile[0][..4]));
        for (at, block) in rows.iter().enumerate() {
            let first = &row[at % row_blocks / TILE_BLOCKS as usize * TILE_BLOCKS as usize];
            assert_eq!(block[..4], first[..4], "a tile of an FP8 weight has one scale");
            quants.extend_from_slice(&block[4..]);
        }
    }
    (quants, scales)
}

/// IQ4_NL's steps (llama.cpp, ggml-common.h).
const IQ4_NL: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The same values in the device's format.
#[must_use]
pub fn convert(dtype: DType, bytes: &[u8]) -> Option<Vec<u8>> {
    (dtype == DType::IQ4_NL).then(|| {
        let mut out = Vec::with_capacity(bytes.len() / 18 * 34);
        for block in bytes.chunks_exact(18) {
            out.extend_from_slice(&block[..2]);
            out.extend(block[2..].iter().map(|q| IQ4_NL[usize::from(q & 15)] as u8));
            out.extend(block[2..].iter().map(|q| IQ4_NL[usize::from(q >> 4)] as u8));
        }
        out
    })
}
