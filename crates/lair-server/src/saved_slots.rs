//! Prompts that clients save under a name and restore later, as llama-server has it: `/slots/N?action=save`.
//!
//! The engine has no slots: what is computed is found again by its tokens, by every request of the same user. A slot here is
//! the number that a completion ran under (`id_slot` of the request, else the lowest that was free), and it stands for
//! the tokens of the last one that ended there. Saved are these tokens and the pages of keys and values that are in memory of
//! them:
//!
//! ```text
//! LAIRSLOT | version u32 | identity of the model [32] | whose [32] | tokens u64 | bytes of pages u64 | the tokens, u32 each
//! | the pages | SHA-256 of all before [32]
//! ```
//!
//! Numbers are little-endian. A file is as long as its header says, or it is none.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use lair_engine::{PrefixAction, PrefixDone, PrefixScope, PrefixWork};
use sha2::{Digest, Sha256};

use crate::error::{ApiError, ErrorKind};
use crate::model::LoadedModel;

const MAGIC: &[u8; 8] = b"LAIRSLOT";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 8 + 4 + 32 + 32 + 8 + 8;
const CHECKSUM_BYTES: usize = 32;
/// Longest name of a file.
const NAME_BYTES_MAX: usize = 128;

/// The tokens of the last answers, by model and slot: as many as a model computes together.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    last: Mutex<HashMap<(String, usize), Last>>,
}

/// What ended last in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Last {
    scope: PrefixScope,
    /// The prompt, then the answer.
    tokens: Vec<u32>,
}

impl Slots {
    fn last(&self) -> std::sync::MutexGuard<'_, HashMap<(String, usize), Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of an answer.
    pub(crate) fn note(&self, model: &str, slot: usize, scope: PrefixScope, tokens: Vec<u32>) {
        self.last().insert((model.to_owned(), slot), Last { scope, tokens });
    }

    /// The tokens of a slot, if they are this user's.
    pub(crate) fn tokens(&self, model: &str, slot: usize, scope: PrefixScope) -> Option<Vec<u32>> {
        let last = self.last();
        last.get(&(model.to_owned(), slot)).filter(|last| last.scope == scope).map(|last| last.tokens.clone())
    }

    /// Forgets a slot; its tokens, if they were this user's.
    pub(crate) fn take(&self, model: &str, slot: usize, scope: PrefixScope) -> Option<Vec<u32>> {
        let mut last = self.last();
        let key = (model.to_owned(), slot);
        if last.get(&key)?.scope != scope {
            return None;
        }
        last.remove(&key).map(|last| last.tokens)
    }
}

/// What was done to a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// The tokens that count.
    pub(crate) tokens: Vec<u32>,
    /// Bytes written or read.
    pub(crate) file_bytes: u64,
}

/// Saves what is in memory of these tokens.
pub(crate) fn save(
    model: &LoadedModel,
    scope: PrefixScope,
    mut tokens: Vec<u32>,
    path: &Path,
) -> Result<Done, ApiError> {
    let identity = identity(model)?;
    let read = PrefixWork { scope, tokens: tokens.clone(), action: PrefixAction::Read };
    let PrefixDone { token_count, bytes } = model.engine.work_on_prefix(read)?;
    tokens.truncate(token_count);
    let mut file = header(&identity, scope, tokens.len(), bytes.len());
    tokens.iter().for_each(|token| file.extend_from_slice(&token.to_le_bytes()));
    file.extend_from_slice(&bytes);
    let checksum = Sha256::digest(&file);
    file.extend_from_slice(&checksum);
    write(path, &file).map_err(|error| failed("write", path, &error))?;
    Ok(Done { tokens, file_bytes: file.len() as u64 })
}

