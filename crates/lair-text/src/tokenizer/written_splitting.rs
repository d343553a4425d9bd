//! The pre-tokenizer of a GGUF file as `tokenizer.json` writes it: the way back from a name.

use serde_json::{Value, json};

use super::pre_tokenizers;
use super::split::Pattern;

/// The `pre_tokenizer` of a byte-level `tokenizer.json` that splits as GGUF files with this name do, and whether its model
/// takes whole words that are tokens (`ignore_merges`); `None` where no part of `tokenizer.json` splits so.
pub fn pre_tokenizer_json(name: &str) -> Option<(Value, bool)> {
    let row = pre_tokenizers::ALL.iter().find(|row| row.names.contains(&name) && !row.escapes_spaces)?;
    let split = |pattern: &str, behavior: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": false});
    let mut stages: Vec<Value> = Vec::new();
    for pattern in row.patterns {
        stages.push(match pattern {
            Pattern::Isolate(pattern) => split(pattern, "Isolated"),
            Pattern::Words(pattern) => split(&format!(r"{pattern}|\s+(?!\S)|\s+"), "Isolated"),
            Pattern::DropWhitespace => split(r"\s+", "Removed"),
            Pattern::WordsThenPowers(_) | Pattern::DigitGroups { .. } => return None,
        });
    }
    stages.push(json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}));
    Some((json!({"type": "Sequence", "pretokenizers": stages}), row.takes_whole_words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::pre_tokenizer_names;

    #[test]
    fn what_is_written_is_found_again_under_its_name() {
        let mut count = 0;
        for row in pre_tokenizers::ALL.iter().filter(|row| !row.escapes_spaces) {
            let name = row.names[0];
            let Some((splitting, takes_whole_words)) = pre_tokenizer_json(name) else { continue };
            let file = json!({"model": {"ignore_merges": takes_whole_words}, "pre_tokenizer": splitting});
            // Parts that the reader of `tokenizer.json` does not take apart are no fault of what was written.
            let Ok(names) = pre_tokenizer_names(&file) else { continue };
            // Words between spaces alone have no name in the files that models of theirs come with.
            if names.is_empty() && name == "whitespace" {
                continue;
            }
            assert!(names.contains(&name), "{name}: {names:?}");
            count += 1;
        }
        assert!(count > 20, "only {count} names were compared");
        assert!(pre_tokenizer_json("no such name").is_none());
    }
}
