//! How weights lie on the device: the file's blocks, cut into planes that can be read 16 bytes at a time.
//!
//! The quants of a block go to one plane, what is left (scales, fifth bits) to another, at the same number of bytes, so
//! that no block straddles a word. Blocks whose scale is a single half share words in pairs.

use aloud_ops::DType;
use wgpu::WriteOnly;

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
        DType::Q3_K => (64, Scales::PerPair(23)),
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

    /// Rows that have at most so many bytes on the device, and may be written at once; at least the fewest.
    #[must_use]
    pub fn rows_of(&self, bytes: u64, row_blocks: u64) -> u64 {
        let align = self.row_align();
        let unit_bytes = align * row_blocks * self.quant_bytes + self.scale_bytes(align, row_blocks);
        (bytes / unit_bytes).max(1) * align
    }

    /// Parts of a weight, and slices that are written, begin at multiples of so many rows: no scale of a tile is cut, and
    /// pairs of blocks that share words stay together.
    #[must_use]
    pub fn row_align(&self) -> u64 {
        if self.scales == Scales::PerTile { TILE_ROWS } else { 2 }
    }
}

/// Fills the quants plane and the scales plane of rows of `row_blocks` blocks, straight into memory that the device copies from
/// if that is what they are; the first row is one that a part may begin at.
///
/// # Panics
/// If the planes are not as long as [`Planes`] says.
#[track_caller]
pub fn repack(dtype: DType, bytes: &[u8], row_blocks: u64, quants: WriteOnly<'_, [u8]>, scales: WriteOnly<'_, [u8]>) {
    match dtype {
        DType::Q4_0 => {
            each(bytes, quants, |b: &[u8; 18]| part::<16>(&b[2..]));
            pairs(bytes, scales, |a: &[u8; 18], b| joined::<4>(&[&a[..2], &b[..2]]));
        }
        DType::Q4_1 => {
            each(bytes, quants, |b: &[u8; 20]| part::<16>(&b[4..]));
            each(bytes, scales, |b: &[u8; 20]| part::<4>(&b[..4]));
        }
        DType::Q5_0 => {
            each(bytes, quants, |b: &[u8; 22]| part::<16>(&b[6..]));
            pairs(bytes, scales, |a: &[u8; 22], b| joined::<12>(&[&a[2..6], &b[2..6], &a[..2], &b[..2]]));
        }
        DType::Q5_1 => {
            each(bytes, quants, |b: &[u8; 24]| part::<16>(&b[8..]));
            each(bytes, scales, |b: &[u8; 24]| joined::<8>(&[&b[4..8], &b[..4]]));
        }
        DType::Q8_0 => {
            each(bytes, quants, |b: &[u8; 34]| part::<32>(&b[2..]));
            pairs(bytes, scales, |a: &[u8; 34], b| joined::<4>(&[&a[..2], &b[..2]]));
        }
        DType::Q2_K => {
            each(bytes, quants, |b: &[u8; 84]| joined::<80>(&[&by_pairs(&b[..16]), &by_group(&b[16..80])]));
            each(bytes, scales, |b: &[u8; 84]| part::<4>(&b[80..]));
        }
        DType::Q3_K => {
            each(bytes, quants, |b: &[u8; 110]| by_group(&b[32..96]));
            pairs(bytes, scales, |a: &[u8; 110], b| {
                let [(bits_a, scales_a), (bits_b, scales_b)] =
                    [a, b].map(|b| (third_bits(&b[..32]), scale_halves(&b[96..108])));
                joined::<92>(&[&bits_a, &scales_a, &bits_b, &scales_b, &a[108..], &b[108..]])
            });
        }
        DType::Q6_K => {
            each(bytes, quants, |b: &[u8; 210]| part::<208>(&b[..208]));
            pairs(bytes, scales, |a: &[u8; 210], b| joined::<4>(&[&a[208..], &b[208..]]));
        }
        DType::F8_E4M3 => repack_tiles(bytes, row_blocks as usize, quants, scales),
        _ => {
            let mut quants = quants;
            quants.copy_from_slice(bytes);
        }
    }
}

fn part<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("as long as its plane wants it")
}

fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let (mut all, mut at) = ([0; N], 0);
    for part in parts {
        all[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    all
}

/// What one block has in a plane.
#[track_caller]
fn each<const FILE: usize, const N: usize>(
    bytes: &[u8],
    plane: WriteOnly<'_, [u8]>,
    of: impl Fn(&[u8; FILE]) -> [u8; N],
) {
    plane.into_chunks::<N>().0.write_iter(bytes.as_chunks::<FILE>().0.iter().map(of));
}

/// Words that two blocks share: the second half is zeros where there is no second block.
#[track_caller]
fn pairs<const FILE: usize, const N: usize>(
    bytes: &[u8],
    plane: WriteOnly<'_, [u8]>,
    of: impl Fn(&[u8; FILE], &[u8; FILE]) -> [u8; N],
) {
    let words = bytes.as_chunks::<FILE>().0.chunks(2).map(|pair| of(&pair[0], pair.get(1).unwrap_or(&[0; FILE])));
    plane.into_chunks::<N>().0.write_iter(words);
}

/// The two-bit codes of a superblock of Q2_K or Q3_K, whose bytes hold codes of four groups, group by group: two words of 16, code
/// `4t + b` at bits `2t` of byte `b`.
fn by_group(qs: &[u8]) -> [u8; 64] {
    let words = qs.as_chunks::<4>().0;
    let mut all = [[0; 4]; 16];
    for (i, to) in all.iter_mut().enumerate() {
        let (h, j, half) = (i / 8, i / 2 % 4, i % 2);
        let codes = |t: usize| u32::from_le_bytes(words[8 * h + 4 * half + t]) >> (2 * j) & 0x0303_0303;
        *to = (codes(0) | codes(1) << 2 | codes(2) << 4 | codes(3) << 6).to_le_bytes();
    }
    bytemuck::cast(all)
}

/// Scales S and minima M of a superblock of Q2_K, whose bytes are M and S: of each two groups, bytes of S, S, M, M, the first
/// group's in the low nibbles.
fn by_pairs(bytes: &[u8]) -> [u8; 16] {
    let mut all = part::<16>(bytes);
    for pair in all.as_chunks_mut::<4>().0 {
        let [a, b, c, d] = *pair;
        *pair = [a & 15 | c << 4, b & 15 | d << 4, a >> 4 | c & 0xf0, b >> 4 | d & 0xf0];
    }
    all
}

/// The 16 scales of 6 bits of a superblock of Q3_K: two words of lower nibbles, then one of the upper bits. Those of a group's
/// first half are in the lower half of a word.
fn scale_halves(bytes: &[u8]) -> [u8; 12] {
    let mut words = [0u32; 3];
    for k in 0..16 {
        let low = bytes[k % 8] >> (k / 8 * 4) & 15;
        let high = bytes[8 + k % 4] >> (k / 4 * 2) & 3;
        let (group, half) = (k / 2, k % 2 * 16);
        words[group / 4] |= u32::from(low) << (group % 4 * 4 + half);
        words[2] |= u32::from(high) << (group * 2 + half);
    }
    bytemuck::cast(words.map(u32::to_le_bytes))
}

/// The third bits of a superblock of Q3_K, a word for each group: nibble `2b + t / 2` is of codes `4t + b`, its bits from the
/// highest of the first half with odd `t` and with even `t`, and of the second half with even and with odd `t`.
fn third_bits(bits: &[u8]) -> [u8; 32] {
    let mut words = [0u32; 8];
    for (group, word) in words.iter_mut().enumerate() {
        for (code, byte) in bits.iter().enumerate() {
            let (half, t, b) = (code / 16, code / 4 % 4, code % 4);
            let place = [[2, 3], [1, 0]][half][t % 2] + 4 * (2 * b + t / 2);
            *word |= u32::from(byte >> group & 1) << place;
        }
    }
    bytemuck::cast(words.map(u32::to_le_bytes))
}

/// The codes of F8_B32 blocks, and of the scales one per tile.
///
/// # Panics
/// If blocks of a tile differ in scale: such a weight is not FP8 with scales of 128 x 128.
#[track_caller]
fn repack_tiles(bytes: &[u8], row_blocks: usize, quants: WriteOnly<'_, [u8]>, scales: WriteOnly<'_, [u8]>) {
    let blocks = bytes.as_chunks::<36>().0;
    let mut tiles = Vec::new();
    for rows in blocks.chunks(row_blocks * TILE_ROWS as usize) {
        let row = &rows[..row_blocks];
        tiles.extend(row.chunks(TILE_BLOCKS as usize).map(|tile| part::<4>(&tile[0][..4])));
        for (at, block) in rows.iter().enumerate() {
            let first = &row[at % row_blocks / TILE_BLOCKS as usize * TILE_BLOCKS as usize];
            assert_eq!(block[..4], first[..4], "a tile of an FP8 weight has one scale");
        }
    }
    each(bytes, quants, |b: &[u8; 36]| part::<32>(&b[4..]));
    scales.into_chunks::<4>().0.write_iter(tiles);
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