/// Puts back what was saved.
pub(crate) fn restore(model: &LoadedModel, scope: PrefixScope, path: &Path) -> Result<Done, ApiError> {
    let identity = identity(model)?;
    let facts = fs::symlink_metadata(path).map_err(|error| failed("read", path, &error))?;
    if !facts.is_file() {
        return Err(refused(path, "is no file"));
    }
    let bytes_max = (HEADER_BYTES + CHECKSUM_BYTES) as u64 + 4 * model.context_length as u64 + model.memory_bytes;
    if facts.len() > bytes_max {
        return Err(refused(path, "is longer than all that this model has in memory"));
    }
    let file = fs::read(path).map_err(|error| failed("read", path, &error))?;
    let saved = parse(&file, &identity, scope).map_err(|why| refused(path, why))?;
    let mut tokens = saved.tokens;
    if tokens.len() > model.context_length {
        return Err(refused(path, "has more tokens than the context of this model"));
    }
    let work = PrefixWork { scope, tokens: tokens.clone(), action: PrefixAction::Write(saved.pages.to_vec()) };
    tokens.truncate(model.engine.work_on_prefix(work)?.token_count);
    Ok(Done { tokens, file_bytes: file.len() as u64 })
}

/// Lets go of what is in memory of these tokens and of no others; how many tokens that is.
pub(crate) fn erase(model: &LoadedModel, scope: PrefixScope, tokens: Vec<u32>) -> Result<usize, ApiError> {
    Ok(model.engine.work_on_prefix(PrefixWork { scope, tokens, action: PrefixAction::Forget })?.token_count)
}

/// Where a name that a client gives lies: in the folder itself, whatever the name is.
pub(crate) fn path_of(folder: &Path, name: &str) -> Result<PathBuf, ApiError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.starts_with('.') || !name.bytes().all(is_plain) {
        let cause = "`filename` is a name of letters, digits, `.`, `_` and `-` that does not begin with a point";
        return Err(ApiError::bad("filename", cause));
    }
    Ok(folder.join(name))
}

fn identity(model: &LoadedModel) -> Result<[u8; 32], ApiError> {
    let cause =
        "prompts of this model cannot be saved: it has recurrent layers, or its files cannot be told from others";
    model.identity.ok_or_else(|| ApiError::unsupported("action", cause))
}

/// What a file has.
#[derive(Debug)]
struct Saved<'f> {
    tokens: Vec<u32>,
    pages: &'f [u8],
}

/// Reads a file; the message says why it is not one of this model and this user.
fn parse<'f>(file: &'f [u8], identity: &[u8; 32], scope: PrefixScope) -> Result<Saved<'f>, &'static str> {
    let (header, rest) = file.split_at_checked(HEADER_BYTES).ok_or("is cut")?;
    if &header[..8] != MAGIC {
        return Err("is no saved prompt");
    }
    if header[8..12] != VERSION.to_le_bytes() {
        return Err("is of another version");
    }
    if &header[12..44] != identity {
        return Err("is of another model, or of the same in another setup");
    }
    if header[44..76] != scope.0 {
        return Err("was saved with another key");
    }
    let number = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    let lengths = usize::try_from(number(76)).ok().zip(usize::try_from(number(84)).ok());
    let (token_count, page_bytes) = lengths.ok_or("is no saved prompt")?;
    let token_bytes = token_count.checked_mul(4).ok_or("is no saved prompt")?;
    let expected = token_bytes.checked_add(page_bytes).and_then(|bytes| bytes.checked_add(CHECKSUM_BYTES));
    if expected != Some(rest.len()) {
        return Err("is cut, or longer than it says");
    }
    let (sealed, checksum) = file.split_at(file.len() - CHECKSUM_BYTES);
    if Sha256::digest(sealed)[..] != *checksum {
        return Err("is damaged");
    }
    let (tokens, pages) = rest[..rest.len() - CHECKSUM_BYTES].split_at(token_bytes);
    let tokens = tokens.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    Ok(Saved { tokens, pages })
}

fn header(identity: &[u8; 32], scope: PrefixScope, token_count: usize, page_bytes: usize) -> Vec<u8> {
    let numbers = [token_count as u64, page_bytes as u64].map(u64::to_le_bytes);
    let version = VERSION.to_le_bytes();
    [MAGIC.as_slice(), &version, identity, &scope.0, &numbers[0], &numbers[1]].concat()
}

