//! What a model is made of, without fetching its weights: the list of its files, and the headers that say what is in them.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lair_gguf::{GgufError, Header, ShardName};
use thiserror::Error;

use crate::reference::Reference;
use crate::settings::Settings;
use crate::sources::SourceError;
use crate::sources::http::Trust;
use crate::sources::https::HttpsSource;
use crate::sources::hub::{DEFAULT_REVISION, Hub, HubFile, is_safe_path};
use crate::sources::hub_choice;
use crate::sources::remote::RemoteFile;

/// What the first look at a header asks for; most without a vocabulary fit.
const HEADER_STEP_MIN: u64 = 256 * 1024;
/// A header is read in steps as long as what is there, at most this: little is fetched in vain.
const HEADER_STEP_MAX: u64 = 2 << 20;
/// The largest vocabularies make headers of 30 MB.
const GGUF_HEADER_BYTES_MAX: u64 = 256 << 20;
/// As the format's own reader has it.
const SAFETENSORS_HEADER_BYTES_MAX: u64 = 100_000_000;
/// A tokenizer has up to 40 MB; nothing else beside the weights is larger.
const COMPANION_BYTES_MAX: u64 = 64 << 20;
/// Folders of one process at most, until a free name is found.
const FOLDERS_MAX: u32 = 10_000;

/// Why a model cannot be looked at where it lies.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The reference names nothing on a server that can be read in pieces.
    #[error("`{reference}` is no repository of the hub and no link to a file")]
    NotRemote {
        /// As written.
        reference: String,
    },
    /// The server did not give what was asked for.
    #[error("{error}{}", file.as_ref().map(|file| format!(" (`{file}`)")).unwrap_or_default())]
    Source {
        /// The file, where it is about one.
        file: Option<String>,
        /// Why.
        error: Box<SourceError>,
    },
    /// A header breaks a rule of its format.
    #[error("`{file}`: {error}")]
    Gguf {
        /// The file.
        file: String,
        /// What is wrong with it.
        error: GgufError,
    },
    /// A header is longer than any honest one.
    #[error("the header of `{file}` has {found} bytes, at most {max} are read")]
    HeaderTooLong {
        /// The file.
        file: String,
        /// What it says or has so far.
        found: u64,
        /// The limit.
        max: u64,
    },
    /// A kind of weights whose description does not stand at the beginning.
    #[error("`{file}` is neither GGUF nor safetensors: it cannot be looked at without fetching it")]
    OtherFormat {
        /// The file.
        file: String,
    },
    /// The folder for headers cannot be written.
    #[error("cannot write `{}`: {error}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

impl RemoteError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            RemoteError::NotRemote { .. } => Some(
                "write `hf.co/USER/REPOSITORY`, with `:QUANT` or `:FILE` behind it if you like, or a link".to_owned(),
            ),
            RemoteError::Source { error, .. } => error.hint(),
            RemoteError::Gguf { error, .. } => error.hint(),
            RemoteError::OtherFormat { .. } => Some("`lair pull` fetches it".to_owned()),
            RemoteError::HeaderTooLong { .. } | RemoteError::Write { .. } => None,
        }
    }
}

/// The files of a model on a server.
pub struct RemoteModel {
    files: Vec<HubFile>,
    place: Place,
    commit: Option<String>,
    licence: Option<String>,
    settings: Settings,
}

enum Place {
    /// The hub and `owner/name`.
    Hub(Arc<Hub>, String),
    /// What stands before the names of files.
    Link { folder: String, query: String },
}

impl RemoteModel {
    /// Finds what `reference` means on the hub or behind a link; a model's shards are found by the name of one.
    /// Asks for the list of files, not for weights.
    ///
    /// # Errors
    /// [`RemoteError::NotRemote`] for what lies elsewhere; [`RemoteError::Source`] if it is not there.
    pub fn find(reference: &Reference, settings: &Settings) -> Result<RemoteModel, RemoteError> {
        let of_source = |error| RemoteError::Source { file: None, error: Box::new(error) };
        if let Some(hub) = reference.as_hub() {
            let id = hub.repository_id();
            let client = Hub::new(settings).map_err(of_source)?;
            let revision =
                client.revision(&id, hub.revision.as_deref().unwrap_or(DEFAULT_REVISION)).map_err(of_source)?;
            let chosen = hub_choice::choose(&id, &revision.files, &hub.part).map_err(of_source)?;
            return Ok(RemoteModel {
                files: chosen.into_iter().cloned().collect(),
                place: Place::Hub(Arc::new(client), id),
                commit: Some(revision.commit),
                licence: revision.licence,
                settings: settings.clone(),
            });
        }
        let Reference::Link(link) = reference else {
            return Err(RemoteError::NotRemote { reference: reference.to_string() });
        };
        RemoteModel::of_link(link, settings)
    }

