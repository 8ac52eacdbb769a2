//! Resolves every permutation of `permutations.txt` with WESL, validates it with naga and writes `Kernel` constants.

use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs};

/// Overrides that imported modules declare.
const IMPORTED_SIZES: &[&str] = &["ROW_GROUPS", "C", "INTERLEAVED", "EPS", "A", "R", "P", "BLOCK"];

/// Sizes of arrays in workgroup memory, as large as `select` sets them at most.
const LARGEST_SIZES: &[(&str, u32)] =
    &[("WG", 128), ("THREADS", 64), ("SPLITS", 64), ("R", 512), ("VH", 128), ("E", 1024), ("N_GROUP", 64), ("K", 32)];

/// What a permutation's feature needs that is said at the head of the module: feature, extensions.
const ENABLES: &[(&str, &[&str])] =
    &[("sg", &["subgroups"]), ("half", &["f16"]), ("coop", &["f16", "subgroups", "wgpu_cooperative_matrix"])];

/// A line of the table with its pattern filled in.
struct Permutation {
    name: String,
    file: String,
    features: Vec<String>,
}

impl Permutation {
    fn enables(&self) -> Vec<&'static str> {
        let needed = ENABLES.iter().filter(|(feature, _)| self.features.iter().any(|f| f == feature));
        needed.flat_map(|(_, extensions)| extensions.iter().copied()).collect()
    }
}

fn main() {
    println!("cargo:rerun-if-changed=permutations.txt");
    println!("cargo:rerun-if-changed=wgsl");
    let out_dir = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let sources = Path::new(&out_dir).join("wgsl");
    copy_sources(Path::new("wgsl"), &sources);
    let table = fs::read_to_string("permutations.txt").expect("permutations.txt is beside build.rs");
    let prefixes = prefixes(&sources);
    let mut parts = Vec::new();
    let mut kernels = String::new();
    let mut names = Vec::new();
    let in_browser = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|target| target == "wasm32");
    for permutation in permutations(&table) {
        // What no browser takes, or is told to, would only make pages larger.
        if in_browser && permutation.features.iter().any(|feature| ["coop", "i8"].contains(&feature.as_str())) {
            continue;
        }
        let wgsl = resolve(&sources, &prefixes, &permutation);
        let wgsl = if in_browser { without_spaces(&wgsl) } else { wgsl };
        let constant = permutation.name.to_uppercase();
        kernels.push_str(&kernel(&constant, &permutation, &wgsl, &mut parts));
        names.push(constant);
    }
    let list: String = names.iter().fold(String::new(), |list, name| list + "&" + name + ", ");
    let hash = fnv1a(parts.iter().chain([&kernels]).flat_map(|text| text.bytes()));
    let out = format!(
        "// Made by build.rs.\n/// Of all kernels' texts.\npub const HASH: u64 = {hash:#x};\n/// Every kernel.\npub static ALL: &[&Kernel] = &[{list}];\nstatic PARTS: &[&str] = &{parts:?};\n{kernels}"
    );
    let path = Path::new(&out_dir).join("kernels.rs");
    fs::write(path, out).expect("OUT_DIR is writable");
}

/// A hash that stays the same from one compiler to the next (Fowler, Noll and Vo).
fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Copies the sources, with every module of `quant/` a second time as `second/`, for kernels that read two weights: there
/// the planes are bindings 5 and 6.
fn copy_sources(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("OUT_DIR is writable");
    for entry in fs::read_dir(from).expect("a folder of shaders") {
        let path = entry.expect("a shader").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_sources(&path, &target);
            continue;
        }
        let text = fs::read_to_string(&path).expect("shaders are text");
        if from.ends_with("quant") {
            let second = to.with_file_name("second");
            fs::create_dir_all(&second).expect("OUT_DIR is writable");
            fs::write(second.join(path.file_name().expect("a name")), second_weight(&path, &text))
                .expect("OUT_DIR is writable");
        }
        fs::write(target, text).expect("OUT_DIR is writable");
    }
}

/// A module of `quant/` for a second weight of the same format and width.
fn second_weight(path: &Path, text: &str) -> String {
    let name = path.file_stem().expect("a name").to_string_lossy();
    let is_size = |line: &str| IMPORTED_SIZES.iter().any(|size| line.starts_with(&format!("override {size}:")));
    let sizes = IMPORTED_SIZES.iter().filter(|size| text.contains(&format!("override {size}:")));
    let imports: String = sizes.map(|size| format!("import package::quant::{name}::{size};\n")).collect();
    let rest = text.lines().filter(|line| !is_size(line)).collect::<Vec<_>>().join("\n");
    imports + &rest.replace("@binding(0)", "@binding(5)").replace("@binding(1)", "@binding(6)")
}

