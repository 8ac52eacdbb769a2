//! GPUs, with what their makers publish.

/// A GPU.
#[derive(Debug)]
pub struct Card {
    /// As Mesa names it.
    pub family: &'static str,
    /// A card of that family.
    pub name: &'static str,
    /// Compute units, each with 64 lanes.
    compute_units: f64,
    /// Boost clock in GHz.
    clock: f64,
    /// Memory bandwidth in GB/s.
    pub bandwidth: f64,
}

/// Those that are reported; figures are AMD's own (amd.com, product specifications).
pub const CARDS: [Card; 4] = [
    Card { family: "NAVI31", name: "Radeon RX 7900 XTX", compute_units: 96.0, clock: 2.5, bandwidth: 960.0 },
    Card { family: "GFX1201", name: "Radeon RX 9070 XT", compute_units: 64.0, clock: 2.97, bandwidth: 640.0 },
    Card { family: "NAVI21", name: "Radeon RX 6900 XT", compute_units: 80.0, clock: 2.25, bandwidth: 512.0 },
    Card { family: "PHOENIX", name: "Radeon 780M, DDR5-5600", compute_units: 12.0, clock: 2.7, bandwidth: 89.6 },
];

impl Card {
    /// Share of the time that memory takes for a weight in which `valu` instructions a weight keep the lanes busy; instructions
    /// that are issued two at a time count as two.
    pub fn alu_share(&self, valu: f64, bytes: f64) -> f64 {
        let alu = valu / (self.compute_units * 64.0 * self.clock);
        alu / (bytes / self.bandwidth)
    }
}
