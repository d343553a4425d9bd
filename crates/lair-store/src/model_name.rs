//! The full name of a stored model, `host/namespace/model:tag`: the grammar of Ollama's store and registry.
//!
//! ```text
//! name      = [ [ host "/" ] namespace "/" ] model [ ":" tag ]
//! host      = letter or digit, then letters, digits, "." "-" "_" ":"          1 to 350 bytes
//! namespace = letter, digit or "_", then letters, digits, "-" "_"             1 to 80 bytes
//! model     = letter, digit or "_", then letters, digits, "." "-" "_"         1 to 80 bytes
//! tag       = the same as model
//! ```
//!
//! What is left out is `registry.ollama.ai`, `library` and `latest`. Names that differ only in case are the same name:
//! some file systems could not keep them apart. No part can be `..`, begin with a dash or hold a separator, so the path
//! of a manifest is made of a name without further checks.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// The host of names that give none.
pub const DEFAULT_HOST: &str = "registry.ollama.ai";
/// The namespace of names that give none.
pub const DEFAULT_NAMESPACE: &str = "library";
/// The tag of names that give none.
pub const DEFAULT_TAG: &str = "latest";

const HOST_BYTES_MAX: usize = 350;
const PART_BYTES_MAX: usize = 80;

/// Device names that Windows takes for themselves, whatever follows the first dot.
const RESERVED: &[&str] = &[
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9", "lpt1", "lpt2",
    "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// A full, checked name. Keeps the case it was written in and compares without it.
#[derive(Clone, Debug)]
pub struct ModelName {
    host: String,
    namespace: String,
    model: String,
    tag: String,
}

/// Text that is no model name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{text}` is no model name: the {part} `{found}` {problem}")]
pub struct ModelNameError {
    /// As written.
    pub text: String,
    /// `host`, `namespace`, `model` or `tag`.
    pub part: &'static str,
    /// That part.
    pub found: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl ModelName {
    /// The name of these parts.
    pub fn new(host: &str, namespace: &str, model: &str, tag: &str) -> Result<ModelName, ModelNameError> {
        let parts = [("host", host), ("namespace", namespace), ("model", model), ("tag", tag)];
        for (part, found) in parts {
            if let Some(problem) = problem_of(part, found) {
                let text = format!("{host}/{namespace}/{model}:{tag}");
                return Err(ModelNameError { text, part, found: found.to_string(), problem });
            }
        }
        let own = str::to_string;
        Ok(ModelName { host: own(host), namespace: own(namespace), model: own(model), tag: own(tag) })
    }

    /// Registry, with its port where one was given.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// User or organisation.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Model.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Version or quantization.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The same model under another tag.
    pub fn with_tag(&self, tag: &str) -> Result<ModelName, ModelNameError> {
        ModelName::new(&self.host, &self.namespace, &self.model, tag)
    }

    /// `host/namespace/model/tag`: where the manifest lies below `manifests`.
    pub fn manifest_path(&self) -> PathBuf {
        [&self.host, &self.namespace, &self.model, &self.tag].iter().collect()
    }

    /// What a listing shows: everything that is not the default, and always the tag.
    pub fn short(&self) -> String {
        let is = |part: &str, default: &str| part.eq_ignore_ascii_case(default);
        let ModelName { host, namespace, model, tag } = self;
        match (is(host, DEFAULT_HOST), is(namespace, DEFAULT_NAMESPACE)) {
            (true, true) => format!("{model}:{tag}"),
            (true, false) => format!("{namespace}/{model}:{tag}"),
            (false, _) => self.to_string(),
        }
    }

    fn key(&self) -> impl Iterator<Item = u8> + '_ {
        let parts = [&self.host, &self.namespace, &self.model, &self.tag];
        // A slash is in no part, so it keeps them apart.
        parts.into_iter().flat_map(|part| part.bytes().map(|byte| byte.to_ascii_lowercase()).chain([b'/']))
    }
}

/// What is wrong with `text` as this part of a name.
fn problem_of(part: &str, text: &str) -> Option<&'static str> {
    let bytes_max = if part == "host" { HOST_BYTES_MAX } else { PART_BYTES_MAX };
    let other: &[u8] = match part {
        "host" => b".-_:",
        "namespace" => b"-_",
        _ => b".-_",
    };
    let Some(first) = text.bytes().next() else { return Some("is empty") };
    if text.len() > bytes_max {
        return Some("is too long");
    }
    if !(first.is_ascii_alphanumeric() || first == b'_') {
        return Some("must begin with a letter, a digit or `_`");
    }
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || other.contains(&byte)) {
        return Some("has a character that is not allowed there");
    }
    if text.ends_with('.') {
        return Some("ends with a dot");
    }
    let stem = text.split(['.', ':']).next().unwrap_or(text).to_ascii_lowercase();
    RESERVED.contains(&stem.as_str()).then_some("is the name of a device on some systems")
}

