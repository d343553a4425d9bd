//! The file of settings: TOML, with settings of all commands at the top and those of one command in `[serve]` and `[run]`.

use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml_edit::{Document, DocumentMut, Item, Value};

use super::settings::{SETTINGS, Section, Setting};

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Names that an error proposes.
const NEAR_MAX: usize = 3;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The system refuses.
    #[error("{path}: {cause}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// It is no TOML.
    #[error("{path}:{line}: {cause}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// Why.
        cause: String,
    },
    /// There is no setting of that name.
    #[error("{path}:{line}: there is no setting `{key}`")]
    Unknown {
        /// Which file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// What was found.
        key: String,
        /// What may be meant.
        near: Vec<String>,
    },
    /// A setting stands where it does not belong.
    #[error("{path}:{line}: `{key}` {cause}")]
    Misplaced {
        /// Which file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// What was found.
        key: String,
        /// Why not there.
        cause: String,
    },
}

impl ConfigError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConfigError::Unknown { near, .. } if !near.is_empty() => Some(format!("did you mean {}?", near.join(", "))),
            ConfigError::Unknown { .. } => Some("`lair config explain` lists all settings".to_owned()),
            _ => None,
        }
    }
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The command it is for; `None` for all that have the setting.
    pub section: Option<Section>,
    /// The setting.
    pub key: &'static str,
    /// Its value; several of a list.
    pub values: Vec<String>,
    /// Where it stands, from 1.
    pub line: usize,
}

/// A file of settings that was read.
#[derive(Clone, Debug, Default)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    entries: Vec<Entry>,
}

impl ConfigFile {
    /// Reads a file; one that is not there has no settings.
    ///
    /// # Errors
    /// If it cannot be read, or says what cannot be.
    pub fn read(path: &Path) -> Result<ConfigFile, ConfigError> {
        let text = text_of(path)?;
        ConfigFile::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<ConfigFile, ConfigError> {
        let line_of = |span: Option<Range<usize>>| {
            let end = span.map_or(0, |span| span.start).min(text.len());
            text.as_bytes()[..end].iter().filter(|byte| **byte == b'\n').count() + 1
        };
        let document = Document::parse(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            line: line_of(error.span()),
            cause: error.message().to_owned(),
        })?;
        let reader = Reader { path, line_of: &line_of };
        let mut entries = Vec::new();
        for (name, item) in document.as_table().iter() {
            let section = Section::ALL.into_iter().find(|section| section.name() == name);
            match (section, item.as_table_like()) {
                (Some(section), Some(table)) => {
                    for (name, item) in table.iter() {
                        let line = line_of(table.key(name).and_then(toml_edit::Key::span));
                        entries.push(reader.entry(Some(section), name, item, line)?);
                    }
                }
                _ => {
                    let line = line_of(document.as_table().key(name).and_then(toml_edit::Key::span));
                    entries.push(reader.entry(None, name, item, line)?);
                }
            }
        }
        Ok(ConfigFile { path: path.to_owned(), entries })
    }

    /// What it says of a setting of a command: what is said for this command counts more than what is said for all.
    pub fn find(&self, key: &str, section: Section) -> Option<&Entry> {
        let of = |wanted| self.entries.iter().find(|entry| entry.key == key && entry.section == wanted);
        of(Some(section)).or_else(|| of(None))
    }
}

/// Turns items into entries, or says why not.
struct Reader<'f> {
    path: &'f Path,
    line_of: &'f dyn Fn(Option<Range<usize>>) -> usize,
}

