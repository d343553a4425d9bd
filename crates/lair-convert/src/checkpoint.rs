//! A checkpoint on disk: the files of its weights, mapped, and all tensors in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lair_gguf::MappedFile;
use serde_json::Value as Json;

use crate::error::{ConvertError, Fault, printable};
use crate::stored::StoredTensor;
use crate::{pytorch, safetensors};

/// No honest JSON file of a checkpoint is longer; tokenizers have up to 40 MB.
const JSON_BYTES_MAX: u64 = 256 << 20;
/// Files of weights; the largest known checkpoint has 191.
const FILES_MAX: usize = 10_000;
/// What a folder of a checkpoint holds.
const EXPECTED: &str = "a folder with `config.json` and `model.safetensors` or `pytorch_model.bin`, whole or in parts";
/// The weights of a folder, in the order in which they are looked for: an index of parts, or one file.
const WEIGHTS: [&str; 5] = [
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
];

/// The weights of a checkpoint, mapped and checked.
#[derive(Debug)]
pub struct Checkpoint {
    /// The folder, in which the other files lie.
    pub folder: PathBuf,
    /// The files with weights.
    pub files: Vec<MappedFile>,
    /// All tensors, by name.
    pub tensors: BTreeMap<String, StoredTensor>,
}

impl Checkpoint {
    /// Opens the checkpoint at `path`: its folder, or a file of weights in it.
    ///
    /// # Errors
    /// If there is none, a part is missing, a file breaks a rule, or two files hold a tensor of one name.
    pub fn open(path: &Path) -> Result<Checkpoint, ConvertError> {
        let (folder, paths) = weight_files(path)?;
        Checkpoint::of_files(&folder, &paths)
    }

    /// A checkpoint of these files in `folder`.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub(crate) fn of_files(folder: &Path, paths: &[PathBuf]) -> Result<Checkpoint, ConvertError> {
        let mut checkpoint = Checkpoint::without_weights(folder);
        paths.iter().try_for_each(|path| checkpoint.add(path))?;
        Ok(checkpoint)
    }

    /// The other files of a folder.
    pub(crate) fn without_weights(folder: &Path) -> Checkpoint {
        Checkpoint { folder: folder.to_owned(), files: Vec::new(), tensors: BTreeMap::new() }
    }

    fn add(&mut self, path: &Path) -> Result<(), ConvertError> {
        let file = MappedFile::open(path)?;
        let tensors = read_tensors(path, &file).map_err(|fault| fault.in_file(path))?;
        file.check_unchanged()?;
        for tensor in tensors {
            let tensor = StoredTensor { file: self.files.len(), ..tensor };
            if let Some(other) = self.tensors.insert(tensor.name.clone(), tensor) {
                let found = format!("`{}`, which `{}` has too", other.name, self.files[other.file].path().display());
                return Err(Fault::malformed("a tensor", found, "each name once").in_file(path));
            }
        }
        self.files.push(file);
        Ok(())
    }

    /// A JSON file of the folder; `None` if it is not there.
    ///
    /// # Errors
    /// If it cannot be read or is no JSON.
    pub fn json(&self, name: &str) -> Result<Option<Json>, ConvertError> {
        read_json(&self.folder.join(name))
    }

    /// A text file of the folder; `None` if it is not there.
    ///
    /// # Errors
    /// If it cannot be read or is no UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<String>, ConvertError> {
        let path = self.folder.join(name);
        let Some(bytes) = read_file(&path)? else { return Ok(None) };
        let text = String::from_utf8(bytes);
        text.map(Some).map_err(|_| Fault::malformed("the text", "bytes that are no UTF-8", "UTF-8").in_file(&path))
    }

    /// A file of the folder; `None` if it is not there.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, ConvertError> {
        read_file(&self.folder.join(name))
    }
}

