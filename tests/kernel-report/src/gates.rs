//! What a kernel must be like.

use crate::Compiled;
use crate::cards::Card;

/// What is wrong with a kernel.
#[derive(Debug)]
pub struct Failure {
    /// Which kernel.
    pub kernel: String,
    /// On which GPU.
    pub family: &'static str,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {}: {}", self.kernel, self.family, self.what)
    }
}

/// ALU time may be so much of memory time in a decode matvec.
const ALU_SHARE: f64 = 0.5;
/// And so much where four rows are multiplied at once.
const FOUR_ROWS_SHARE: f64 = 1.25;
/// So much of a prefill tile's vector instructions must be multiply-adds.
const FMA_SHARE: f64 = 0.6;

/// The format in a kernel's name and its bytes a weight, quants and scales.
const FORMATS: &[(&str, f64)] = &[
    ("f8_e4m3", 1.0),
    ("bf16", 2.0),
    ("f16", 2.0),
    ("f32", 4.0),
    ("q4_0", 18.0 / 32.0),
    ("q4_1", 20.0 / 32.0),
    ("q5_0", 22.0 / 32.0),
    ("q5_1", 24.0 / 32.0),
    ("q8_0", 34.0 / 32.0),
    ("q2_k", 84.0 / 256.0),
    ("q3_k", 110.0 / 256.0),
    ("q4_k", 144.0 / 256.0),
    ("q5_k", 176.0 / 256.0),
    ("q6_k", 210.0 / 256.0),
];

/// Whether scales lie among the quants, where four bytes of them are loaded.
fn scales_among_quants(name: &str) -> bool {
    ["q2_k", "q6_k"].iter().any(|format| name.contains(format))
}

/// Weights of a turn of the main loop of a kernel that multiplies few rows: 8 rows of 32, or 4 of two matrices.
const WEIGHTS: f64 = 256.0;

/// Whether a kernel multiplies few rows with weights.
fn is_matvec(name: &str) -> bool {
    ["matvec_", "matvec4_", "gate_up_", "experts_gate_up_", "experts_down_"].iter().any(|of| name.starts_with(of))
}

/// What no GPU runs, but a CPU that plays one (`TileCaps::suits`).
const OF_CPUS: &[&str] = &["matmul_f8_e4m3_sg", "grouped_matmul_f8_e4m3_sg"];

/// Whether a kernel multiplies many.
fn is_tile(name: &str) -> bool {
    ["matmul_", "grouped_matmul_"].iter().any(|of| name.starts_with(of))
}

fn bytes_of(name: &str) -> Option<f64> {
    FORMATS.iter().find(|(format, _)| name.contains(format)).map(|&(_, bytes)| bytes)
}

/// Vector instructions a weight, and the share of memory time that they take, of a kernel that multiplies few rows.
pub fn per_weight(compiled: &Compiled, card: &Card) -> Option<(f64, f64)> {
    let valu = compiled.main_loop.as_ref()?.valu as f64 / WEIGHTS;
    let bytes = bytes_of(&compiled.name).filter(|_| is_matvec(&compiled.name))?;
    Some((valu, card.alu_share(valu, bytes)))
}

/// Share of multiply-adds among the vector instructions of a kernel that multiplies many rows.
pub fn fma_share(compiled: &Compiled) -> Option<f64> {
    let main_loop = compiled.main_loop.as_ref().filter(|_| is_tile(&compiled.name))?;
    Some(main_loop.fma as f64 / main_loop.valu.max(1) as f64)
}

/// The binding of the weights, if a kernel has any.
pub fn weights_binding(name: &str) -> Option<u32> {
    is_matvec(name).then_some(0)
}

/// Everything that is wrong.
pub fn check(reports: &[(&Card, Vec<Compiled>)]) -> Vec<Failure> {
    let mut failures = Vec::new();
    for (card, kernels) in reports {
        for compiled in kernels {
            let mut fail =
                |what: String| failures.push(Failure { kernel: compiled.name.clone(), family: card.family, what });
            if compiled.spills > 0 {
                fail(format!("{} registers are spilled", compiled.spills));
            }
            if let Some(binding) = weights_binding(&compiled.name) {
                match compiled.main_loop.as_ref().map(|found| found.loads_of(binding)) {
                    None | Some((0, _)) => fail("no loop that loads weights was found".to_owned()),
                    Some((_, narrowest)) if narrowest < 16 && !scales_among_quants(&compiled.name) => {
                        fail(format!("weights are loaded {narrowest} bytes at a time, not 16"));
                    }
                    Some(_) => {}
                }
            }
            let share = per_weight(compiled, card).map_or(0.0, |(_, share)| share);
            let most = if compiled.name.starts_with("matvec4_") { FOUR_ROWS_SHARE } else { ALU_SHARE };
            if card.family == "NAVI31" && share > most {
                fail(format!("arithmetic takes {share:.2} of memory's time, {most} at most"));
            }
            let share = fma_share(compiled).filter(|_| !OF_CPUS.contains(&compiled.name.as_str()));
            if let Some(share) = share.filter(|&share| share < FMA_SHARE) {
                fail(format!("{share:.2} of its vector instructions are multiply-adds, {FMA_SHARE} at least"));
            }
        }
    }
    failures
}
