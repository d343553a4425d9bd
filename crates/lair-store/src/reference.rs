//! What a user may write where a model is meant: a path, or a short name with an optional tag.

use std::path::PathBuf;

use thiserror::Error;

/// Longest name and tag together; leaves room for a suffix in a 255-byte file name.
const NAME_LENGTH_MAX: usize = 128;

/// A model reference, told apart by its looks alone; nothing is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// Has a separator, ends in `.gguf`, or cannot be a name: a file.
    Path(PathBuf),
    /// Could be a name of the catalogue.
    Name(String),
}

/// Text that can be no reference.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// Nothing was written.
    #[error("model reference is empty")]
    Empty,
    /// A link.
    #[error("`{link}` is a link, a file path or a short name is expected")]
    Link {
        /// As written.
        link: String,
    },
}

impl Reference {
    /// Tells a path from a name.
    pub fn parse(text: &str) -> Result<Reference, ReferenceError> {
        if text.trim().is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.contains("://") {
            return Err(ReferenceError::Link { link: text.to_string() });
        }
        let has_separator = text.contains(['/', '\\']);
        let is_model_file = text.to_ascii_lowercase().ends_with(".gguf");
        match ModelName::parse(text) {
            Ok(name) if !has_separator && !is_model_file => Ok(Reference::Name(name.0)),
            _ => Ok(Reference::Path(PathBuf::from(text))),
        }
    }
}

/// A name in its one spelling: lower case, `[a-z0-9._-]`, at most one `:tag`, and no tag `latest`.
pub(crate) struct ModelName(String);

impl ModelName {
    pub(crate) fn parse(text: &str) -> Result<ModelName, ()> {
        let text = text.to_ascii_lowercase();
        if text.len() > NAME_LENGTH_MAX {
            return Err(());
        }
        let (name, tag) = text.split_once(':').map_or((text.as_str(), None), |(name, tag)| (name, Some(tag)));
        if !is_word(name) || !tag.is_none_or(is_word) {
            return Err(());
        }
        Ok(ModelName(if tag == Some("latest") { name.to_string() } else { text }))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Begins and ends with a letter or digit, so that no name is `..`, an option, or trimmed by a file system.
fn is_word(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    text.bytes().all(is_inner)
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.ends_with(|last: char| last.is_ascii_alphanumeric())
}

/// Letters that a beginning of a name must have to be taken for one.
const BEGINNING_LENGTH_MIN: usize = 3;

/// Those of `names` that are a slip of the finger away from `text`, nearest first, at most three.
pub(crate) fn near<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let text = text.to_ascii_lowercase();
    if text.len() > NAME_LENGTH_MAX {
        return Vec::new();
    }
    let distance_max = (text.len() / 3).clamp(1, 3);
    let mut found: Vec<(usize, &str)> = names
        .map(|name| match text.len() {
            // A name that was not typed to its end.
            BEGINNING_LENGTH_MIN.. if name.starts_with(&text) => (0, name),
            _ => (edit_distance(text.as_bytes(), name.as_bytes()), name),
        })
        .filter(|(distance, _)| *distance <= distance_max)
        .collect();
    found.sort();
    found.into_iter().take(3).map(|(_, name)| name.to_string()).collect()
}

/// Levenshtein distance, one row at a time.
fn edit_distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_paths_from_names() {
        let name = |text: &str| Ok(Reference::Name(text.to_string()));
        let path = |text: &str| Ok(Reference::Path(PathBuf::from(text)));
        for (text, expected) in [
            ("smollm2", name("smollm2")),
            ("SmolLM2:135M", name("smollm2:135m")),
            ("smollm2:latest", name("smollm2")),
            ("qwen2.5-coder", name("qwen2.5-coder")),
            ("./x.gguf", path("./x.gguf")),
            ("/abs/model", path("/abs/model")),
            ("folder/smollm2", path("folder/smollm2")),
            ("folder\\smollm2", path("folder\\smollm2")),
            ("model.gguf", path("model.gguf")),
            ("MODEL.GGUF", path("MODEL.GGUF")),
            ("..", path("..")),
            ("two words", path("two words")),
            ("a:b:c", path("a:b:c")),
            ("a:", path("a:")),
            ("", Err(ReferenceError::Empty)),
            ("  ", Err(ReferenceError::Empty)),
            ("https://x/y", Err(ReferenceError::Link { link: "https://x/y".to_string() })),
        ] {
            assert_eq!(Reference::parse(text), expected, "{text:?}");
        }
        let long = "a".repeat(NAME_LENGTH_MAX + 1);
        assert_eq!(Reference::parse(&long), path(&long));
    }

    #[test]
    fn counts_edits() {
        for (left, right, distance) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("same", "same", 0)]
        {
            assert_eq!(edit_distance(left.as_bytes(), right.as_bytes()), distance, "{left} {right}");
            assert_eq!(edit_distance(right.as_bytes(), left.as_bytes()), distance, "{right} {left}");
        }
    }

    #[test]
    fn proposes_the_nearest_first_and_nothing_far() {
        let names = ["smollm2", "smollm2:135m", "qwen2.5-coder"];
        assert_eq!(near("smolm", names.into_iter()), Vec::<String>::new());
        assert_eq!(near("smolm2", names.into_iter()), ["smollm2"]);
        assert_eq!(near("QWEN2-coder", names.into_iter()), ["qwen2.5-coder"]);
        assert!(near(&"x".repeat(100_000), names.into_iter()).is_empty());
    }
}
