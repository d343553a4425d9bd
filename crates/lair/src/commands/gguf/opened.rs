//! A model that is looked at: files of this machine, or files on a server, of which only what is needed is fetched.

use std::path::{Path, PathBuf};

use lair_gguf::{GgufFile, Header, MappedFile, TensorInfo};
use lair_store::{Reference, RemoteError, RemoteFile, RemoteHeaders, RemoteModel, SourceError, StoreError};

use crate::failure::{ExitCode, Failure};
use crate::{locate, offline};

/// Bytes of a tensor that are fetched or looked at together, about.
const PIECE_BYTES: usize = 8 << 20;

/// A model in GGUF files that can be looked at.
pub struct Opened {
    model: GgufFile,
    name: String,
    remote: Option<Remote>,
}

/// Where the bytes of the weights are.
struct Remote {
    files: Vec<RemoteFile>,
    /// Where the data of each file begins.
    data_starts: Vec<u64>,
    /// What the model is read from; removed with this.
    headers: RemoteHeaders,
}

/// What the user named: files that are here, or descriptions of those that are not.
pub enum Place {
    /// A file of this machine.
    Here(PathBuf),
    /// Files on a server, of which the headers are here.
    There(Box<RemoteModel>, RemoteHeaders),
}

impl Place {
    /// Finds what `text` names. What is a file or folder here is meant as such.
    pub fn find(text: &str) -> Result<Place, Failure> {
        let path = PathBuf::from(text);
        if path.exists() {
            return Ok(Place::Here(path));
        }
        match Reference::parse(text) {
            Ok(reference @ (Reference::Hub(_) | Reference::Link(_))) => {
                offline::check(text, &format!("lair pull {text}"))?;
                let store = locate::store()?;
                let model = RemoteModel::find(&reference, store.settings())?;
                let headers = model.headers()?;
                Ok(Place::There(Box::new(model), headers))
            }
            Err(error) if text.contains("://") => Err(StoreError::from(error).into()),
            _ => Ok(Place::Here(path)),
        }
    }

    /// The safetensors files that are meant, if it is such that are meant.
    pub fn safetensors(&self) -> Option<Vec<PathBuf>> {
        let is_one = |path: &Path| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("safetensors"));
        match self {
            Place::Here(path) if is_one(path) && path.is_file() => Some(vec![path.clone()]),
            Place::There(_, headers) if headers.weights().iter().any(|path| is_one(path)) => {
                Some(headers.weights().to_vec())
            }
            _ => None,
        }
    }
}

impl Opened {
    /// Opens what `text` names: a file, any shard of a split model, `hf.co/USER/REPOSITORY`, or a link to a file.
    pub fn new(text: &str) -> Result<Opened, Failure> {
        Opened::at(Place::find(text)?, text)
    }

    /// Opens a place that [`Place::find`] gave for `text`.
    pub fn at(place: Place, text: &str) -> Result<Opened, Failure> {
        let name = text.to_owned();
        if place.safetensors().is_some() {
            return Err(Failure::new(ExitCode::Usage, format!("`{name}` is safetensors, GGUF expected"))
                .with_hint("`lair gguf dump` shows what is in it, `lair convert` makes GGUF of it".to_owned()));
        }
        match place {
            Place::Here(path) => Ok(Opened { model: GgufFile::open(path)?, name, remote: None }),
            Place::There(remote, headers) => {
                let model = GgufFile::open(headers.path())?;
                let mut data_starts = Vec::new();
                for path in model.paths() {
                    let bytes = MappedFile::open(path)?;
                    data_starts.push(Header::parse(&bytes, bytes.len() as u64)?.data_start);
                }
                let files = remote.weights().iter().map(|file| remote.open(&file.path)).collect::<Result<_, _>>()?;
                Ok(Opened { model, name, remote: Some(Remote { files, data_starts, headers }) })
            }
        }
    }

    /// Keys and tensors. The bytes of tensors come from [`read`](Opened::read), not from here.
    pub fn model(&self) -> &GgufFile {
        &self.model
    }

    /// What the user called it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes that were fetched of it so far, if it is not here.
    pub fn received_bytes(&self) -> Option<u64> {
        let remote = self.remote.as_ref()?;
        let of_files: u64 = remote.files.iter().map(RemoteFile::received_bytes).sum();
        Some(remote.headers.received_bytes() + of_files)
    }

    /// Gives the bytes of a tensor piece by piece, each a whole number of blocks.
    pub fn read(&self, tensor: &TensorInfo, mut take: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
        let block = tensor.tensor_type.block_bytes();
        let piece = (PIECE_BYTES / block).max(1) * block;
        let Some(remote) = &self.remote else {
            self.model.tensor_data(tensor).chunks(piece).try_for_each(take)?;
            self.model.release_pages();
            return Ok(self.model.check_unchanged()?);
        };
        let start = remote.data_starts[tensor.shard] + tensor.offset;
        let end = start + tensor.size_bytes;
        let mut at = start;
        while at < end {
            let next = end.min(at + piece as u64);
            take(&remote.files[tensor.shard].read_at(at..next)?)?;
            at = next;
        }
        Ok(())
    }
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Failure {
        let code = match &error {
            RemoteError::Gguf { .. } | RemoteError::HeaderTooLong { .. } | RemoteError::OtherFormat { .. } => {
                ExitCode::BadModel
            }
            RemoteError::Write { .. } => ExitCode::Other,
            _ => ExitCode::NotFound,
        };
        Failure::new(code, &error).with_hint(error.hint())
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Failure {
        StoreError::from(error).into()
    }
}