impl FromStr for ModelName {
    type Err = ModelNameError;

    fn from_str(text: &str) -> Result<ModelName, ModelNameError> {
        let (path, last) = text.rsplit_once('/').map_or((None, text), |(path, last)| (Some(path), last));
        let (model, tag) = last.split_once(':').unwrap_or((last, DEFAULT_TAG));
        let (host, namespace) = match path {
            None => (DEFAULT_HOST, DEFAULT_NAMESPACE),
            Some(path) => path.rsplit_once('/').unwrap_or((DEFAULT_HOST, path)),
        };
        ModelName::new(host, namespace, model, tag).map_err(|error| ModelNameError { text: text.to_string(), ..error })
    }
}

impl fmt::Display for ModelName {
    /// All four parts.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ModelName { host, namespace, model, tag } = self;
        write!(formatter, "{host}/{namespace}/{model}:{tag}")
    }
}

impl PartialEq for ModelName {
    fn eq(&self, other: &ModelName) -> bool {
        self.key().eq(other.key())
    }
}

impl Eq for ModelName {}

impl Hash for ModelName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().for_each(|byte| state.write_u8(byte));
    }
}

impl PartialOrd for ModelName {
    fn partial_cmp(&self, other: &ModelName) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ModelName {
    fn cmp(&self, other: &ModelName) -> Ordering {
        self.key().cmp(other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_what_is_left_out() {
        for (text, full, short) in [
            ("mistral", "registry.ollama.ai/library/mistral:latest", "mistral:latest"),
            ("smollm2:135m", "registry.ollama.ai/library/smollm2:135m", "smollm2:135m"),
            ("library/x:tag", "registry.ollama.ai/library/x:tag", "x:tag"),
            ("user/Model", "registry.ollama.ai/user/Model:latest", "user/Model:latest"),
            ("localhost:5000/ns/x:v1", "localhost:5000/ns/x:v1", "localhost:5000/ns/x:v1"),
            ("hf.co/Org/Repo-GGUF:Q4_K_M", "hf.co/Org/Repo-GGUF:Q4_K_M", "hf.co/Org/Repo-GGUF:Q4_K_M"),
        ] {
            let name: ModelName = text.parse().expect(text);
            assert_eq!((name.to_string().as_str(), name.short().as_str()), (full, short));
            assert_eq!(full.parse::<ModelName>().as_ref(), Ok(&name));
        }
    }

    #[test]
    fn refuses_what_could_leave_its_folder_or_confuse_a_system() {
        let long = "a".repeat(81);
        for text in [
            "",
            ":",
            "a:",
            ":b",
            "/",
            "a/",
            "/a",
            "..",
            "../a",
            "a/..",
            "a/../b",
            "a:..",
            "a:.b",
            "a:b.",
            "-a",
            "a b",
            "a\\b",
            "a:b:c",
            "a/b/c/d",
            "ho st/a/b",
            "a\0",
            "é",
            "nul",
            "NUL.gguf",
            "a:con",
            "com1/b",
            &long,
            "https://h/n/m",
        ] {
            assert!(text.parse::<ModelName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn case_does_not_tell_names_apart() {
        let (one, two): (ModelName, ModelName) = ("Library/X:Q4".parse().expect("x"), "x:q4".parse().expect("x"));
        assert_eq!(one, two);
        assert_eq!(one.cmp(&two), Ordering::Equal);
        let set: std::collections::HashSet<_> = [one, two].into_iter().collect();
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn the_path_has_four_plain_parts() {
        let name: ModelName = "mistral".parse().expect("a name");
        assert_eq!(name.manifest_path(), PathBuf::from("registry.ollama.ai/library/mistral/latest"));
    }
}
