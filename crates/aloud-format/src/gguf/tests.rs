use super::*;
use crate::{DType, GgufWriter, MemorySource, MetaValue};

/// Written by gguf 0.19.0 for Python: three keys, `t.weight` and `n.weight` in F32.
const MINIMAL_HEX: &str = "474755460300000002000000000000000300000000000000140000000000000067656e6572616c2e6172636869746563747572650800000005000000000000006c6c616d6111000000000000006c6c616d612e626c6f636b5f636f756e7404000000010000001500000000000000746f6b656e697a65722e67676d6c2e746f6b656e7309000000080000000200000000000000010000000000000061020000000000000062630800000000000000742e776569676874020000000300000000000000020000000000000000000000000000000000000008000000000000006e2e77656967687401000000010000000000000000000000200000000000000000000000803f0000004000004040000080400000a0400000c04000000000000000000000c0bf00000000000000000000000000000000000000000000000000000000";

fn minimal() -> Vec<u8> {
    let digits = MINIMAL_HEX.as_bytes().as_chunks().0;
    let byte = |&[high, low]: &[u8; 2]| {
        let digit = |c| char::from(c).to_digit(16).unwrap() as u8;
        digit(high) << 4 | digit(low)
    };
    digits.iter().map(byte).collect()
}

fn open(bytes: impl AsRef<[u8]>) -> Result<Gguf, FormatError> {
    pollster::block_on(Gguf::open(&MemorySource::new("m.gguf", bytes)))
}

#[test]
fn the_minimal_file_opens() {
    let gguf = open(minimal()).unwrap();
    assert_eq!((gguf.version, gguf.alignment, gguf.data_offset), (3, 32, 256));
    assert_eq!(gguf.metadata.str("general.architecture"), Ok("llama"));
    assert_eq!(gguf.metadata.u32("llama.block_count"), Ok(1));
    let tokens = gguf.metadata.str_array("tokenizer.ggml.tokens").unwrap();
    assert_eq!(tokens.iter().collect::<Vec<_>>(), ["a", "bc"]);
    let [t, n] = &gguf.tensors[..] else { panic!("two tensors") };
    assert_eq!((t.name.as_str(), t.dtype, &t.shape[..]), ("t.weight", DType::F32, &[2, 3][..]));
    assert_eq!((t.offset, t.n_bytes, n.offset, n.n_bytes), (256, 24, 288, 4));
}

#[test]
fn version_2_and_a_missing_last_pad_are_accepted() {
    let mut bytes = minimal();
    bytes[4] = 2;
    bytes.truncate(292);
    assert_eq!(open(bytes.clone()).unwrap().version, 2);
    bytes.pop();
    let error = open(bytes.clone()).unwrap_err().to_string();
    assert!(error.contains("data of tensor \"n.weight\" needs the file to have 292 bytes"), "{error}");
    bytes.truncate(256);
    let cut = MemorySource::new("cut", bytes);
    assert_eq!(pollster::block_on(Gguf::open_header(&cut)).unwrap().tensors.len(), 2);
}

#[test]
fn every_cut_of_the_header_is_refused() {
    let bytes = minimal();
    for n in 0..292 {
        let error = open(&bytes[..n]).unwrap_err();
        assert!(matches!(error, FormatError::Truncated { .. } | FormatError::Field { .. }), "{n}: {error}");
    }
}

#[test]
fn the_writer_writes_what_is_read() {
    let blocks = vec![7; 2 * 18];
    let bytes = GgufWriter::new()
        .alignment(64)
        .metadata("a.flag", MetaValue::Bool(true))
        .metadata("a.types", MetaValue::i32s([1, -2]))
        .metadata("a.names", MetaValue::strings(["x", "é"]))
        .metadata("a.eps", MetaValue::F32(1e-6))
        .tensor("w", DType::Q4_0, &[2, 32], &blocks)
        .tensor("v", DType::F32, &[1], &[0; 4])
        .finish();
    let gguf = open(bytes).unwrap();
    assert_eq!(gguf.alignment, 64);
    assert_eq!(gguf.metadata.bool("a.flag"), Ok(true));
    assert_eq!(gguf.metadata.i32_array("a.types"), Ok(&[1, -2][..]));
    assert_eq!(gguf.metadata.f32("a.eps"), Ok(1e-6));
    assert_eq!(gguf.tensors[0].shape, [2, 32]);
    assert_eq!(gguf.tensors[1].offset, gguf.data_offset + 64);
}

/// A source that counts what is read of it.
struct Counting {
    inner: MemorySource,
    read_bytes: std::cell::Cell<u64>,
}

impl ByteSource for Counting {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        self.read_bytes.set(self.read_bytes.get() + buf.len() as u64);
        self.inner.read_at(offset, buf).await
    }

    fn name(&self) -> &str {
        self.inner.name()
    }
}

#[test]
fn a_long_header_is_read_in_growing_windows_and_the_data_is_not() {
    let tokens = (0..200_000).map(|n| format!("token {n}"));
    let bytes = GgufWriter::new()
        .metadata("tokenizer.ggml.tokens", MetaValue::strings(tokens))
        .tensor("w", DType::F32, &[4 << 20], &vec![0; 16 << 20])
        .finish();
    let inner = MemorySource::new("m.gguf", bytes);
    let source = Counting { inner, read_bytes: std::cell::Cell::new(0) };
    let gguf = pollster::block_on(Gguf::open(&source)).unwrap();
    let tokens = gguf.metadata.str_array("tokenizer.ggml.tokens").unwrap();
    assert_eq!(tokens.get(199_999), Some("token 199999"));
    assert!(gguf.data_offset > 3 << 20);
    assert_eq!(source.read_bytes.get(), 4 << 20);
}

#[test]
fn parts_are_joined() {
    let part = |no: u16, tensor: &str| {
        let bytes = GgufWriter::new()
            .metadata("split.no", MetaValue::U16(no))
            .metadata("split.count", MetaValue::U16(2))
            .metadata("split.tensors.count", MetaValue::I32(2))
            .tensor(tensor, DType::F32, &[1], &[0; 4])
            .finish();
        MemorySource::new(format!("part {no}"), bytes)
    };
    let model = pollster::block_on(Gguf::open_split(&[part(0, "a"), part(1, "b")])).unwrap();
    let places: Vec<_> = model.tensors.iter().map(|info| (info.name.as_str(), info.file)).collect();
    assert_eq!(places, [("a", 0), ("b", 1)]);

    let error = pollster::block_on(Gguf::open(&part(0, "a"))).unwrap_err().to_string();
    assert!(error.contains("\"split.count\": expected 1, since 1 file was given, found u16 2"), "{error}");
    assert!(pollster::block_on(Gguf::open_header(&part(1, "b"))).is_ok());
}
