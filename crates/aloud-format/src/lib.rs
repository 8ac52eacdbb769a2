//! GGUF and safetensors: bytes to metadata, tensor tables and quant blocks.
