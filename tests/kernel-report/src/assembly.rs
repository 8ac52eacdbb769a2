//! Reading what ACO, RADV's compiler, writes: blocks `BB7:`, branches to them, one instruction a line. Where nobody can
//! disassemble a GPU's code, that is ACO's own listing, which is brought into the same form.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Instructions of one turn of a loop.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Loop {
    /// On vectors.
    pub valu: u64,
    /// Of these: multiply-adds, dot products and matrix products.
    pub fma: u64,
    /// On scalars.
    pub salu: u64,
    /// Loads and stores of memory.
    pub vmem: u64,
    /// Loads and stores of workgroup memory.
    pub lds: u64,
    /// Loads by number of their binding, and their bytes a lane.
    pub loads: Vec<(u32, u64)>,
}

impl Loop {
    /// Loads of a binding: how many, and bytes a lane of the narrowest.
    pub fn loads_of(&self, binding: u32) -> (usize, u64) {
        let of = || self.loads.iter().filter(|load| load.0 == binding).map(|load| load.1);
        (of().count(), of().min().unwrap_or(0))
    }
}

/// The loop that matters most, without loops within it: of those that read `binding` the one with the most instructions on
/// vectors, or with the most and densest multiply-adds if no binding is given. `bindings` are the numbers of the bindings in
/// the order of their descriptors.
pub fn main_loop(assembly: &str, bindings: &[u32], binding: Option<u32>) -> Option<Loop> {
    let lines: Vec<String> = assembly.lines().map(plain).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let labels: HashMap<&str, usize> =
        lines.iter().enumerate().filter_map(|(i, line)| Some((line.strip_suffix(':')?, i))).collect();
    let mut loops: Vec<(usize, usize)> = Vec::new();
    for (end, line) in lines.iter().enumerate() {
        let mut words = line.split_whitespace();
        let is_branch = words.next().is_some_and(|word| word.starts_with("s_cbranch") || word == "s_branch");
        if let Some(&begin) = words.next().filter(|_| is_branch).and_then(|label| labels.get(label))
            && begin < end
        {
            loops.push((begin, end));
        }
    }
    // Several branches back to one label are one loop.
    loops.sort_unstable();
    loops = loops.chunk_by(|a, b| a.0 == b.0).map(|same| same[same.len() - 1]).collect();
    let within = |line: usize, of: &(usize, usize)| {
        loops
            .iter()
            .any(|inner| inner != of && inner.0 >= of.0 && inner.1 <= of.1 && (inner.0..=inner.1).contains(&line))
    };
    let descriptors = Descriptors::of(&lines, bindings);
    let found: Vec<Loop> = loops
        .iter()
        .map(|of| count((of.0..=of.1).filter(|&line| !within(line, of)).map(|line| (line, lines[line])), &descriptors))
        .collect();
    let reads = |found: &&Loop| binding.is_none_or(|binding| found.loads_of(binding).0 > 0);
    let work = |found: &&Loop| if binding.is_some() { found.valu } else { found.fma * found.fma / found.valu.max(1) };
    found.iter().filter(reads).max_by_key(work).cloned()
}

/// A line without its comment. Of ACO's listing, `v4: %39:v[12-15] = buffer_load_dwordx4 %37:s[8-11], %38:v[9], 0 offen` is
/// `buffer_load_dwordx4 v[12:15], s[8:11], v[9], 0 offen`, and `s_branch block:BB2` goes to `BB2`, whose label is `BB2`.
fn plain(line: &str) -> String {
    let line = line.split(';').next().unwrap_or("").trim();
    if line.strip_prefix("BB").is_some_and(|rest| rest.parse::<u32>().is_ok()) {
        return format!("{line}:");
    }
    // Two instructions at once.
    line.split(" :: ").map(plain_instruction).collect::<Vec<_>>().join(" :: ")
}

fn plain_instruction(line: &str) -> String {
    let line = line.trim().replace("block:", "");
    let Some((defined, rest)) = line.split_once(" = ") else { return line };
    let (op, operands) = rest.split_once(' ').unwrap_or((rest, ""));
    let defined = defined.split_once(": ").map_or(defined, |(_, registers)| registers);
    let operands = [defined].into_iter().chain(operands.split(", ")).map(|operand| {
        let operand = operand.trim();
        let operand = operand.split_once(':').filter(|_| operand.starts_with('%')).map_or(operand, |(_, of)| of);
        operand.replace('-', ":")
    });
    format!("{op} {}", operands.collect::<Vec<_>>().join(", "))
}

/// Instructions that take as long as a product of two matrices of 16 x 16: 4096 multiply-adds, of which the matrix units of RDNA 3
/// do 128 at once and those of RDNA 4 256 (AMD's published peaks, of a SIMD).
const MATRIX_PRODUCT: u64 = 16;

fn count<'a>(lines: impl Iterator<Item = (usize, &'a str)>, descriptors: &Descriptors) -> Loop {
    let mut found = Loop::default();
    for (at, line) in lines {
        let (op, operands) = line.split_once(' ').unwrap_or((line, ""));
        if op.starts_with("v_") {
            found.valu += 1;
            // Two instructions at once: `v_dual_fmac_f32 ... :: v_dual_mov_b32 ...`.
            let parts: Vec<&str> = line.split("::").collect();
            found.valu += parts.len() as u64 - 1;
            let is_fma = |part: &&&str| ["fma", "mac", "dot", "wmma"].iter().any(|name| opcode(part).contains(name));
            found.fma += parts.iter().filter(is_fma).count() as u64;
            if op.contains("wmma") {
                found.valu += MATRIX_PRODUCT - 1;
                found.fma += MATRIX_PRODUCT - 1;
            }
        } else if op.starts_with("s_") {
            found.salu += 1;
        } else if op.starts_with("ds_") {
            found.lds += 1;
        } else if op.starts_with("buffer_") || op.starts_with("global_") {
            found.vmem += 1;
            if op.contains("load")
                && let Some(binding) = descriptors.binding(operands, at)
            {
                found.loads.push((binding, bytes(op)));
            }
        }
    }
    found
}

