//! The model that the program brings along: small, but a reasoning model of DeepSeek-R1's own architecture.

use aloud::{HuggingFaceFiles, MemorySource, ModelFiles};

/// What `-m` calls it, unless there is a file of that name.
pub const NAME: &str = "tiny-r1";

/// A file of the model, as part of the program.
macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../../models/tiny-r1/", $name)).as_slice()
    };
}

const WEIGHTS: &[u8] = file!("model.safetensors");

/// Its files; the weights are not copied.
pub fn files() -> ModelFiles<MemorySource<&'static [u8]>> {
    let name = "model.safetensors";
    ModelFiles::HuggingFace(HuggingFaceFiles {
        name: NAME.into(),
        config: file!("config.json").into(),
        tokenizer: file!("tokenizer.json").into(),
        tokenizer_config: Some(file!("tokenizer_config.json").into()),
        chat_template: Some(include_str!("../../models/tiny-r1/chat_template.jinja").into()),
        generation_config: Some(file!("generation_config.json").into()),
        index: None,
        weights: vec![(name.into(), MemorySource::new(name, WEIGHTS))],
    })
}

/// What those learn who named no model.
pub fn line() -> String {
    let size = crate::text::bytes(WEIGHTS.len() as u64);
    format!("model: {NAME}, built in ({size}; knows stacks of boxes and sums); -m FILE for another")
}

#[cfg(test)]
mod tests {
    use super::*;
    use aloud::{Header, Sampling};

    #[test]
    fn it_is_a_reasoning_model_that_is_small_and_greedy() {
        let header = pollster::block_on(Header::read(&files())).expect("is a model");
        assert!(WEIGHTS.len() <= 8_000_000, "{} bytes", WEIGHTS.len());
        assert!(header.is_r1() && header.think_ids().is_some());
        assert_eq!(header.config.architecture.hugging_face, "DeepseekV3ForCausalLM");
        assert_eq!(header.recommended_sampling(), Sampling::default());
    }
}
