//! What FROM, ADAPTER and DRAFT name: files, folders, blobs and stored models.

use std::path::{Path, PathBuf};

use lair_gguf::{GgufFile, Value};

use super::create_error::CreateError;
use super::safetensors::unconverted;
use crate::blobs::Adopt;
use crate::digest::Digest;
use crate::file_system::FileKind;
use crate::found::FileRole;
use crate::oci::{Layer, media_type};
use crate::reference::Reference;
use crate::resolve::Resolved;
use crate::store::Store;

/// What `--quantize` takes in Ollama.
pub const QUANTIZATIONS: [&str; 3] = ["q4_K_M", "q4_K_S", "q8_0"];

/// What is read of a file to tell what it is.
const MAGIC: &[u8; 4] = b"GGUF";

/// What a FROM line means.
pub(super) enum Source {
    /// A model of the store.
    Stored(Box<crate::layouts::StoredManifest>),
    /// Model files; of those that are blobs already, the digest.
    Files(Vec<SourceFile>),
}

/// A model file.
pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    pub(super) digest: Option<Digest>,
    /// Which shard of a split model it is, from 0, and of how many.
    pub(super) shard: Option<(u32, u32)>,
}

/// What a FROM line means: what is written as a digest is a blob, what is there as a file or a folder is that, anything else
/// is a model.
pub(super) fn find(store: &Store, folder: &Path, from: &str) -> Result<Source, CreateError> {
    if let Some(digest) = written_digest(from) {
        let path = store.blobs().path(&digest);
        return match store.blobs().size_bytes(&digest) {
            Some(_) => Ok(Source::Files(vec![source_file(store, path)?])),
            None => Err(CreateError::NoBlob { digest }),
        };
    }
    let path = expand(folder, from);
    if let Ok(facts) = store.settings().file_system.facts(&path) {
        return match facts.kind {
            FileKind::Folder => files_of_folder(store, &path),
            _ => Ok(Source::Files(with_shards(store, vec![path])?)),
        };
    }
    let reference = Reference::parse(from).map_err(crate::error::StoreError::from)?;
    if let Reference::Name(name) = &reference
        && let Some(stored) = store.manifest(name)?
    {
        return Ok(Source::Stored(Box::new(stored)));
    }
    match store.resolve(&reference)? {
        Resolved::File(path) => Ok(Source::Files(with_shards(store, vec![path])?)),
        Resolved::Missing(entry) => Err(CreateError::NotHere(Box::new(entry))),
        Resolved::Model(model) => {
            if model.root == store.blobs().root()
                && let Some(name) = &model.model_name
                && let Some(stored) = store.manifest(name)?
            {
                return Ok(Source::Stored(Box::new(stored)));
            }
            let wanted = |role| matches!(role, FileRole::Weights | FileRole::Projector);
            let files = model.files.iter().filter(|file| wanted(file.role)).map(|file| file.path.clone());
            Ok(Source::Files(with_shards(store, files.collect())?))
        }
    }
}

/// One file, for ADAPTER and DRAFT.
pub(super) fn find_file(store: &Store, folder: &Path, written: &str) -> Result<SourceFile, CreateError> {
    if let Some(digest) = written_digest(written) {
        return match store.blobs().size_bytes(&digest) {
            Some(_) => source_file(store, store.blobs().path(&digest)),
            None => Err(CreateError::NoBlob { digest }),
        };
    }
    let path = expand(folder, written);
    match store.settings().file_system.facts(&path) {
        Ok(facts) if facts.kind == FileKind::Folder => Err(unconverted(store, &path)),
        _ => source_file(store, path),
    }
}

/// `sha256:<hex>`, `@sha256:<hex>` or `sha256-<hex>`.
fn written_digest(text: &str) -> Option<Digest> {
    let text = text.strip_prefix('@').unwrap_or(text);
    text.replacen("sha256-", "sha256:", 1).parse().ok()
}

/// A path of a Modelfile: relative to its folder, `~` for the home folder.
fn expand(folder: &Path, written: &str) -> PathBuf {
    match (written.strip_prefix('~'), std::env::home_dir()) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => folder.join(written),
    }
}

fn files_of_folder(store: &Store, path: &Path) -> Result<Source, CreateError> {
    let entries = store.settings().file_system.read_folder(path).map_err(crate::error::StoreError::io("read", path))?;
    let with_ending = |ending: &str| {
        let is_wanted = |entry: &&crate::file_system::FolderEntry| {
            entry.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(ending))
        };
        entries.iter().filter(is_wanted).map(|entry| entry.path.clone()).collect::<Vec<_>>()
    };
    let files = with_ending("gguf");
    match (files.is_empty(), with_ending("safetensors").is_empty()) {
        (false, _) => Ok(Source::Files(with_shards(store, files)?)),
        (true, false) => Err(unconverted(store, path)),
        (true, true) => Err(CreateError::EmptyFolder { path: path.to_path_buf() }),
    }
}

