//! Writes a model as a set of shards, `NAME-00001-of-00003.gguf` and so on.
//!
//! The first shard has all metadata; each has `split.no` (from 0), `split.count` and `split.tensors.count`, in the
//! types that llama.cpp reads (u16, u16, i32).

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::GgufError;
use crate::header::limits;
use crate::metadata::Metadata;
use crate::new_file::{FinishedFile, NewFile};
use crate::shard_name::ShardName;
use crate::tensor_info::TensorInfo;
use crate::writer::{GgufWriter, unwritable};

/// Where to cut a model into shards. A shard always has at least one tensor, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitLimit {
    /// At most this many tensors a shard.
    Tensors(usize),
    /// At most this many bytes of tensors a shard, padding included. Headers come on top.
    Bytes(u64),
}

impl GgufWriter {
    /// Writes the model as shards `PREFIX-00001-of-000NN.gguf` and gives their paths, in order. A single shard is
    /// written if all fits one. `source` is called as by [`write`](GgufWriter::write).
    ///
    /// The shards get their names when all are complete, the first one last.
    ///
    /// # Errors
    /// As [`write`](GgufWriter::write), and if there would be more than 65,535 shards.
    pub fn write_shards(
        &self,
        prefix: impl AsRef<Path>,
        limit: SplitLimit,
        mut source: impl FnMut(&TensorInfo, &mut dyn Write) -> io::Result<()>,
    ) -> Result<Vec<PathBuf>, GgufError> {
        self.check()?;
        self.write_groups(prefix.as_ref(), self.groups(limit), &mut source)
    }

    /// As [`write_shards`](GgufWriter::write_shards), with this many tensors in each shard, in order; what is left over goes
    /// into the last one.
    ///
    /// # Errors
    /// As [`write_shards`](GgufWriter::write_shards).
    pub fn write_shards_of(
        &self,
        prefix: impl AsRef<Path>,
        counts: &[usize],
        mut source: impl FnMut(&TensorInfo, &mut dyn Write) -> io::Result<()>,
    ) -> Result<Vec<PathBuf>, GgufError> {
        self.check()?;
        let mut rest = self.tensors();
        let mut groups = Vec::new();
        for (index, count) in counts.iter().enumerate() {
            let count = if index + 1 == counts.len() { rest.len() } else { (*count).min(rest.len()) };
            let (group, following) = rest.split_at(count);
            groups.push(group);
            rest = following;
        }
        self.write_groups(prefix.as_ref(), groups, &mut source)
    }

    fn write_groups(
        &self,
        prefix: &Path,
        groups: Vec<&[TensorInfo]>,
        source: &mut impl FnMut(&TensorInfo, &mut dyn Write) -> io::Result<()>,
    ) -> Result<Vec<PathBuf>, GgufError> {
        let Ok(count) = u16::try_from(groups.len()) else {
            return Err(unwritable("the split model", format!("{} shards", groups.len()), "at most 65535"));
        };
        let name = ShardName { prefix: prefix.to_owned(), number: 1, count: count.into() };
        let mut files = Vec::with_capacity(groups.len());
        let mut paths = Vec::with_capacity(groups.len());
        for (index, group) in (0..).zip(groups) {
            let path = name.path(u32::from(index) + 1);
            let shard = self.shard(index, count, group)?;
            let mut file = NewFile::create(&path)?;
            shard.write_to(&mut file, &path, source)?;
            files.push(file.finish()?);
            paths.push(path);
        }
        files.into_iter().rev().try_for_each(FinishedFile::publish)?;
        Ok(paths)
    }

    /// The tensors, cut in order into what goes into one shard each. At least one group, which may be empty.
    fn groups(&self, limit: SplitLimit) -> Vec<&[TensorInfo]> {
        let tensors = self.tensors();
        let mut groups = Vec::new();
        let mut start = 0;
        for (index, tensor) in tensors.iter().enumerate().skip(1) {
            let is_full = match limit {
                SplitLimit::Tensors(count) => index - start >= count,
                SplitLimit::Bytes(bytes) => tensor.offset + tensor.size_bytes - tensors[start].offset > bytes,
            };
            if is_full {
                groups.push(&tensors[start..index]);
                start = index;
            }
        }
        groups.push(&tensors[start..]);
        groups
    }

    fn shard(&self, index: u16, count: u16, tensors: &[TensorInfo]) -> Result<GgufWriter, GgufError> {
        let mut metadata = Metadata::default();
        if index == 0 {
            metadata = self.metadata().clone();
        } else if let Some(alignment) = self.metadata().get("general.alignment") {
            metadata.set("general.alignment", alignment.clone());
        }
        let tensor_count = i32::try_from(self.tensors().len()).expect("the limit on tensors is far below 2^31");
        const _: () = assert!(limits::TENSOR_COUNT_MAX < i32::MAX as u64);
        metadata.set("split.no", index);
        metadata.set("split.count", count);
        metadata.set("split.tensors.count", tensor_count);
        let mut shard = GgufWriter::new(metadata)?;
        for tensor in tensors {
            shard.add_tensor(&tensor.name, &tensor.shape, tensor.tensor_type)?;
        }
        Ok(shard)
    }
}