fn opcode(part: &str) -> &str {
    part.split_whitespace().next().unwrap_or("")
}

/// Bytes a lane that an instruction loads.
fn bytes(op: &str) -> u64 {
    match op.rsplit('_').next().unwrap_or("") {
        "b128" | "dwordx4" => 16,
        "b96" | "dwordx3" => 12,
        "b64" | "dwordx2" => 8,
        "b32" | "dword" => 4,
        "b16" | "u16" | "i16" | "ushort" | "sshort" => 2,
        _ => 1,
    }
}

/// Which registers hold which binding's descriptor, from which line on.
struct Descriptors {
    loaded: Vec<(usize, u64, u32)>,
}

impl Descriptors {
    /// Descriptors of 16 bytes lie side by side; `s_load_b128 s[8:11], s[2:3], 0x10` loads that of the second binding.
    fn of(lines: &[&str], bindings: &[u32]) -> Self {
        let mut loaded = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let (op, operands) = line.split_once(' ').unwrap_or((line, ""));
            if !op.starts_with("s_load_") {
                continue;
            }
            let words: Vec<&str> = operands.split(", ").collect();
            let (Some(registers), Some(offset)) = (registers(words[0]), words.get(2).map(|word| number(word))) else {
                continue;
            };
            for (i, register) in (registers.0..registers.1).step_by(4).enumerate() {
                if let Some(&binding) = bindings.get(offset as usize / 16 + i) {
                    loaded.push((at, register, binding));
                }
            }
        }
        Descriptors { loaded }
    }

    /// The binding that a load reads.
    fn binding(&self, operands: &str, line: usize) -> Option<u32> {
        let register = operands.split(", ").find_map(|word| registers(word.trim()))?.0;
        let before = self.loaded.iter().filter(|&&(at, of, _)| of == register && at < line);
        before.max_by_key(|loaded| loaded.0).or_else(|| self.loaded.iter().find(|l| l.1 == register)).map(|l| l.2)
    }
}

/// `s[8:11]`: the first register, and the one after the last.
fn registers(word: &str) -> Option<(u64, u64)> {
    let (first, last) = word.strip_prefix("s[")?.strip_suffix(']')?.split_once(':')?;
    Some((first.parse().ok()?, last.parse::<u64>().ok()? + 1))
}

/// `0x30` or `48`, or `null` for nothing.
fn number(word: &str) -> u64 {
    let word = word.trim();
    let hex = word.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    hex.or_else(|| word.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
BB0:
	s_load_b128 s[8:11], s[2:3], 0x10                           ; f4080201
	s_load_b256 s[12:19], s[2:3], null                          ; f4080301
	s_cbranch_scc0 BB9                                          ; bfa10662
BB1:
	v_mov_b32_e32 v1, 0                                         ; 7e020280
BB2:
	buffer_load_b128 v[12:15], v9, s[8:11], 0 offen             ; e05c0000
	buffer_load_b32 v2, v9, s[12:15], 0 offen                   ; e05c0000
	v_fmac_f32_e32 v3, v1, v2                                   ; 1
	v_dual_fmac_f32 v4, v1, v2 :: v_dual_mov_b32 v5, v6         ; 2
	ds_load_b128 v[0:3], v0 offset:16                           ; 3
	s_cbranch_scc1 BB2                                          ; 4
BB3:
	v_mov_b32_e32 v1, 0                                         ; 7e020280
	s_branch BB1                                                ; 5
BB9:
	s_endpgm                                                    ; 6
";

    const LISTING: &str = "\
BB0
	 s4: %93:s[12-15] = s_load_dwordx4 %7:s[2-3], 16
BB2
/* logical preds: BB1, BB10, / linear preds: BB1, BB10, / kind: loop-header, branch, */
	 v4: %39:v[12-15] = buffer_load_dwordx4 %93:s[12-15], %38:v[9], 0 offset:16 offen storage:buffer
	 v1: %40:v[3] = v_dual_fmac_f32 %1:v[1], %2:v[2], %3:v[3] :: v1: %41:v[4] = v_dual_fmac_f32 %1:v[1], %2:v[2], %3:v[4]
	s_branch block:BB2
";

    #[test]
    fn a_listing_is_read_as_assembly_is() {
        let found = main_loop(LISTING, &[0, 2], Some(2)).expect("a loop");
        assert_eq!((found.valu, found.fma, found.loads_of(2)), (2, 2, (1, 16)));
    }

    #[test]
    fn loops_are_counted_without_those_within_them() {
        let outer = main_loop(&TEXT.replace("v_fmac_f32_e32", "s_nop"), &[0, 2], None).expect("a loop");
        assert_eq!(outer.valu, 2);
        let found = main_loop(TEXT, &[0, 2], None).expect("a loop");
        assert_eq!((found.valu, found.fma, found.salu, found.vmem, found.lds), (3, 2, 1, 2, 1));
        assert_eq!((found.loads_of(2), found.loads_of(0)), ((1, 16), (1, 4)));
        assert_eq!(main_loop(TEXT, &[0, 2], Some(7)), None);
    }
}