/// The files, and of split models all shards, each once.
fn with_shards(store: &Store, paths: Vec<PathBuf>) -> Result<Vec<SourceFile>, CreateError> {
    let mut all: Vec<SourceFile> = Vec::new();
    for path in paths {
        let file = source_file(store, path)?;
        let name = lair_gguf::ShardName::parse(&file.path).filter(|_| file.digest.is_none());
        let others = match (file.shard, name) {
            (Some(_), Some(name)) => (1..=name.count).map(|number| name.path(number)).collect(),
            _ => Vec::new(),
        };
        for other in others.into_iter().filter(|other| *other != file.path) {
            if !all.iter().any(|known| known.path == other) {
                all.push(source_file(store, other)?);
            }
        }
        if !all.iter().any(|known| known.path == file.path) {
            all.push(file);
        }
    }
    Ok(all)
}

/// A file, which must begin like a GGUF file. One below the store's own `blobs` is not hashed again.
fn source_file(store: &Store, path: PathBuf) -> Result<SourceFile, CreateError> {
    let file_system = &store.settings().file_system;
    let file = file_system
        .open(&path, crate::file_system::OpenHow::Read)
        .map_err(crate::error::StoreError::io("open", &path))?;
    let mut magic = [0; 4];
    let count = file.read_at(0, &mut magic).map_err(crate::error::StoreError::io("read", &path))?;
    if count < magic.len() || &magic != MAGIC {
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors")) {
            return Err(unconverted(store, path.parent().unwrap_or(Path::new(""))));
        }
        return Err(CreateError::WrongFile { path, found: "no GGUF file".to_string(), expected: "one" });
    }
    let digest = path.file_name().and_then(|name| written_digest(&name.to_string_lossy()));
    let digest = digest.filter(|digest| store.blobs().path(digest) == path);
    let shard = lair_gguf::OpenOptions::default()
        .shard_of(&path)
        .map_err(|reason| CreateError::BadModel { path: path.clone(), reason })?;
    Ok(SourceFile { path, digest, shard })
}

/// Makes a layer of a file, hashing it unless it is a blob already. The media type says what it must be; `None` tells a model
/// from a projector.
pub(super) fn to_layer(
    store: &Store,
    source: &SourceFile,
    media_type: Option<&'static str>,
    progress: &mut dyn FnMut(u64),
) -> Result<Layer, CreateError> {
    // A shard is a part of a model and of nothing else.
    let kind = if source.shard.is_some() { Kind::Model } else { kind_of(&source.path)? };
    let media_type = match (media_type, kind) {
        (None, Kind::Model) => media_type::MODEL,
        (None, Kind::Projector) => media_type::PROJECTOR,
        (Some(media_type::ADAPTER), Kind::Adapter) => media_type::ADAPTER,
        (Some(media_type::DRAFT), Kind::Model) => media_type::DRAFT,
        (wanted, kind) => {
            let expected = match wanted {
                Some(media_type::ADAPTER) => "an adapter",
                _ => "a model",
            };
            return Err(CreateError::WrongFile {
                path: source.path.clone(),
                found: kind.words().to_string(),
                expected,
            });
        }
    };
    let digest = match source.digest {
        Some(digest) => {
            store.blobs().claim(&[digest])?;
            digest
        }
        None => store.blobs().adopt(&source.path, Adopt::Cheapest, progress)?,
    };
    let size_bytes = store.blobs().size_bytes(&digest).ok_or(CreateError::NoBlob { digest })?;
    Ok(Layer { media_type: media_type.to_string(), digest, size_bytes, from: None, name: None })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Projector,
    Adapter,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Kind::Model => "a model",
            Kind::Projector => "a projector",
            Kind::Adapter => "a LoRA adapter",
        }
    }
}

/// What a GGUF file is, by its metadata.
fn kind_of(path: &Path) -> Result<Kind, CreateError> {
    let file = GgufFile::open(path).map_err(|reason| CreateError::BadModel { path: path.to_path_buf(), reason })?;
    let metadata = file.metadata();
    let architecture = file.architecture().unwrap_or_default();
    let integer = |key: String| metadata.get(&key).and_then(Value::as_integer).unwrap_or(0);
    let has_layers = integer(format!("{architecture}.block_count")) > 0;
    let has_tower = integer(format!("{architecture}.vision.block_count")) > 0 || architecture == "clip";
    Ok(match metadata.get("general.type").and_then(Value::as_str) {
        Some("adapter") => Kind::Adapter,
        Some("projector" | "mmproj") => Kind::Projector,
        _ if has_tower && !has_layers => Kind::Projector,
        _ => Kind::Model,
    })
}