impl Reader<'_> {
    fn entry(&self, section: Option<Section>, name: &str, item: &Item, line: usize) -> Result<Entry, ConfigError> {
        let setting = SETTINGS.iter().find(|setting| setting.key == name).ok_or_else(|| ConfigError::Unknown {
            path: self.path.to_owned(),
            line,
            key: name.to_owned(),
            near: near(name).iter().map(|key| format!("`{key}`")).collect(),
        })?;
        check_place(setting, section).map_err(|cause| self.misplaced(line, name, cause))?;
        let values = match item {
            Item::Value(Value::Array(array)) => array.iter().map(plain).collect::<Option<Vec<String>>>(),
            Item::Value(value) => plain(value).map(|value| vec![value]),
            _ => None,
        };
        let line = (self.line_of)(item.span()).max(line);
        let values = values.ok_or_else(|| {
            self.misplaced(line, name, "is a table, a text, a number, true, false or a list expected".to_owned())
        })?;
        Ok(Entry { section, key: setting.key, values, line })
    }

    fn misplaced(&self, line: usize, key: &str, cause: String) -> ConfigError {
        ConfigError::Misplaced { path: self.path.to_owned(), line, key: key.to_owned(), cause }
    }
}

/// Whether a setting may stand there.
fn check_place(setting: &Setting, section: Option<Section>) -> Result<(), String> {
    if setting.is_secret {
        return Err("is a secret and does not belong in the file: use `lair key create`, or api_key_file".to_owned());
    }
    match (section, setting.sections) {
        (Some(section), sections) if sections.contains(&section) => Ok(()),
        (None, [_, _, ..]) => Ok(()),
        (_, sections) => {
            let tables: Vec<String> = sections.iter().map(|section| format!("[{}]", section.name())).collect();
            Err(format!("belongs in {}", tables.join(" or ")))
        }
    }
}

/// A single value as its flag would be given it.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.value().clone()),
        Value::Integer(number) => Some(number.value().to_string()),
        Value::Float(number) => Some(number.value().to_string()),
        Value::Boolean(value) => Some(value.value().to_string()),
        _ => None,
    }
}

/// Settings whose names are like this one.
pub(super) fn near(name: &str) -> Vec<String> {
    let written = name.replace('-', "_").to_lowercase();
    let mut distances: Vec<(usize, &str)> =
        SETTINGS.iter().map(|setting| (distance(&written, setting.key), setting.key)).collect();
    distances.sort_unstable();
    let most = (written.chars().count() / 3).max(2);
    let found = distances.into_iter().take_while(|(distance, _)| *distance <= most).take(NEAR_MAX);
    found.map(|(_, key)| key.to_owned()).collect()
}

/// Characters that must be put in, taken out or changed to make one text of the other (Levenshtein, 1966).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, c) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, d) in right.iter().enumerate() {
            let changed = diagonal + usize::from(c != *d);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

fn text_of(path: &Path) -> Result<String, ConfigError> {
    use std::io::Read;
    let failed = |cause| ConfigError::Io { path: path.to_owned(), cause };
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        file => file.map_err(failed)?,
    };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Writes a setting, keeping comments and order; without values it is taken out. `false` if there was nothing to take out.
///
/// # Errors
/// If the file cannot be read or written, or the setting does not belong there.
pub fn change(path: &Path, section: Option<Section>, key: &str, values: Option<Item>) -> Result<bool, ConfigError> {
    let failed = |cause| ConfigError::Io { path: path.to_owned(), cause };
    let text = text_of(path)?;
    // What is wrong in it is said before anything is written.
    ConfigFile::parse(path, &text)?;
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| ConfigError::Syntax {
        path: path.to_owned(),
        line: 1,
        cause: error.message().to_owned(),
    })?;
    let table = match section {
        None => document.as_table_mut(),
        Some(section) => {
            let item = document.entry(section.name()).or_insert_with(toml_edit::table);
            match item.as_table_mut() {
                Some(table) => table,
                None => {
                    let cause = "is an inline table, which is not changed; write it as a table".to_owned();
                    let key = section.name().to_owned();
                    return Err(ConfigError::Misplaced { path: path.to_owned(), line: 1, key, cause });
                }
            }
        }
    };
    let was_there = match values {
        Some(item) => {
            match table.get_mut(key) {
                Some(there) => *there = item,
                None => drop(table.insert(key, item)),
            }
            true
        }
        None => table.remove(key).is_some(),
    };
    let text = document.to_string();
    ConfigFile::parse(path, &text)?;
    if was_there {
        replace(path, &text).map_err(failed)?;
    }
    Ok(was_there)
}

