//! Hostile files must not cost memory: at most a small multiple of the file, whatever it says.
//!
//! One test per binary, since the allocator counts for the whole process.

use aloud_format::{
    DType, Gguf, GgufWriter, MemorySource, MetaArray, MetaValue, Safetensors, ShardIndex, write_safetensors,
};
use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// What parsing may hold beside the file: some fixed room for messages, and this multiple.
/// The dearest are short strings in JSON maps: `"a":"",` is 7 bytes and two `String`s in a tree.
const FIXED_BYTES: usize = 64 << 10;
const MULTIPLE: usize = 16;

/// Opens `bytes` as every format and checks the peak; returns whether one accepted it.
fn check_peak(bytes: Vec<u8>) -> bool {
    let limit_bytes = FIXED_BYTES + MULTIPLE * bytes.len();
    let source = MemorySource::new("m", bytes);
    let before_bytes = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let accepted = pollster::block_on(async {
        let gguf = Gguf::open(&source).await.is_ok();
        let header = Gguf::open_header(&source).await.is_ok();
        let safetensors = Safetensors::open(&source).await.is_ok();
        assert!(header || !gguf, "`open` is the stricter one");
        let index = ShardIndex::parse(&source.bytes).is_ok();
        gguf || safetensors || index
    });
    let peak_bytes = ALLOCATOR.peak_usage() - before_bytes;
    assert!(
        peak_bytes <= limit_bytes,
        "a file of {} bytes took {peak_bytes} bytes, more than {limit_bytes}",
        source.bytes.len()
    );
    accepted
}

fn good_files() -> Vec<Vec<u8>> {
    let tokens = (0..500).map(|n| format!("t{n}"));
    let gguf = GgufWriter::new()
        .metadata("general.architecture", MetaValue::String("qwen2".to_owned()))
        .metadata("general.alignment", MetaValue::U32(32))
        .metadata("qwen2.block_count", MetaValue::U32(2))
        .metadata("qwen2.eps", MetaValue::F32(1e-6))
        .metadata("tokenizer.ggml.add_bos_token", MetaValue::Bool(true))
        .metadata("tokenizer.ggml.tokens", MetaValue::strings(tokens))
        .metadata("tokenizer.ggml.token_type", MetaValue::i32s([1; 500]))
        .metadata("a.flags", MetaValue::Array(MetaArray::Bool(vec![true, false])))
        .tensor("token_embd.weight", DType::Q8_0, &[4, 32], &[1; 4 * 34])
        .tensor("output_norm.weight", DType::F32, &[32], &[0; 128])
        .tensor("blk.0.ffn_down.weight", DType::Q4_K, &[2, 256], &[3; 288])
        .finish();
    let safetensors = write_safetensors(&[
        ("model.embed_tokens.weight", DType::BF16, &[4, 8], &[0; 64]),
        ("model.norm.weight", DType::F32, &[8], &[0; 32]),
        ("lm_head.weight", DType::F8_E4M3, &[4, 8], &[0; 32]),
    ]);
    let index = br#"{"metadata":{"total_size":8},"weight_map":{"a":"m-1","b":"m-2","c":"m-1"}}"#;
    vec![gguf, safetensors, index.to_vec()]
}

