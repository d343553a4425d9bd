//! An opened model: one file, or all shards of a split one, seen as one.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::assembled::Maker;
use crate::error::GgufError;
use crate::header::Header;
use crate::mapping::Mapping;
use crate::metadata::Metadata;
use crate::ollama_layout;
use crate::shard_name::ShardName;
use crate::tensor_info::TensorInfo;

/// Where the bytes of the weights live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapMode {
    /// In the file: pages are read when they are touched and shared with other processes. If the file shrinks
    /// meanwhile, its lost pages read as zeros on Linux, and [`GgufFile::check_unchanged`] tells; on other systems
    /// the operating system ends the process or forbids the change.
    #[default]
    Mapped,
    /// In memory: the whole file is read at once, and what happens to it afterwards does not matter. For files that
    /// others may change.
    Copied,
}

/// How to open a model.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    /// Where the bytes live.
    pub map: MapMode,
}

/// An opened model: metadata, tensors and their bytes. Cheap to clone; all clones share the bytes.
#[derive(Clone, Debug)]
pub struct GgufFile {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Of the first shard, which has all metadata of the model.
    metadata: Metadata,
    version: u32,
    alignment: u32,
    tensors: Vec<TensorInfo>,
    /// Indices into `tensors`, sorted by name.
    by_name: Vec<u32>,
    shards: Vec<Shard>,
    /// For each tensor what makes its bytes, where they do not lie in a file; empty for a model read from GGUF files.
    makers: Vec<Option<Maker>>,
}

#[derive(Debug)]
struct Shard {
    mapping: Arc<Mapping>,
    data_start: u64,
}

/// The bytes of one tensor. Keeps the mapping alive; cheap to clone.
#[derive(Clone, Debug)]
pub struct TensorData(Bytes);

#[derive(Clone, Debug)]
enum Bytes {
    Mapped { mapping: Arc<Mapping>, start: usize, length: usize },
    Made(Arc<[u8]>),
}

impl GgufFile {
    /// Opens a model for reading and maps it. `path` is the model's file or any shard of a split model, of which
    /// all others are found by their names.
    ///
    /// # Errors
    /// If a file cannot be read, is no valid GGUF, or the shards do not make one model.
    pub fn open(path: impl AsRef<Path>) -> Result<GgufFile, GgufError> {
        OpenOptions::default().open(path)
    }

    /// Keys and values. Of a split model: those of its first shard.
    pub fn metadata(&self) -> &Metadata {
        &self.inner.metadata
    }

    /// `general.architecture`, for example `llama`.
    ///
    /// # Errors
    /// If it is missing or no string.
    pub fn architecture(&self) -> Result<&str, GgufError> {
        self.inner.metadata.str("general.architecture")
    }