fn permutations(table: &str) -> Vec<Permutation> {
    let lines = || table.lines().map(|l| l.split('#').next().unwrap_or("").trim()).filter(|l| !l.is_empty());
    // `name = word word`: what `{name}` stands for.
    let lists: Vec<(String, Vec<&str>)> = lines()
        .filter_map(|l| l.split_once(" = "))
        .map(|(name, words)| (format!("{{{name}}}"), words.split_whitespace().collect()))
        .collect();
    let mut all = Vec::new();
    for line in lines().filter(|l| !l.contains(" = ")) {
        let list = lists.iter().find(|(pattern, _)| line.contains(pattern));
        let (pattern, fill) = list.map_or(("", &[""][..]), |(pattern, words)| (pattern, words));
        for word in fill {
            let line = if pattern.is_empty() { line.to_owned() } else { line.replace(pattern, word) };
            let mut words = line.split_whitespace().map(str::to_owned);
            let (name, file) = (words.next().expect("a name"), words.next().expect("a file"));
            all.push(Permutation { name, file, features: words.collect() });
        }
    }
    all
}

/// What WESL puts before the names of each imported module, and what stands there instead: nothing, or which weight it reads.
fn prefixes(sources: &Path) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    for (folder, plain) in [("helpers", ""), ("quant", ""), ("second", "second_")] {
        for entry in fs::read_dir(sources.join(folder)).expect("a folder of modules") {
            let path = entry.expect("a module").path();
            let module = path.file_stem().expect("a name").to_string_lossy().into_owned();
            // WESL puts their number before names with underscores.
            let escaped = match module.matches('_').count() {
                0 => module,
                n => format!("_{n}{module}"),
            };
            let prefix = format!("package_{folder}_{escaped}_");
            found.extend((1..=3).map(|n| (format!("{prefix}_{n}"), plain)));
            found.push((prefix, plain));
        }
    }
    found
}

fn resolve(sources: &Path, prefixes: &[(String, &str)], permutation: &Permutation) -> String {
    let mut wesl = wesl::Wesl::new(sources);
    // naga validates; WESL's own check does not know `dot4I8Packed`.
    wesl.set_options(wesl::CompileOptions { validate: false, ..wesl::CompileOptions::default() });
    wesl.set_missing_feature_behavior(false);
    for feature in &permutation.features {
        wesl.set_feature(feature, true);
    }
    let root = format!("package::{}", permutation.file).parse().expect("a module path");
    let compiled = wesl.compile(&root).unwrap_or_else(|e| panic!("{}: {e}", permutation.name));
    with_plain_names(&compiled.to_string(), prefixes)
}

/// Names as the modules have them: kernels of different formats then share most of their text. The sizes that imported
/// modules declare come before all else, since naga 30 fails on an override behind an array whose length is one.
fn with_plain_names(wgsl: &str, prefixes: &[(String, &str)]) -> String {
    let plain = |text: String| prefixes.iter().fold(text, |text, (prefix, plain)| text.replace(prefix, plain));
    let (imported, rest): (Vec<&str>, Vec<&str>) = wgsl.lines().partition(|l| l.starts_with("override package_"));
    let mut text = String::new();
    for line in imported {
        let line = plain(line.to_owned());
        assert!(IMPORTED_SIZES.contains(&size_of(&line)), "nobody sets the imported {line}");
        text += &(line + "\n\n");
    }
    text += &plain(rest.join("\n"));
    assert!(!text.contains("package_"), "a name keeps its module's path:\n{text}");
    text
}

/// For pages that load it: every declaration on a line, without the spaces that part no words. Operators keep theirs, since `- -` is
/// not `--` and `> =` not `>=`.
fn without_spaces(wgsl: &str) -> String {
    assert!(!wgsl.contains("//"), "a comment would hide what comes behind it");
    let part = |part: &str| {
        let mut text = part.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        for mark in [",", ";", ":", "{", "}", "(", ")"] {
            text = text.replace(&format!(" {mark}"), mark).replace(&format!("{mark} "), mark);
        }
        text
    };
    wgsl.split("\n\n").map(part).collect::<Vec<_>>().join("\n\n")
}

