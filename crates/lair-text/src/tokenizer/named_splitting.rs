//! By which names GGUF files call the pre-tokenizer of a `tokenizer.json`, found by comparing how both split.

use serde_json::Value;

use super::error::TokenizerError;
use super::json_stages::pre_tokenizing;
use super::pre_tokenizers;
use super::split::Splitter;

/// The names of pre-tokenizers that split as the `pre_tokenizer` of this `tokenizer.json` does, and take whole words or
/// not as its model does. All of them mean the same; those whose model takes whole words alike stand first.
///
/// # Errors
/// If it uses a part that is not supported.
pub fn pre_tokenizer_names(tokenizer_json: &Value) -> Result<Vec<&'static str>, TokenizerError> {
    let splitter = Splitter::from_steps(pre_tokenizing(&tokenizer_json["pre_tokenizer"])?.steps)?;
    let takes_whole_words = tokenizer_json["model"]["ignore_merges"].as_bool() == Some(true);
    let mut rows = Vec::new();
    for row in pre_tokenizers::ALL.iter().filter(|row| !row.escapes_spaces) {
        if Splitter::from_patterns(row.patterns)?.splits_like(&splitter) {
            rows.push(row);
        }
    }
    rows.sort_by_key(|row| row.takes_whole_words != takes_whole_words);
    Ok(rows.into_iter().flat_map(|row| row.names).copied().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_published_splitting_is_found_by_its_expression() {
        let byte_level =
            |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": use_regex});
        let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"});
        let file = |stages: Value, whole: bool| json!({"model": {"ignore_merges": whole}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": stages}});
        let check = |file: Value, expected: &str| {
            let names = pre_tokenizer_names(&file).expect("supported");
            assert_eq!(names.first(), Some(&expected), "{names:?}");
        };
        check(file(json!([byte_level(true)]), false), "gpt-2");
        check(file(json!([{"type": "Digits", "individual_digits": true}, byte_level(true)]), false), "starcoder");
        let llama3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        check(file(json!([split(llama3), byte_level(false)]), true), "llama3");
        check(file(json!([split(llama3), byte_level(false)]), false), "dbrx");
        let qwen2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        check(file(json!([split(qwen2), byte_level(false)]), false), "stablelm2");
        let other = pre_tokenizer_names(&file(json!([split("x+y"), byte_level(false)]), false)).expect("supported");
        assert!(other.is_empty(), "{other:?}");
    }
}