/// Whole or not at all, under a name that nothing else has meanwhile; a link that is there is replaced, not followed.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let partial = folder.join(format!(".{}.partial", crate::answer::unique_name("")));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(&partial)
        .and_then(|mut file| io::Write::write_all(&mut file, bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Where files of this machine lie is not told to clients: the name they gave is.
fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn refused(path: &Path, why: &str) -> ApiError {
    ApiError::bad("filename", format!("`{}` {why}", name_of(path)))
}

fn failed(action: &str, path: &Path, error: &io::Error) -> ApiError {
    let message = format!("cannot {action} `{}`: {error}", name_of(path));
    match error.kind() {
        io::ErrorKind::NotFound => ApiError::bad("filename", message),
        _ => ApiError::new(ErrorKind::Internal, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: [u8; 32] = [7; 32];

    fn file(tokens: &[u32], pages: &[u8]) -> Vec<u8> {
        let mut file = header(&IDENTITY, PrefixScope::default(), tokens.len(), pages.len());
        tokens.iter().for_each(|token| file.extend_from_slice(&token.to_le_bytes()));
        file.extend_from_slice(pages);
        let checksum = Sha256::digest(&file);
        file.extend_from_slice(&checksum);
        file
    }

    fn why(file: &[u8], identity: [u8; 32], scope: PrefixScope) -> &'static str {
        parse(file, &identity, scope).map(|_| "").unwrap_or_else(|why| why)
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_nothing_else_is() {
        let whole = file(&[1, 2, 3], b"pages");
        let saved = parse(&whole, &IDENTITY, PrefixScope::default()).expect("sound");
        assert_eq!((saved.tokens, saved.pages), (vec![1, 2, 3], b"pages".as_slice()));
        let own = PrefixScope::default();
        assert_eq!(why(&whole, [8; 32], own), "is of another model, or of the same in another setup");
        assert_eq!(why(&whole, IDENTITY, PrefixScope([1; 32])), "was saved with another key");
        for length in 0..whole.len() {
            assert_ne!(why(&whole[..length], IDENTITY, own), "", "{length} bytes");
        }
        assert_ne!(why(&[whole.as_slice(), b"x"].concat(), IDENTITY, own), "");
        for place in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[place] ^= 0x10;
            assert_ne!(why(&flipped, IDENTITY, own), "", "byte {place}");
        }
        let mut huge = whole;
        huge[76..84].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_ne!(why(&huge, IDENTITY, own), "");
    }

    /// `fuzz/README.md` lists all targets.
    #[test]
    fn fuzz_saved_slot() {
        let whole = file(&[1, 2, 3], b"pages");
        let target = lair_testkit::fuzz::Target::new("saved_slot", [whole.clone()], &["LAIRSLOT"]);
        target.run(|bytes| {
            let found = why(bytes, IDENTITY, PrefixScope::default());
            // Without its digest nothing else is taken.
            assert!(!found.is_empty() || bytes == whole);
            found.to_owned()
        });
    }

    #[test]
    fn a_name_stays_in_its_folder() {
        let folder = Path::new("/saved");
        assert_eq!(path_of(folder, "slot_1.bin").ok(), Some(PathBuf::from("/saved/slot_1.bin")));
        let long = "a".repeat(129);
        for name in ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "x\u{0}", ".hidden", "é", "C:x", &long] {
            assert_eq!(path_of(folder, name).expect_err(name).status(), 400, "{name}");
        }
    }

    #[test]
    fn a_slot_is_its_user_s_alone() {
        let (slots, own, other) = (Slots::default(), PrefixScope::default(), PrefixScope([1; 32]));
        slots.note("m", 0, own, vec![1, 2]);
        assert_eq!(slots.tokens("m", 0, own), Some(vec![1, 2]));
        assert_eq!((slots.tokens("m", 0, other), slots.take("m", 0, other)), (None, None));
        assert_eq!((slots.tokens("m", 1, own), slots.tokens("n", 0, own)), (None, None));
        assert_eq!(slots.take("m", 0, own), Some(vec![1, 2]));
        assert_eq!(slots.tokens("m", 0, own), None);
    }
}