/// Whoever reads sees the old file or the new one. A link stays one: the file behind it is replaced.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConfigFile, ConfigError> {
        ConfigFile::parse(Path::new("c.toml"), text)
    }

    #[test]
    fn what_is_said_for_a_command_counts_more() {
        let text = "# how it computes\nthreads = 2\ncontext_length = 4096\n\n[serve]\nport = 80\nthreads = 4\n\
            allowed_origin = [\"http://a\", \"http://b\"]\n[run]\ntemperature = 0.5\nverbose = true\n";
        let file = parse(text).expect("sound");
        let find = |key, section| file.find(key, section).map(|entry| (entry.values.join(","), entry.line));
        assert_eq!(find("threads", Section::Serve), Some(("4".to_owned(), 7)));
        assert_eq!(find("threads", Section::Run), Some(("2".to_owned(), 2)));
        assert_eq!(find("context_length", Section::Serve), Some(("4096".to_owned(), 3)));
        assert_eq!(find("allowed_origin", Section::Serve), Some(("http://a,http://b".to_owned(), 8)));
        assert_eq!(find("temperature", Section::Run), Some(("0.5".to_owned(), 10)));
        assert_eq!(find("verbose", Section::Run), Some(("true".to_owned(), 11)));
        assert_eq!(find("seed", Section::Run), None);
    }

    #[test]
    fn what_cannot_be_is_named_with_its_line() {
        for (text, message, hint) in [
            ("[serve]\nkeep_alvie = 1\n", "c.toml:2: there is no setting `keep_alvie`", "did you mean `keep_alive`?"),
            ("[serve]\nmax-queue = 1\n", "c.toml:2: there is no setting `max-queue`", "did you mean `max_queue`?"),
            ("colour = 1\n", "c.toml:1: there is no setting `colour`", "`lair config explain`"),
            ("\nport = 1\n", "c.toml:2: `port` belongs in [serve]", ""),
            ("[run]\nport = 1\n", "c.toml:2: `port` belongs in [serve]", ""),
            ("[serve]\napi_key = \"x\"\n", "c.toml:2: `api_key` is a secret", ""),
            ("[serve]\nport = { a = 1 }\n", "c.toml:2: `port` is a table", ""),
            ("threads = 1\nthreads = 2\n", "c.toml:2: ", ""),
            ("threads = \n", "c.toml:1: ", ""),
        ] {
            let error = parse(text).expect_err("wrong");
            assert!(error.to_string().starts_with(message), "{error} should begin with {message}");
            assert!(error.hint().unwrap_or_default().contains(hint), "{:?} should mention {hint}", error.hint());
        }
        assert!(parse(&"[".repeat(100_000)).is_err() && parse(&format!("threads = {}", "[".repeat(100_000))).is_err());
    }

    #[test]
    fn a_change_keeps_comments_and_the_rest() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("inner/config.toml");
        let value = |number: i64| Some(toml_edit::value(number));
        assert!(change(&path, Some(Section::Serve), "port", value(80)).expect("written"));
        std::fs::write(&path, "# mine\nthreads = 2 # two\n\n[serve]\n# where\nport = 80\n").expect("written");
        assert!(change(&path, Some(Section::Serve), "port", value(81)).expect("written"));
        assert!(change(&path, None, "context_length", value(512)).expect("written"));
        assert!(change(&path, Some(Section::Serve), "temperature", value(1)).is_err(), "it is of `run`");
        let text = std::fs::read_to_string(&path).expect("text");
        assert_eq!(text, "# mine\nthreads = 2 # two\ncontext_length = 512\n\n[serve]\n# where\nport = 81\n");
        assert!(change(&path, None, "threads", None).expect("written"));
        assert!(!change(&path, None, "threads", None).expect("nothing to do"));
        std::fs::write(&path, "colour = 1\n").expect("written");
        assert!(change(&path, None, "threads", value(1)).is_err(), "a file with a fault is left alone");
    }

    #[test]
    fn distances_count_changes() {
        for (left, right, expected) in [("", "", 0), ("a", "", 1), ("port", "prot", 2), ("kitten", "sitting", 3)] {
            assert_eq!(distance(left, right), expected);
            assert_eq!(distance(right, left), expected);
        }
    }
}