/// The files that make the most of each byte.
fn dense_files() -> Vec<Vec<u8>> {
    let mut pairs = GgufWriter::new();
    let mut tensors = GgufWriter::new();
    for n in 0..20_000 {
        pairs = pairs.metadata(&format!("{n:x}"), MetaValue::U8(0));
        tensors = tensors.tensor(&format!("{n:x}"), DType::I8, &[1], &[0]);
    }
    let strings = GgufWriter::new().metadata("k", MetaValue::strings(vec![""; 50_000]));
    let json_of = |json: String| {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json.into_bytes());
        bytes
    };
    let entry = |n: usize| format!(r#""{n:x}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#);
    let entries: Vec<_> = (0..20_000).map(entry).collect();
    let pair = |n: usize| format!(r#""{n:x}":"""#);
    let metadata: Vec<_> = (0..4_000).map(pair).collect();
    let mapped = |n: usize| format!(r#""{n:x}":"m""#);
    let weight_map: Vec<_> = (0..20_000).map(mapped).collect();
    let filed = |n: usize| format!(r#""{n:x}":"{n:x}""#);
    let many_files: Vec<_> = (0..4_000).map(filed).collect();
    let ones = vec!["1"; 50_000].join(",");
    vec![
        pairs.finish(),
        tensors.finish(),
        strings.finish(),
        json_of(format!("{{{}}}", entries.join(","))),
        json_of(format!(r#"{{"__metadata__":{{{}}}}}"#, metadata.join(","))),
        json_of(format!(r#"{{"a":{{"dtype":"U8","shape":[{ones}],"data_offsets":[0,1]}}}}"#)),
        format!(r#"{{"weight_map":{{{}}}}}"#, weight_map.join(",")).into_bytes(),
        format!(r#"{{"weight_map":{{{}}}}}"#, many_files.join(",")).into_bytes(),
        json_of(format!("{{\"a\":{}1{}}}", "[".repeat(50_000), "]".repeat(50_000))),
    ]
}

/// One change to a file.
#[derive(Clone, Debug)]
enum Mutation {
    /// Xor a byte.
    Flip { at: usize, mask: u8 },
    /// Write a number that lengths and counts do badly with.
    Number { at: usize, value: u64 },
    /// Drop a range.
    Cut { at: usize, n: usize },
    /// Copy a range of the file to another place in it.
    Splice { from: usize, to: usize, n: usize },
    /// End the file early.
    Truncate { at: usize },
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let numbers = prop_oneof![
        Just(0),
        Just(u64::MAX),
        Just(1 << 63),
        Just(u64::from(u32::MAX)),
        Just(1 << 30),
        any::<u64>(),
        0..5000_u64
    ];
    // Half of all changes hit the first bytes, where the counts are.
    let at = prop_oneof![0..64_usize, 0..16_384_usize];
    prop_oneof![
        4 => (at.clone(), 1..=255_u8).prop_map(|(at, mask)| Mutation::Flip { at, mask }),
        4 => (at.clone(), numbers).prop_map(|(at, value)| Mutation::Number { at, value }),
        1 => (at.clone(), 1..64_usize).prop_map(|(at, n)| Mutation::Cut { at, n }),
        1 => (at.clone(), at.clone(), 1..256_usize).prop_map(|(from, to, n)| Mutation::Splice { from, to, n }),
        1 => at.prop_map(|at| Mutation::Truncate { at }),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match *mutation {
        Mutation::Flip { at, mask } => bytes[at % len] ^= mask,
        Mutation::Number { at, value } => {
            let at = at % len;
            let end = len.min(at + 8);
            bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
        }
        Mutation::Cut { at, n } => {
            let at = at % len;
            bytes.drain(at..len.min(at + n));
        }
        Mutation::Splice { from, to, n } => {
            let from = from % len;
            let piece = bytes[from..len.min(from + n)].to_vec();
            let to = to % len;
            bytes.splice(to..to, piece);
        }
        Mutation::Truncate { at } => bytes.truncate(at % len),
    }
}

#[test]
fn files_cost_a_small_multiple_of_their_length() {
    for bytes in good_files() {
        assert!(check_peak(bytes));
    }
    for bytes in dense_files() {
        check_peak(bytes);
    }
    // Few seeds, many cases: a case takes microseconds.
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let strategy = (0..3_usize, proptest::collection::vec(mutation(), 1..4));
    TestRunner::new(config)
        .run(&strategy, |(file, mutations)| {
            let mut bytes = good_files().swap_remove(file);
            mutations.iter().for_each(|mutation| mutate(&mut bytes, mutation));
            check_peak(bytes);
            Ok(())
        })
        .unwrap();
}
