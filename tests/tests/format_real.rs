//! Files that the world made: the header of a 7B model and a whole small one.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use aloud_format::{ByteSource, DType, FormatError, Gguf, MetaValue, TensorSet, dequantize};
use pollster::block_on;

/// A file read by ranges, which counts what is read.
struct Asset {
    path: String,
    len_bytes: u64,
    read_bytes: Cell<u64>,
}

impl Asset {
    fn open(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../assets").join(name);
        let path = path.display().to_string();
        let metadata =
            std::fs::metadata(&path).unwrap_or_else(|error| panic!("{path}: {error}; run `cargo xtask assets`"));
        Self { path, len_bytes: metadata.len(), read_bytes: Cell::new(0) }
    }
}

impl ByteSource for Asset {
    fn len(&self) -> u64 {
        self.len_bytes
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        self.read_bytes.set(self.read_bytes.get() + buf.len() as u64);
        File::open(&self.path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(buf)
            })
            .map_err(|error| FormatError::read(&self.path, offset, buf.len(), error))
    }

    fn name(&self) -> &str {
        &self.path
    }
}

#[test]
fn smollm2_opens_whole() {
    let source = Asset::open("SmolLM2-135M-Instruct.Q4_1.gguf");
    let gguf = block_on(Gguf::open(&source)).unwrap();
    assert_eq!((gguf.version, gguf.alignment, gguf.data_offset), (3, 32, 1_785_664));
    assert_eq!(source.read_bytes.get(), 2 << 20, "the header alone, in two windows");
    assert_eq!((gguf.metadata.len(), gguf.tensors.len()), (33, 272));
    assert_eq!(gguf.metadata.str("general.architecture"), Ok("llama"));
    assert_eq!(gguf.metadata.u32("llama.block_count"), Ok(30));
    assert_eq!(gguf.metadata.f32("llama.attention.layer_norm_rms_epsilon"), Ok(1e-5));
    let tokens = gguf.metadata.str_array("tokenizer.ggml.tokens").unwrap();
    let types = gguf.metadata.i32_array("tokenizer.ggml.token_type").unwrap();
    assert_eq!((tokens.len(), types.len()), (49_152, 49_152));
    let count = |dtype| gguf.tensors.iter().filter(|info| info.dtype == dtype).count();
    assert_eq!([DType::Q4_1, DType::F32, DType::Q8_0].map(count), [210, 61, 1]);

    let set = TensorSet::from(gguf);
    let down = set.expect("blk.0.ffn_down.weight", &[576, 1536]).unwrap();
    assert_eq!((down.dtype, down.offset, down.n_bytes), (DType::Q4_1, 31_868_992, 552_960));
    let mut blocks = vec![0; down.n_bytes as usize];
    block_on(down.read(&source, &mut blocks)).unwrap();
    let mut values = vec![0.0; down.n_elems() as usize];
    dequantize(down.dtype, &blocks, &mut values).unwrap();
    // From `gguf.quants.dequantize` on the same tensor; the values are exact in f32, the sum in f64.
    assert_eq!(values[..4], [-0.330_810_55, 0.346_069_34, 0.075_317_38, -0.466_186_52]);
    assert_eq!(values.last(), Some(&-0.181_365_97));
    let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
    assert_eq!(sum, 150.635_772_705_078_12);
}

#[test]
fn the_header_of_r1_distill_qwen_7b_opens() {
    let source = Asset::open("r1-distill-qwen-7b-header.gguf");
    let gguf = block_on(Gguf::open_header(&source)).unwrap();
    assert_eq!(gguf.metadata.str("general.architecture"), Ok("qwen2"));
    assert_eq!(gguf.metadata.u32("qwen2.block_count"), Ok(28));
    assert_eq!(gguf.metadata.u32("tokenizer.ggml.bos_token_id"), Ok(151_646));
    assert_eq!(gguf.metadata.str_array("tokenizer.ggml.tokens").unwrap().len(), 152_064);
    assert_eq!(gguf.metadata.str_array("tokenizer.ggml.merges").unwrap().len(), 151_387);
    assert!(matches!(gguf.metadata.get("tokenizer.chat_template"), Some(MetaValue::String(_))));
    assert_eq!((gguf.tensors.len(), gguf.data_offset), (339, source.len()));
    let set = TensorSet::from(gguf);
    assert!(set.expect("token_embd.weight", &[152_064, 3584]).is_ok());
    assert!(set.expect("blk.27.attn_k.weight", &[512, 3584]).is_ok());
    assert!(set.expect("blk.27.attn_k.bias", &[512]).is_ok());

    let error = block_on(Gguf::open(&source)).unwrap_err().to_string();
    assert!(error.contains("the file is cut short"), "{error}");
}
