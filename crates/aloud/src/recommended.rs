//! How a model's makers recommend to draw tokens.

use crate::error::Error;
use aloud_engine::Sampling;
use aloud_model::ModelError;
use serde_json::Value;

/// What `generation_config.json` says; nothing if it leaves open whether tokens are drawn at all. Numbers that it does not
/// give are off.
pub(crate) fn of_generation_config(json: &[u8]) -> Result<Option<Sampling>, Error> {
    let wrong = |field: &str, expected: &str, found: String| {
        Error::Model(ModelError::Config { field: field.into(), expected: expected.into(), found })
    };
    let json: Value =
        serde_json::from_slice(json).map_err(|e| wrong("generation_config.json", "a JSON object", e.to_string()))?;
    let greedy = Sampling::default();
    let number = |field: &str, off: f32| match &json[field] {
        Value::Null => Ok(off),
        value => value.as_f64().map(|v| v as f32).ok_or_else(|| wrong(field, "a number", value.to_string())),
    };
    Ok(match json["do_sample"].as_bool() {
        None => None,
        Some(false) => Some(greedy),
        Some(true) => Some(Sampling {
            temperature: number("temperature", 1.0)?,
            top_k: number("top_k", 0.0)? as u32,
            top_p: number("top_p", 1.0)?,
            min_p: number("min_p", 0.0)?,
            repetition_penalty: number("repetition_penalty", 1.0)?,
            ..greedy
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makers_recommend_to_draw_or_not_to() {
        let read = |json: &str| of_generation_config(json.as_bytes());
        let r1 = r#"{"do_sample": true, "temperature": 0.6, "top_p": 0.95, "eos_token_id": 1}"#;
        assert_eq!(read(r1).unwrap(), Some(Sampling::r1()));
        let qwen3 = read(r#"{"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95}"#).unwrap();
        assert_eq!(qwen3, Some(Sampling { top_k: 20, ..Sampling::r1() }));
        let greedy = read(r#"{"do_sample": false, "temperature": 0.6}"#).unwrap();
        assert_eq!(greedy, Some(Sampling::default()));
        assert_eq!(read("{}").unwrap(), None);
        let error = read(r#"{"do_sample": true, "top_p": "x"}"#).unwrap_err().to_string();
        assert!(error.contains("top_p") && error.contains("a number"), "{error}");
        assert!(read("[").unwrap_err().to_string().contains("generation_config.json"));
    }
}
