//! The sizes that kernels are compiled for: a layer of 4096 values, 32 heads of 128, DeepSeek's latents.

use std::collections::HashMap;

/// Constants by name.
const SIZES: &[(&str, f64)] = &[
    ("K", 4096.0),
    ("X", 4096.0),
    ("N", 4096.0),
    ("N_OUT", 4096.0),
    ("D", 4096.0),
    ("F", 14336.0),
    ("V", 152_064.0),
    ("H", 32.0),
    ("KV", 8.0),
    ("C", 128.0),
    ("P", 64.0),
    ("E", 256.0),
    ("S", 8.0),
    ("N_E", 256.0),
    ("N_GROUP", 8.0),
    ("TOPK_GROUP", 4.0),
    ("VH", 128.0),
    ("HEAD_ROWS", 256.0),
    ("SPLITS", 16.0),
    ("BLOCK", 32.0),
    ("M", 64.0),
    ("WG", 64.0),
    ("ROW_GROUPS", 128.0),
    // What joined kernels do besides counts against them.
    ("NORM", 1.0),
];

/// Where a name means something else, by the beginning of a kernel's name.
const OTHERS: &[(&str, &str, f64)] = &[
    ("attention", "R", 4.0),
    ("project_attention", "R", 4.0),
    ("mla_", "R", 512.0),
    ("mla_", "H", 128.0),
    ("mla_", "N", 128.0),
    ("mla_", "A", 1536.0),
    ("mla_", "W", 24576.0),
    ("mla_", "ROW_GROUPS", 16.0),
    ("mla_", "TOKENS", 1.0),
    ("experts_down", "K", 2048.0),
    ("route", "K", 8.0),
    ("route", "WG", 256.0),
    ("matmul_t", "R", 512.0),
    ("matmul_t", "N", 128.0),
];

/// What a kernel's constants are set to; those that are not here keep what the kernel says.
pub fn of(name: &str, overrides: &[&str]) -> HashMap<String, f64> {
    let mut found: HashMap<String, f64> = HashMap::new();
    for &size in overrides {
        if let Some(&(_, value)) = SIZES.iter().find(|(known, _)| *known == size) {
            found.insert(size.to_owned(), value);
        }
        for &(kernel, known, value) in OTHERS {
            if known == size && name.starts_with(kernel) {
                found.insert(size.to_owned(), value);
            }
        }
    }
    found
}
