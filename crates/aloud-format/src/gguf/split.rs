//! Models in several GGUF files: their names, and the keys that hold them together.

use crate::{FormatError, Metadata};

/// The names of all files of a split model, from the name of one: `m-00001-of-00003.gguf` gives
/// three. None if the name is not of that form. A path or URL before the name is kept.
///
/// Source: `llama_split_path` in llama.cpp, `"%s-%05d-of-%05d.gguf"`.
pub fn split_names(first: &str) -> Option<Vec<String>> {
    let stem = first.strip_suffix(".gguf")?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (prefix, number) = rest.rsplit_once('-')?;
    let five_digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    if !five_digits(count) || !five_digits(number) {
        return None;
    }
    let count: u32 = count.parse().ok()?;
    if !(1..=count).contains(&number.parse().ok()?) {
        return None;
    }
    Some((1..=count).map(|number| format!("{prefix}-{number:05}-of-{count:05}.gguf")).collect())
}

/// Refuses `split.no` and `split.count` other than these; a model in one file needs neither.
pub(super) fn check_part(file: &str, metadata: &Metadata, index: usize, count: usize) -> Result<(), FormatError> {
    if count == 1 && metadata.get("split.count").is_none() {
        return Ok(());
    }
    let files = if count == 1 { "file was" } else { "files were" };
    check(file, metadata, "split.count", count, &format!("since {count} {files} given"))?;
    check(file, metadata, "split.no", index, "since the files have to be in order")
}

/// Refuses a `split.tensors.count` other than the number of tensors in all files.
pub(super) fn check_tensor_count(file: &str, metadata: &Metadata, n_tensors: usize) -> Result<(), FormatError> {
    if metadata.get("split.count").is_none() {
        return Ok(());
    }
    check(file, metadata, "split.tensors.count", n_tensors, "the tensors in all files")
}

fn check(file: &str, metadata: &Metadata, key: &str, expected: usize, reason: &str) -> Result<(), FormatError> {
    let found = metadata.get(key);
    match found.map(|value| value.as_u64(key)) {
        Some(Ok(value)) if value == expected as u64 => Ok(()),
        _ => {
            let found = found.map_or_else(|| "nothing".to_owned(), |value| value.describe());
            let field = format!("metadata value \"{key}\"");
            Err(FormatError::field(file, field, format_args!("{expected}, {reason}"), found))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::split_names;

    #[test]
    fn names_of_all_parts() {
        let names = split_names("a/m-00001-of-00003.gguf").unwrap();
        assert_eq!(names, ["a/m-00001-of-00003.gguf", "a/m-00002-of-00003.gguf", "a/m-00003-of-00003.gguf"]);
        assert_eq!(split_names("m-00002-of-00002.gguf").unwrap().len(), 2);
        for name in [
            "m.gguf",
            "m-00001-of-00003",
            "m-1-of-3.gguf",
            "m-00004-of-00003.gguf",
            "m-00000-of-00003.gguf",
            "m-00001-of-00000.gguf",
            "m-+0001-of-00003.gguf",
        ] {
            assert_eq!(split_names(name), None, "{name}");
        }
    }
}