    fn of_link(link: &str, settings: &Settings) -> Result<RemoteModel, RemoteError> {
        let plain = link.split('#').next().unwrap_or_default();
        let (address, query) = plain.split_at(plain.find('?').unwrap_or(plain.len()));
        let (folder, name) = address.rsplit_once('/').unwrap_or(("", address));
        if !is_safe_path(name) {
            return Err(RemoteError::NotRemote { reference: link.to_owned() });
        }
        let names: Vec<String> = match ShardName::parse(Path::new(name)) {
            Some(shard) => (1..=shard.count).map(|number| shard.path(number).to_string_lossy().into_owned()).collect(),
            None => vec![name.to_owned()],
        };
        let place = Place::Link { folder: format!("{folder}/"), query: query.to_owned() };
        let mut model =
            RemoteModel { files: Vec::new(), place, commit: None, licence: None, settings: settings.clone() };
        for path in names {
            let size_bytes = model.open_link(&path)?.size_bytes();
            model.files.push(HubFile { path, size_bytes, git_sha1: String::new(), sha256: None });
        }
        Ok(model)
    }

    /// Its files with their lengths, weights first; a tower and what stands beside the weights are among them.
    pub fn files(&self) -> &[HubFile] {
        &self.files
    }

    /// The files with the model's weights, in order; not those of a tower.
    pub fn weights(&self) -> Vec<&HubFile> {
        let is_weights = |file: &&HubFile| {
            let name = file.path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
            (name.ends_with(".gguf") || name.ends_with(".safetensors")) && !name.contains("mmproj")
        };
        let found: Vec<&HubFile> = self.files.iter().filter(is_weights).collect();
        // A single file is what the user has named, whatever it is called.
        if found.is_empty() && self.files.len() == 1 { self.files.iter().collect() } else { found }
    }

    /// The commit that the files are of, on the hub.
    pub fn commit(&self) -> Option<&str> {
        self.commit.as_deref()
    }

    /// Licence that the repository states.
    pub fn licence(&self) -> Option<&str> {
        self.licence.as_deref()
    }

    /// Opens one of the [`files`](RemoteModel::files): one request.
    ///
    /// # Errors
    /// If it is none of them, or the server gives no ranges of it.
    pub fn open(&self, path: &str) -> Result<RemoteFile, RemoteError> {
        let Place::Hub(hub, repository) = &self.place else { return self.open_link(path) };
        let of_file = |error| RemoteError::Source { file: Some(path.to_owned()), error: Box::new(error) };
        let missing = || SourceError::NothingToFetch {
            repository: repository.clone(),
            problem: format!("has no file `{path}`"),
            offered: self.files.iter().map(|file| file.path.clone()).collect(),
        };
        let file = self.files.iter().find(|file| file.path == path).ok_or_else(|| of_file(missing()))?;
        let commit = self.commit.as_deref().unwrap_or(DEFAULT_REVISION);
        RemoteFile::of_hub(Arc::clone(hub), repository, commit, file).map_err(of_file)
    }

    fn open_link(&self, path: &str) -> Result<RemoteFile, RemoteError> {
        let Place::Link { folder, query } = &self.place else { unreachable!("only asked for links") };
        let of_file = |error| RemoteError::Source { file: Some(path.to_owned()), error: Box::new(error) };
        let url = format!("{folder}{path}{query}");
        let source = HttpsSource::new("link", url, Trust::Named, None, &self.settings).map_err(of_file)?;
        RemoteFile::of_link(path.to_owned(), source, &self.settings).map_err(of_file)
    }

    /// Writes what describes the model into a folder of its own: the small files, and of each file of weights its header
    /// with a hole behind it, as long as the file. Whoever opens it sees the whole model, except that all weights are
    /// zeros: it is for those who look at keys, names, types and shapes.
    ///
    /// # Errors
    /// If the server refuses, a header is none, or the folder cannot be written.
    pub fn headers(&self) -> Result<RemoteHeaders, RemoteError> {
        let weights: Vec<PathBuf> = self.weights().iter().map(|file| PathBuf::from(&file.path)).collect();
        let mut headers = RemoteHeaders { folder: new_folder()?, received_bytes: 0, weights: Vec::new() };
        for file in &self.files {
            let is_weights = weights.iter().any(|path| path == Path::new(&file.path));
            if !is_weights && (is_weights_name(&file.path) || file.size_bytes > COMPANION_BYTES_MAX) {
                // A tower, or what no reader of a description opens.
                continue;
            }
            let remote = self.open(&file.path)?;
            let bytes = if is_weights { remote.header_bytes()? } else { remote.all()? };
            // Paths were checked when the list was read; those of links are one name.
            let path = headers.folder.join(&file.path);
            write_with_hole(&path, &bytes, file.size_bytes)?;
            headers.received_bytes += remote.received_bytes();
            if is_weights {
                headers.weights.push(path);
            }
        }
        Ok(headers)
    }
}

/// A model's description in a folder that goes away with this value; see [`RemoteModel::headers`].
#[derive(Debug)]
pub struct RemoteHeaders {
    folder: PathBuf,
    weights: Vec<PathBuf>,
    received_bytes: u64,
}

