//! The report as Markdown.

use crate::Compiled;
use crate::cards::Card;
use crate::gates::{fma_share, per_weight, weights_binding};
use std::fmt::Write;

const HEAD: &str = "\
# Kernels as a GPU's compiler has them

Made by `cargo xtask kernel-report`; do not edit. Every kernel was compiled by ACO, the compiler of Mesa's RADV driver, for GPUs
that were not there, with the checks that the native program turns off. Nothing was run: what stands here is counted in the
compiled code. Of loops, the one that does the work is counted, one turn of it, without loops within it.

- **VGPR, LDS, waves**: registers, bytes of workgroup memory, and subgroups that a SIMD holds at once.
- **VALU, FMA, SALU, VMEM, LDS ops**: instructions of the main loop on vectors, of these multiply-adds (and dot products), on
  scalars, on memory, on workgroup memory. Two that are issued together count as two, a product of matrices as the 16 whose
  time it takes at least. Kernels by cooperative matrices of 8 x 8 are for Apple's GPUs and not here.
- **load**: bytes a lane of the narrowest load of weights; Q2_K and Q6_K have scales among them, four bytes at a time, and a
  group of Q2_K has no more than 8 bytes of codes, which neighbours load beside each other.
- **VALU/weight, ALU share**: vector instructions a weight, and the time they take as a share of the time that the weight's bytes
  take, at the card's published boost clock and bandwidth. Below 0.5, memory decides. `matvec4` multiplies four rows at once.
- **FMA share**: of the vector instructions of a prefill tile. FP8's tiles by subgroups are not judged: no GPU runs them, but a CPU
  that plays one.
";

/// Every card's table.
pub fn markdown(reports: &[(&Card, Vec<Compiled>)]) -> String {
    let mut out = HEAD.to_owned();
    for (card, kernels) in reports {
        let _ = write!(out, "\n## {}: {}, {} GB/s\n\n", card.family, card.name, card.bandwidth);
        out += "| kernel | VGPR | LDS | waves | VALU | FMA | SALU | VMEM | LDS ops | load | VALU/weight | ALU share | FMA share |\n";
        out += "|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
        for compiled in kernels {
            out += &row(compiled, card);
        }
    }
    out
}

fn row(compiled: &Compiled, card: &Card) -> String {
    let figure = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.2}"));
    let counts = compiled.main_loop.as_ref().map_or(" | | | | ".to_owned(), |found| {
        format!("{} | {} | {} | {} | {}", found.valu, found.fma, found.salu, found.vmem, found.lds)
    });
    let weight = per_weight(compiled, card);
    let binding = weights_binding(&compiled.name);
    let loads = binding.zip(compiled.main_loop.as_ref()).map(|(binding, found)| found.loads_of(binding).1);
    let load = loads.map_or(String::new(), |bytes| bytes.to_string());
    format!(
        "| `{}` | {} | {} | {} | {counts} | {load} | {} | {} | {} |\n",
        compiled.name,
        compiled.vgprs,
        compiled.lds_bytes,
        compiled.waves,
        figure(weight.map(|w| w.0)),
        figure(weight.map(|w| w.1)),
        figure(fma_share(compiled)),
    )
}