    /// All tensors, shard by shard, in the order of the files.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.inner.tensors
    }

    /// Gives pages of the file that are in memory back to the system. They are read again when they are needed: this
    /// is for after a tensor has been copied into another layout, so that a model does not lie in memory twice.
    pub fn release_pages(&self) {
        self.inner.shards.iter().for_each(|shard| shard.mapping.release_pages());
    }

    /// The tensor with this name, if there is one.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        Some(&self.inner.tensors[self.inner.index_of(name)?])
    }

    /// The tensor with this name.
    ///
    /// # Errors
    /// [`GgufError::MissingTensor`] if there is none.
    pub fn required_tensor(&self, name: &str) -> Result<&TensorInfo, GgufError> {
        self.tensor(name).ok_or_else(|| GgufError::MissingTensor { name: name.to_owned() })
    }

    /// The bytes of `tensor`, which must be one of [`tensors`](GgufFile::tensors).
    ///
    /// They begin at a multiple of the file's alignment in memory too. That is 32 in nearly all files, but it may be
    /// as little as 1: a reader of wider numbers has to check, or to read bytes.
    ///
    /// # Panics
    /// If `tensor` is of another model and does not lie in this one.
    pub fn tensor_data(&self, tensor: &TensorInfo) -> TensorData {
        let maker = || self.inner.makers[self.inner.index_of(&tensor.name)?].as_ref();
        if !self.inner.makers.is_empty()
            && let Some(Maker(make)) = maker()
        {
            let bytes = make();
            assert_eq!(bytes.len() as u64, tensor.size_bytes, "`{}` is made as long as declared", tensor.name);
            return TensorData(Bytes::Made(bytes.into()));
        }
        let shard = &self.inner.shards[tensor.shard];
        let start = shard.data_start.checked_add(tensor.offset).and_then(|start| usize::try_from(start).ok());
        let length = usize::try_from(tensor.size_bytes).ok();
        let (Some(start), Some(length)) = (start, length) else { panic!("the tensor is not one of this model") };
        if length == 0 {
            // An empty tensor may stand behind the last byte.
            return TensorData(Bytes::Mapped { mapping: Arc::clone(&shard.mapping), start: 0, length: 0 });
        }
        let end = start.checked_add(length);
        assert!(end.is_some_and(|end| end <= shard.mapping.bytes().len()), "the tensor is not one of this model");
        TensorData(Bytes::Mapped { mapping: Arc::clone(&shard.mapping), start, length })
    }

    /// Version of the format the (first) file is in.
    pub fn version(&self) -> u32 {
        self.inner.version
    }

    /// Alignment of the tensors in the (first) file, in bytes.
    pub fn alignment(&self) -> u32 {
        self.inner.alignment
    }

    /// The files, in order: one, or all shards.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.inner.shards.iter().map(|shard| shard.mapping.path())
    }

    /// The (first) file.
    pub fn path(&self) -> &Path {
        self.inner.shards[0].mapping.path()
    }

    /// Bytes of all files together; of an assembled model, of all its tensors.
    pub fn size_bytes(&self) -> u64 {
        if !self.inner.makers.is_empty() {
            return self.inner.tensors.iter().map(|tensor| tensor.size_bytes).fold(0, u64::saturating_add);
        }
        self.inner.shards.iter().map(|shard| shard.mapping.bytes().len() as u64).sum()
    }

    /// Checks that the files still have the length they had when they were opened and that nothing was read past
    /// their end. One system call a shard: cheap enough before each load and each request.
    ///
    /// # Errors
    /// [`GgufError::ChangedInUse`].
    pub fn check_unchanged(&self) -> Result<(), GgufError> {
        self.inner.shards.iter().try_for_each(|shard| shard.mapping.check_unchanged())
    }

    /// True if a page could not be read because its file had shrunk, and zeros were read in its place: what was
    /// computed from the weights since is wrong. A look at one flag a shard, no system call.
    pub fn was_damaged(&self) -> bool {
        self.inner.shards.iter().any(|shard| shard.mapping.was_damaged())
    }
}

