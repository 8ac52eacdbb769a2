//! Which variant of a kernel is fastest on a device: measured once, and kept as text by whoever opens the device.
//!
//! Threads share work in another way and so round sums in another order, no more. Tiles may round their factors to halves: of
//! those only what was seen to agree is taken.

use crate::tile::Tile;
use aloud_ops::DType;
use std::fmt;

/// Weights of like width are tuned alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Rows of up to 1,024 values.
    Narrow,
    /// Of up to 4,096.
    Middle,
    /// Of more.
    Wide,
}

impl Width {
    const ALL: [Width; 3] = [Width::Narrow, Width::Middle, Width::Wide];

    /// Of a weight with rows of so many values.
    #[must_use]
    pub fn of(cols: u32) -> Self {
        match cols {
            0..=1024 => Width::Narrow,
            1025..=4096 => Width::Middle,
            _ => Width::Wide,
        }
    }

    /// Its name in the text of a [`Tuning`].
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Width::Narrow => "narrow",
            Width::Middle => "middle",
            Width::Wide => "wide",
        }
    }
}

const FORMATS: usize = 64;

/// One of the ways to multiply rows with a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// One row, by so many threads a workgroup.
    Threads(u32),
    /// Many rows at once.
    Tile(Tile),
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Variant::Threads(threads) => threads.fmt(f),
            Variant::Tile(tile) => tile.name().fmt(f),
        }
    }
}

/// What was found to be fastest, by the format and width of a weight: the threads that share rows of it in a decode step, and
/// the tile for many rows at once.
///
/// As text: `Q4_1/narrow=32 Q4_1/narrow=half Q8_0/wide=64`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    threads: [[u8; Width::ALL.len()]; FORMATS],
    tiles: [[Option<Tile>; Width::ALL.len()]; FORMATS],
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning { threads: [[0; Width::ALL.len()]; FORMATS], tiles: [[None; Width::ALL.len()]; FORMATS] }
    }
}

impl Tuning {
    /// Threads of a workgroup, if they were measured.
    #[must_use]
    pub fn threads(&self, dtype: DType, width: Width) -> Option<u32> {
        let threads = self.threads.get(dtype as usize)?[width as usize];
        (threads > 0).then_some(u32::from(threads))
    }

    /// How many rows at once are multiplied, if that was measured.
    #[must_use]
    pub fn tile(&self, dtype: DType, width: Width) -> Option<Tile> {
        self.tiles.get(dtype as usize)?[width as usize]
    }

    /// Notes what was found. Other numbers than the powers of two from 4 to 128, which no kernel takes, are ignored.
    pub fn set(&mut self, dtype: DType, width: Width, found: Variant) {
        let (row, at) = (dtype as usize, width as usize);
        match found {
            _ if row >= FORMATS => {}
            Variant::Threads(threads) if is_size(threads) => self.threads[row][at] = threads as u8,
            Variant::Threads(_) => {}
            Variant::Tile(tile) => self.tiles[row][at] = Some(tile),
        }
    }

    /// What of it are numbers of threads that a device can have.
    pub(crate) fn among(mut self, sizes: &[u32]) -> Self {
        self.threads.as_flattened_mut().iter_mut().filter(|n| !sizes.contains(&u32::from(**n))).for_each(|n| *n = 0);
        self
    }

    /// From its text. What is not understood, perhaps another version's, counts as not measured.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut tuning = Tuning::default();
        for entry in text.split_whitespace() {
            let found = entry.split_once('=').and_then(|(what, variant)| {
                let (dtype, width) = what.split_once('/')?;
                let dtype = DType::all().find(|known| known.name() == dtype)?;
                let width = Width::ALL.into_iter().find(|known| known.name() == width)?;
                let tile = || Tile::ALL.into_iter().find(|tile| tile.name() == variant);
                let threads = variant.parse().ok().map(Variant::Threads);
                Some((dtype, width, threads.or_else(|| tile().map(Variant::Tile))?))
            });
            if let Some((dtype, width, variant)) = found {
                tuning.set(dtype, width, variant);
            }
        }
        tuning
    }
}

fn is_size(threads: u32) -> bool {
    threads.is_power_of_two() && (4..=128).contains(&threads)
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        for dtype in DType::all() {
            for width in Width::ALL {
                let threads = self.threads(dtype, width).map(Variant::Threads);
                for variant in threads.into_iter().chain(self.tile(dtype, width).map(Variant::Tile)) {
                    write!(f, "{before}{}/{}={variant}", dtype.name(), width.name())?;
                    before = " ";
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tuning({self})")
    }
}

/// What was measured of a format and width: of one row, or of many.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuned {
    /// Format of the weights.
    pub dtype: DType,
    /// Their width.
    pub width: Width,
    /// Shape of the weight that was measured.
    pub shape: [u32; 2],
    /// What was tried, the device's default first: with numbers of threads bytes of weights per second, with tiles multiply-adds
    /// per second. 0 of a tile that was seen to compute something else.
    pub tried: Vec<(Variant, f64)>,
    /// What is used from now on.
    pub chosen: Variant,
}

/// The fastest of what was tried, or the first if that is hardly slower: what differs by noise alone should not change.
pub(crate) fn fastest<T: Copy>(tried: &[(T, f64)]) -> T {
    let best = tried.iter().copied().fold(tried[0], |best, other| if other.1 > best.1 { other } else { best });
    if best.1 > tried[0].1 * 1.05 { best.0 } else { tried[0].0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_says_all_and_nonsense_says_nothing() {
        let mut tuning = Tuning::default();
        tuning.set(DType::Q8_0, Width::Wide, Variant::Threads(64));
        tuning.set(DType::Q4_1, Width::Narrow, Variant::Threads(8));
        tuning.set(DType::Q4_1, Width::Narrow, Variant::Tile(Tile::Half));
        tuning.set(DType::Q4_1, Width::Middle, Variant::Threads(48)); // no power of two
        assert_eq!(tuning.to_string(), "Q4_1/narrow=8 Q4_1/narrow=half Q8_0/wide=64");
        assert_eq!(Tuning::parse(&tuning.to_string()), tuning);
        let text = "Q4_1/narrow=8 Q4_1/narrow=half Q8_0/wide=64 Q8_0/wide=fast Q9/wide=8 Q4_0/narrow=7 F32/wide=4096 = / Q4_0/narrow= \u{0}";
        assert_eq!(Tuning::parse(text), tuning);
        assert!(DType::all().all(|dtype| (dtype as usize) < FORMATS), "every format has a place");
    }

    #[test]
    fn what_a_device_cannot_have_is_not_known() {
        let tuning = Tuning::parse("Q4_1/narrow=8 Q4_1/wide=16 Q8_0/wide=64").among(&[32, 64, 128]);
        assert_eq!(tuning.to_string(), "Q8_0/wide=64");
    }

    #[test]
    fn noise_changes_nothing() {
        assert_eq!(fastest(&[(32, 1.0), (64, 1.04), (8, 0.5)]), 32);
        assert_eq!(fastest(&[(32, 1.0), (64, 1.1), (8, 1.2)]), 8);
    }
}