impl RemoteHeaders {
    /// What to open: the (first) GGUF file, or the folder of a checkpoint.
    pub fn path(&self) -> &Path {
        match self.weights.first() {
            Some(path) if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors")) => {
                path.parent().unwrap_or(&self.folder)
            }
            Some(path) => path,
            None => &self.folder,
        }
    }

    /// The files with headers in place of weights, in the order of [`RemoteModel::weights`].
    pub fn weights(&self) -> &[PathBuf] {
        &self.weights
    }

    /// Bytes that were fetched for it.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }
}

impl Drop for RemoteHeaders {
    fn drop(&mut self) {
        // What cannot be removed lies in the folder for temporary files and harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl RemoteFile {
    /// The header of a GGUF file, checked against the file's length.
    ///
    /// # Errors
    /// As [`Header::parse`], and if the server fails.
    pub fn gguf_header(&self) -> Result<Header, RemoteError> {
        self.gguf_prefix().map(|(header, _)| header)
    }

    /// The length and the JSON of a safetensors file: the bytes before its data.
    ///
    /// # Errors
    /// [`RemoteError::HeaderTooLong`] for a length that none has, and if the server fails.
    pub fn safetensors_header(&self) -> Result<Vec<u8>, RemoteError> {
        let start = self.read(0..8)?;
        let length = <[u8; 8]>::try_from(start.as_slice()).map_or(0, u64::from_le_bytes);
        if length > SAFETENSORS_HEADER_BYTES_MAX || length >= self.size_bytes() {
            let (file, max) = (self.path().to_owned(), SAFETENSORS_HEADER_BYTES_MAX.min(self.size_bytes()));
            return Err(RemoteError::HeaderTooLong { file, found: length, max });
        }
        self.read(0..8 + length)
    }

    /// All bytes of a small file.
    ///
    /// # Errors
    /// [`RemoteError::HeaderTooLong`] if it is not small.
    pub fn all(&self) -> Result<Vec<u8>, RemoteError> {
        if self.size_bytes() > COMPANION_BYTES_MAX {
            let (file, found) = (self.path().to_owned(), self.size_bytes());
            return Err(RemoteError::HeaderTooLong { file, found, max: COMPANION_BYTES_MAX });
        }
        self.read(0..self.size_bytes())
    }

    fn read(&self, range: std::ops::Range<u64>) -> Result<Vec<u8>, RemoteError> {
        self.read_at(range)
            .map_err(|error| RemoteError::Source { file: Some(self.path().to_owned()), error: Box::new(error) })
    }

    /// The bytes before the weights, whatever the format.
    fn header_bytes(&self) -> Result<Vec<u8>, RemoteError> {
        if self.read(0..4)? == b"GGUF" || self.path().to_ascii_lowercase().ends_with(".gguf") {
            return self.gguf_prefix().map(|(_, bytes)| bytes);
        }
        if !self.path().to_ascii_lowercase().ends_with(".safetensors") {
            return Err(RemoteError::OtherFormat { file: self.path().to_owned() });
        }
        self.safetensors_header()
    }

    /// The header, and the bytes of the file up to its end or a little further.
    fn gguf_prefix(&self) -> Result<(Header, Vec<u8>), RemoteError> {
        let of_file = |error| RemoteError::Gguf { file: self.path().to_owned(), error };
        let mut bytes = Vec::new();
        let mut step = HEADER_STEP_MIN;
        loop {
            let have = bytes.len() as u64;
            bytes.extend(self.read(have..have + step)?);
            let is_all = bytes.len() as u64 >= self.size_bytes();
            match Header::parse(&bytes, self.size_bytes()) {
                Ok(header) => return Ok((header, bytes)),
                Err(GgufError::Truncated { .. }) if !is_all && (bytes.len() as u64) < GGUF_HEADER_BYTES_MAX => {
                    step = (bytes.len() as u64).clamp(HEADER_STEP_MIN, HEADER_STEP_MAX);
                }
                Err(GgufError::Truncated { .. }) if !is_all => {
                    let (file, found) = (self.path().to_owned(), bytes.len() as u64);
                    return Err(RemoteError::HeaderTooLong { file, found, max: GGUF_HEADER_BYTES_MAX });
                }
                Err(error) => return Err(of_file(error)),
            }
        }
    }
}

fn is_weights_name(path: &str) -> bool {
    let name = path.to_ascii_lowercase();
    name.ends_with(".gguf") || name.ends_with(".safetensors")
}

/// A folder that nobody else has, for as long as this process looks.
fn new_folder() -> Result<PathBuf, RemoteError> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lair-headers-{}-{number}", std::process::id()));
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(&path) {
            Ok(()) => return Ok(path),
            // Left by a process of the same number that was killed.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < FOLDERS_MAX => {}
            Err(error) => return Err(RemoteError::Write { path, error }),
        }
    }
}

/// A file of `length` bytes that begins with `bytes`; the rest takes no space where the file system knows holes.
fn write_with_hole(path: &Path, bytes: &[u8], length: u64) -> Result<(), RemoteError> {
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        let mut file = File::create_new(path)?;
        file.write_all(&bytes[..bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX))])?;
        file.set_len(length)
    };
    write().map_err(|error| RemoteError::Write { path: path.to_owned(), error })
}