impl OpenOptions {
    /// Opens a model as [`GgufFile::open`] does, with these options.
    ///
    /// # Errors
    /// As [`GgufFile::open`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<GgufFile, GgufError> {
        let path = path.as_ref();
        let (mapping, header) = self.open_one(path)?;
        let name = ShardName::parse(path);
        let count = shard_count(&header, path)?;
        match name {
            Some(name) if name.count > 1 || count > 1 => {
                if name.count != count {
                    return Err(mismatch(path, "split.count", count, format!("{}, as its name says", name.count)));
                }
                // The one already open is opened again in its turn: once more mapping a header costs little.
                let paths: Vec<PathBuf> = (1..=count).map(|number| name.path(number)).collect();
                drop((mapping, header));
                self.open_shards(&paths)
            }
            None if count > 1 => {
                let expected = format!("a name that ends in `-00001-of-{count:05}.gguf`");
                Err(mismatch(path, "the name of a shard", path.display(), expected))
            }
            _ => Ok(GgufFile::join(vec![(mapping, header)])),
        }
    }

    /// Which shard a file says it is, from 0, and of how many; nothing for a model in one file. Its other shards need not
    /// be there.
    ///
    /// # Errors
    /// If it cannot be read or is no valid GGUF.
    pub fn shard_of(&self, path: impl AsRef<Path>) -> Result<Option<(u32, u32)>, GgufError> {
        let path = path.as_ref();
        let (_, header) = self.open_one(path)?;
        let count = shard_count(&header, path)?;
        let number = header.metadata.optional_u32("split.no").map_err(|error| error.in_file(path))?;
        Ok((count > 1).then_some((number.unwrap_or(0), count)))
    }

    /// Opens a split model whose shards, in order, are `paths`, whatever they are called.
    ///
    /// # Errors
    /// As [`GgufFile::open`].
    pub fn open_shards(&self, paths: &[impl AsRef<Path>]) -> Result<GgufFile, GgufError> {
        let count = u32::try_from(paths.len()).expect("fewer than 2^32 paths");
        let mut parts = Vec::with_capacity(paths.len());
        for (number, path) in (1..).zip(paths) {
            let path = path.as_ref();
            let part = self.open_one(path).map_err(|error| match error {
                GgufError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                    GgufError::MissingShard { number, count, path: path.to_owned() }
                }
                other => other,
            })?;
            parts.push(part);
        }
        check_shards(&parts)?;
        Ok(GgufFile::join(parts))
    }

    fn open_one(&self, path: &Path) -> Result<(Mapping, Header), GgufError> {
        let mapping = Mapping::open(path, self.map)?;
        let bytes = mapping.bytes();
        let header = Header::parse(bytes, bytes.len() as u64).map_err(|error| error.in_file(path))?;
        // If it shrank while it was parsed, the header is made of zeros in part.
        mapping.check_unchanged()?;
        Ok((mapping, header))
    }
}

impl GgufFile {
    /// Makes one model of files whose headers were checked against each other.
    fn join(parts: Vec<(Mapping, Header)>) -> GgufFile {
        let mut parts = parts.into_iter().enumerate();
        let (_, (mapping, first)) = parts.next().expect("there is at least one file");
        let Header { version, mut metadata, mut tensors, alignment, data_start } = first;
        let mut shards = vec![Shard { mapping: Arc::new(mapping), data_start }];
        for (index, (mapping, header)) in parts {
            tensors.extend(header.tensors.into_iter().map(|tensor| TensorInfo { shard: index, ..tensor }));
            shards.push(Shard { mapping: Arc::new(mapping), data_start: header.data_start });
        }
        ollama_layout::translate(&mut metadata, &mut tensors);
        let by_name = sorted_by_name(&tensors);
        let makers = Vec::new();
        GgufFile { inner: Arc::new(Inner { metadata, version, alignment, tensors, by_name, shards, makers }) }
    }

    /// A model whose tensors lie anywhere in the files, or are made; all of it was checked.
    pub(crate) fn of_parts(
        metadata: Metadata,
        mappings: Vec<Arc<Mapping>>,
        tensors: Vec<TensorInfo>,
        makers: Vec<Option<Maker>>,
    ) -> GgufFile {
        let by_name = sorted_by_name(&tensors);
        let shards = mappings.into_iter().map(|mapping| Shard { mapping, data_start: 0 }).collect();
        GgufFile { inner: Arc::new(Inner { metadata, version: 3, alignment: 1, tensors, by_name, shards, makers }) }
    }

    /// The files, shared.
    pub(crate) fn mappings(&self) -> Vec<Arc<Mapping>> {
        self.inner.shards.iter().map(|shard| Arc::clone(&shard.mapping)).collect()
    }

    /// Where a tensor of this model begins in its file, and what makes it if it lies in none.
    pub(crate) fn place_of(&self, tensor: &TensorInfo) -> (u64, Option<Maker>) {
        let maker = self.inner.index_of(&tensor.name).and_then(|index| self.inner.makers.get(index)?.clone());
        (self.inner.shards[tensor.shard].data_start + tensor.offset, maker)
    }

    /// A name that more than one tensor has, if there is one.
    pub(crate) fn first_double_name(&self) -> Option<&str> {
        let name = |index: &u32| self.inner.tensors[*index as usize].name.as_str();
        self.inner.by_name.windows(2).find(|pair| name(&pair[0]) == name(&pair[1])).map(|pair| name(&pair[0]))
    }
}

