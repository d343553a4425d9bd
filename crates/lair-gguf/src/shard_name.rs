//! The names of the files of a split model: `NAME-00001-of-00003.gguf`.

use std::path::{Path, PathBuf};

/// The name of one shard, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardName {
    /// Folder and the part before the number.
    pub prefix: PathBuf,
    /// Which shard, counted from 1.
    pub number: u32,
    /// How many shards there are.
    pub count: u32,
}

impl ShardName {
    /// Takes the name of `path` apart; `None` if it is not that of a shard.
    pub fn parse(path: &Path) -> Option<ShardName> {
        let name = path.file_name()?.to_str()?;
        let stem = name.strip_suffix(".gguf")?;
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (prefix, number) = rest.rsplit_once('-')?;
        let (number, count) = (five_digits(number)?, five_digits(count)?);
        let is_valid = (1..=count).contains(&number);
        is_valid.then(|| ShardName { prefix: path.with_file_name(prefix), number, count })
    }

    /// The path of the shard with this number, counted from 1, of the same model.
    pub fn path(&self, number: u32) -> PathBuf {
        let mut path = self.prefix.clone().into_os_string();
        path.push(format!("-{number:05}-of-{:05}.gguf", self.count));
        path.into()
    }
}

fn five_digits(text: &str) -> Option<u32> {
    (text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}
