//! How many rows at once are multiplied with a weight.

use aloud_ops::DType;

/// A way to multiply many rows with a weight. Sums are f32 in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tile {
    /// Both factors go through workgroup memory as f32; on any device.
    Plain,
    /// Rows are handed round in subgroups of 8 lanes and more.
    Subgroups,
    /// Both factors go through workgroup memory as f16: they are rounded to 11 bits. Needs `shader-f16`.
    Half,
    /// By cooperative matrices, whose factors are f16: what is called tensor cores, matrix cores or `simdgroup_matrix`.
    Matrix,
    /// Threads share a row of the weight, and four rows what is unpacked of it; on any device. What a GPU does with few rows.
    Few,
}

/// So many rows are few: a token with its drafts, or a small batch.
pub const FEW_ROWS: u32 = 8;

impl Tile {
    /// Every one.
    pub const ALL: [Tile; 5] = [Tile::Plain, Tile::Subgroups, Tile::Half, Tile::Matrix, Tile::Few];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Tile::Plain => "plain",
            Tile::Subgroups => "subgroups",
            Tile::Half => "half",
            Tile::Matrix => "matrix",
            Tile::Few => "few",
        }
    }
}

/// What a device has for tiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TileCaps {
    /// Smallest size of subgroups, if they may be used.
    pub subgroup_size: Option<u32>,
    /// Whether kernels may compute with f16.
    pub f16: bool,
    /// Rows and columns of its cooperative matrices, 8 or 16, if their factors are f16 and their sums f32.
    pub matrix: Option<u32>,
    /// Whether the CPU plays the GPU.
    pub is_cpu: bool,
    /// The tile that whoever opened the device wants.
    pub wanted: Option<Tile>,
}

impl TileCaps {
    /// Whether the device has what a tile needs, and the tile is for weights of a format there. Those of f32 stay as they are; in a
    /// tile by subgroups 8 rows share an unpacked weight, too few for a GPU where it is FP8.
    #[must_use]
    pub fn suits(&self, tile: Tile, dtype: DType) -> bool {
        let for_format = match tile {
            Tile::Plain | Tile::Few => true,
            Tile::Subgroups => self.is_cpu || dtype != DType::F8_E4M3,
            Tile::Half | Tile::Matrix => dtype != DType::F32,
        };
        for_format && self.offers(tile)
    }

    /// Whether the device has what a tile needs.
    #[must_use]
    pub fn offers(&self, tile: Tile) -> bool {
        match tile {
            Tile::Plain | Tile::Few => true,
            Tile::Subgroups => self.subgroup_size.is_some_and(|size| size >= 8),
            Tile::Half => self.f16,
            Tile::Matrix => self.f16 && self.matrix.is_some(),
        }
    }

    /// Whether rows are so few that threads share those of the weight, as in a step of one token. A CPU would rather have a tile of
    /// 8 rows, which takes it no longer.
    #[must_use]
    pub fn are_few(&self, rows: u32) -> bool {
        rows <= FEW_ROWS && (!self.is_cpu || self.wanted == Some(Tile::Few))
    }

    /// The one that rounds nothing.
    #[must_use]
    pub fn exact(&self, dtype: DType) -> Tile {
        if self.suits(Tile::Subgroups, dtype) { Tile::Subgroups } else { Tile::Plain }
    }

    /// The tile for weights of a format, without any measurement: the one that is wanted, or halves where there are any. A CPU
    /// gains nothing by them. Cooperative matrices are young in drivers: they are taken once they were seen to say the same.
    #[must_use]
    pub fn tile(&self, dtype: DType) -> Tile {
        let exact = self.exact(dtype);
        let tile = self.wanted.unwrap_or(if self.is_cpu { exact } else { Tile::Half });
        if self.suits(tile, dtype) { tile } else { exact }
    }

    /// The tiles to measure for weights of a format, the default first.
    pub(crate) fn candidates(&self, dtype: DType) -> Vec<Tile> {
        let first = self.tile(dtype);
        let others = [self.exact(dtype), Tile::Half, Tile::Matrix];
        let others = others.into_iter().filter(|&tile| tile != first && self.suits(tile, dtype));
        let all = [first].into_iter().chain(others);
        all.take(if self.wanted.is_some() { 1 } else { usize::MAX }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_takes_halves_and_a_cpu_what_is_exact() {
        let bare = TileCaps::default();
        let sg = TileCaps { subgroup_size: Some(32), ..bare };
        let f16 = TileCaps { f16: true, ..sg };
        let matrix = TileCaps { matrix: Some(16), ..f16 };
        let of = |caps: TileCaps| caps.tile(DType::Q4_K);
        assert_eq!([bare, sg, f16, matrix].map(of), [Tile::Plain, Tile::Subgroups, Tile::Half, Tile::Half]);
        assert_eq!(matrix.candidates(DType::Q4_K), [Tile::Half, Tile::Subgroups, Tile::Matrix]);
        assert_eq!(matrix.candidates(DType::F32), [Tile::Subgroups]);
        assert_eq!(of(TileCaps { subgroup_size: None, ..f16 }), Tile::Half);
        assert_eq!(of(TileCaps { f16: false, ..matrix }), Tile::Subgroups);
        assert_eq!(of(TileCaps { subgroup_size: Some(4), ..bare }), Tile::Plain);
        assert_eq!(of(TileCaps { is_cpu: true, ..matrix }), Tile::Subgroups);
        assert_eq!(matrix.tile(DType::F32), Tile::Subgroups);
        assert_eq!(sg.tile(DType::F8_E4M3), Tile::Plain);
        assert_eq!(TileCaps { is_cpu: true, ..sg }.tile(DType::F8_E4M3), Tile::Subgroups);
        assert_eq!(matrix.candidates(DType::F8_E4M3), [Tile::Half, Tile::Plain, Tile::Matrix]);
    }

    #[test]
    fn a_gpu_knows_few_rows() {
        let (gpu, cpu) = (TileCaps::default(), TileCaps { is_cpu: true, ..TileCaps::default() });
        assert_eq!([1, 2, 8, 9].map(|rows| gpu.are_few(rows)), [true, true, true, false]);
        assert!(!cpu.are_few(2) && TileCaps { wanted: Some(Tile::Few), ..cpu }.are_few(2));
    }

    #[test]
    fn what_is_wanted_is_taken_where_it_can_be() {
        let caps = TileCaps { subgroup_size: Some(8), f16: true, is_cpu: true, ..TileCaps::default() };
        for tile in [Tile::Plain, Tile::Subgroups, Tile::Half] {
            assert_eq!(TileCaps { wanted: Some(tile), ..caps }.tile(DType::Q8_0), tile);
        }
        assert_eq!(TileCaps { wanted: Some(Tile::Matrix), ..caps }.tile(DType::Q8_0), Tile::Subgroups);
        assert_eq!(TileCaps { wanted: Some(Tile::Half), ..caps }.tile(DType::F32), Tile::Subgroups);
        assert_eq!(TileCaps { wanted: Some(Tile::Half), ..caps }.candidates(DType::Q8_0), [Tile::Half]);
        let gpu = TileCaps { is_cpu: false, wanted: Some(Tile::Subgroups), ..caps };
        assert_eq!(gpu.tile(DType::Q8_0), Tile::Subgroups);
    }
}