impl Inner {
    fn index_of(&self, name: &str) -> Option<usize> {
        let Inner { tensors, by_name, .. } = self;
        let place = by_name.binary_search_by(|index| tensors[*index as usize].name.as_str().cmp(name)).ok()?;
        Some(by_name[place] as usize)
    }
}

/// Indices of the tensors in the order of their names.
fn sorted_by_name(tensors: &[TensorInfo]) -> Vec<u32> {
    let count = u32::try_from(tensors.len()).expect("each of the files has far fewer than 2^32 tensors");
    let mut by_name: Vec<u32> = (0..count).collect();
    by_name.sort_by(|left, right| tensors[*left as usize].name.cmp(&tensors[*right as usize].name));
    by_name
}

/// How many files the model is split into, as the header says; 1 if it says nothing.
fn shard_count(header: &Header, path: &Path) -> Result<u32, GgufError> {
    let count = header.metadata.optional_u32("split.count").map_err(|error| error.in_file(path))?;
    // A writer that was asked to split what fits one file leaves 0 or 1.
    Ok(count.unwrap_or(1).max(1))
}

/// Checks that the files make one model: number and count of each, its identity, the number of tensors, their names.
fn check_shards(parts: &[(Mapping, Header)]) -> Result<(), GgufError> {
    let Some((first_mapping, first)) = parts.first() else {
        let empty = std::io::Error::new(std::io::ErrorKind::InvalidInput, "no files given");
        return Err(GgufError::Io { action: "open", path: PathBuf::new(), source: empty });
    };
    for (index, (mapping, header)) in parts.iter().enumerate() {
        let path = mapping.path();
        let count = shard_count(header, path)?;
        if count as usize != parts.len() {
            return Err(mismatch(path, "split.count", count, parts.len()));
        }
        let number = header.metadata.optional_u32("split.no").map_err(|error| error.in_file(path))?;
        if number.unwrap_or(0) as usize != index {
            return Err(mismatch(path, "split.no", number.unwrap_or(0), index));
        }
        check_identity(path, &first.metadata, &header.metadata)?;
    }
    let tensor_count: usize = parts.iter().map(|(_, header)| header.tensors.len()).sum();
    let path = first_mapping.path();
    let declared = first.metadata.optional_u64("split.tensors.count").map_err(|error| error.in_file(path))?;
    if let Some(declared) = declared
        && declared != tensor_count as u64
    {
        return Err(mismatch(path, "split.tensors.count", declared, format!("{tensor_count}, as in all shards")));
    }
    let mut names: Vec<(&str, &Path)> = parts
        .iter()
        .flat_map(|(mapping, header)| header.tensors.iter().map(|tensor| (tensor.name.as_str(), mapping.path())))
        .collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => {
            let expected = format!("each name once, `{}` has it too", pair[0].1.display());
            Err(mismatch(pair[1].1, "a tensor's name", format!("`{}`", pair[1].0), expected))
        }
        None => Ok(()),
    }
}

/// A later shard need not repeat the model's keys; those it repeats must say the same.
fn check_identity(path: &Path, first: &Metadata, metadata: &Metadata) -> Result<(), GgufError> {
    for (key, value) in metadata.iter() {
        let is_identity = key.starts_with("general.") && key != "general.alignment" || key == "split.tensors.count";
        match first.get(key) {
            Some(other) if is_identity && other != value => {
                return Err(mismatch(path, key, value, other));
            }
            _ => {}
        }
    }
    Ok(())
}

fn mismatch(path: &Path, what: &str, found: impl ToString, expected: impl ToString) -> GgufError {
    let (found, expected) = (found.to_string(), expected.to_string());
    GgufError::ShardMismatch { path: path.to_owned(), what: what.to_owned(), found, expected }
}

impl Deref for TensorData {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped { mapping, start, length } => &mapping.bytes()[*start..start + length],
            Bytes::Made(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for TensorData {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