/// The name that a line `override NAME: ...` declares, or nothing.
fn size_of(line: &str) -> &str {
    line.strip_prefix("override ").and_then(|rest| rest.split(':').next()).unwrap_or_default().trim()
}

/// The kernel with its arrays as large as they become.
fn at_largest(wgsl: &str) -> String {
    let lines = wgsl.lines().map(|line| match LARGEST_SIZES.iter().find(|(name, _)| *name == size_of(line)) {
        Some((name, most)) => format!("const {name} = {most}u;"),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The extensions that naga wants to be enabled; of subgroups it knows, and rejects the line.
fn naga_head(enables: &[&str]) -> String {
    enables.iter().filter(|name| **name != "subgroups").map(|name| format!("enable {name};\n")).collect()
}

fn parse(name: &str, head: &str, wgsl: &str) -> naga::Module {
    let text = format!("{head}{wgsl}");
    naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)))
}

/// Every device that WebGPU runs on has this much; kernels with subgroups may assume no more of the rest. Where there are fewer
/// than 10 storage bindings, two kernels do what `mla_project_query` does.
fn check_portable(name: &str, head: &str, wgsl: &str, n_bindings: usize) {
    let most = if name.starts_with("mla_project_query") { 10 } else { 8 };
    assert!(n_bindings <= most, "{name}: {n_bindings} storage bindings, expected {most} at most");
    let module = parse(name, head, &at_largest(wgsl));
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let shared = module.global_variables.iter().filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup);
    let bytes: u32 = shared
        .map(|(_, v)| match module.types[v.ty].inner {
            naga::TypeInner::Array { size: naga::ArraySize::Pending(_), .. } => {
                panic!("{name}: {:?} has a size that `LARGEST_SIZES` does not know", v.name)
            }
            _ => layouter[v.ty].size,
        })
        .sum();
    // Whoever has cooperative matrices has more.
    let most = if head.contains("cooperative") { 32768 } else { 16384 };
    assert!(bytes <= most, "{name}: {bytes} bytes of workgroup memory, expected {most} at most");
    for entry in &module.entry_points {
        let threads: u32 = entry.workgroup_size.iter().product();
        assert!(threads <= 256, "{name}: {threads} threads, a portable kernel has 256");
    }
}

/// The constant's source: text as numbers of `parts`, bindings in order, overrides, extensions.
fn kernel(constant: &str, permutation: &Permutation, wgsl: &str, parts: &mut Vec<String>) -> String {
    let name = &permutation.name;
    let enables = permutation.enables();
    let head = naga_head(&enables);
    let module = parse(name, &head, wgsl);
    let mut capabilities = naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    capabilities.set(naga::valid::Capabilities::SUBGROUP, enables.contains(&"subgroups"));
    capabilities.set(naga::valid::Capabilities::SHADER_FLOAT16, enables.contains(&"f16"));
    capabilities.set(naga::valid::Capabilities::COOPERATIVE_MATRIX, enables.contains(&"wgpu_cooperative_matrix"));
    let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities);
    validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE);
    validator.subgroup_operations(naga::valid::SubgroupOperationSet::all());
    validator.validate(&module).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&format!("{head}{wgsl}"))));
    let mut bindings = BTreeMap::new();
    for (_, variable) in module.global_variables.iter() {
        if let (Some(binding), naga::AddressSpace::Storage { access }) = (&variable.binding, variable.space) {
            let own = variable.name.clone().expect("bindings have names");
            bindings.insert(binding.binding, (own, access.contains(naga::StorageAccess::STORE)));
        }
    }
    check_portable(name, &head, wgsl, bindings.len());
    let bindings = bindings.iter().fold(String::new(), |list, (index, (name, write))| {
        list + &format!("Binding {{ index: {index}, name: {name:?}, writable: {write} }}, ")
    });
    let overrides = module
        .overrides
        .iter()
        .fold(String::new(), |list, (_, o)| list + &format!("{:?}, ", o.name.as_deref().unwrap_or("")));
    let numbers: Vec<usize> = wgsl
        .split("\n\n")
        .map(|part| {
            parts.iter().position(|known| known == part).unwrap_or_else(|| {
                parts.push(part.to_owned());
                parts.len() - 1
            })
        })
        .collect();
    format!(
        "/// Kernel `{name}`.\npub static {constant}: Kernel = Kernel {{ name: {name:?}, parts: &{numbers:?}, bindings: &[{bindings}], \
         overrides: &[{overrides}], enables: &{enables:?} }};\n"
    )
}