/// Whether `path` is a checkpoint, as far as names tell: a folder with weights, or a file of weights.
pub fn is_checkpoint(path: &Path) -> bool {
    match path.is_dir() {
        true => path.join("config.json").is_file() && WEIGHTS.iter().any(|name| path.join(name).is_file()),
        false => is_weight_file(path) && path.is_file(),
    }
}

/// Whether a file is called as files of weights are, other than GGUF.
fn is_weight_file(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    [".safetensors", ".safetensors.index.json", ".bin.index.json", ".pt", ".pth"].iter().any(|end| name.ends_with(end))
        || name.starts_with("pytorch_model") && name.ends_with(".bin")
}

fn read_tensors(path: &Path, bytes: &[u8]) -> Result<Vec<StoredTensor>, Fault> {
    match path.extension().is_some_and(|extension| extension == "safetensors") {
        true => Ok(safetensors::Header::parse(bytes)?.tensors),
        false => pytorch::parse(bytes),
    }
}

/// The folder of a checkpoint, and its files of weights in order.
fn weight_files(path: &Path) -> Result<(PathBuf, Vec<PathBuf>), ConvertError> {
    if !path.is_dir() {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A part of a model stands for the whole of it.
        let is_part = |name: &&&str| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|file| {
                name.ends_with(".index.json")
                    && file.contains("-of-")
                    && file.starts_with(name.split('.').next().unwrap_or(""))
            })
        };
        let index = WEIGHTS.iter().filter(is_part).map(|name| folder.join(name)).find(|index| index.is_file());
        return Ok((folder.to_owned(), files_of(&index.unwrap_or_else(|| path.to_owned()))?));
    }
    let first = WEIGHTS.iter().map(|name| path.join(name)).find(|file| file.is_file());
    match first {
        Some(first) => Ok((path.to_owned(), files_of(&first)?)),
        None => {
            let has = |name: &str| path.join(name).is_file();
            let found = match () {
                () if has("adapter_config.json") => "a LoRA adapter",
                () if has("consolidated.safetensors") || has("params.json") => "weights in Mistral's own layout",
                () if has("tf_model.h5") || has("flax_model.msgpack") => "weights of TensorFlow or Flax",
                () => "no weights",
            };
            Err(ConvertError::NotACheckpoint { path: path.to_owned(), found: found.to_owned(), expected: EXPECTED })
        }
    }
}

/// A file of weights itself, or those that an index names.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, ConvertError> {
    if path.extension().is_none_or(|extension| extension != "json") {
        return Ok(vec![path.to_owned()]);
    }
    let wrong = |found: &str| Fault::malformed("`weight_map`", found, "an object from tensors to files").in_file(path);
    let index = read_json(path)?.ok_or_else(|| wrong("nothing"))?;
    let map = index["weight_map"].as_object().ok_or_else(|| wrong("another value, or nothing"))?;
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        let file = file.as_str().ok_or_else(|| wrong("a file that is no text"))?;
        // A name from a file must not lead out of the folder.
        if file.contains(['/', '\\']) || file == ".." || file.is_empty() {
            return Err(wrong(&format!("`{file}` for `{}`", printable(tensor))));
        }
        names.insert(file);
    }
    if names.is_empty() || names.len() > FILES_MAX {
        return Err(wrong(&format!("{} files", names.len())));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

fn read_json(path: &Path) -> Result<Option<Json>, ConvertError> {
    let Some(bytes) = read_file(path)? else { return Ok(None) };
    let json = serde_json::from_slice(&bytes);
    json.map(Some).map_err(|error| Fault::malformed("the file", error, "JSON").in_file(path))
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, ConvertError> {
    let failed = |source| ConvertError::Io { action: "read", path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.is_file() => return Ok(None),
        Ok(metadata) if metadata.len() > JSON_BYTES_MAX => {
            let expected = format!("at most {JSON_BYTES_MAX}");
            return Err(Fault::malformed("the file", format!("{} bytes", metadata.len()), expected).in_file(path));
        }
        Ok(_) => {}
    }
    std::fs::read(path).map(Some).map_err(failed)
}
