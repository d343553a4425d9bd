//! A model's view of the prompt cache.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lair_compute::PAGE_LENGTH;
use lair_engine::{PageArchive, PrefixKey, PrefixScope};
use sha2::{Digest, Sha256};

use super::{PromptCache, page_file};

/// Changed when what is computed changes though the version does not.
const FORMAT: &str = "lair prompt cache 1";
/// Pages used within this time are not noted as used again.
const USE_NOTED: Duration = Duration::from_secs(600);
/// Samples of a model file that tell it from others.
const SAMPLES: u64 = 64;
const SAMPLE_BYTES: u64 = 64 << 10;

/// What pages were computed from and how: they are of use only to the very same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin([u8; 32]);

impl Origin {
    /// As bytes.
    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }

    /// Of a model's files, computed as `setup` says (instruction set, types of activations, keys and values ...).
    ///
    /// Weights are told apart by the digest they are stored under, else by size, time of the last change and samples: reading all of them would take as long as
    /// computing a prompt.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn new<'p>(files: impl IntoIterator<Item = &'p Path>, setup: &[&str]) -> io::Result<Origin> {
        let mut digest = Sha256::new();
        let mut add = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        };
        add(FORMAT.as_bytes());
        add(env!("CARGO_PKG_VERSION").as_bytes());
        setup.iter().for_each(|part| add(part.as_bytes()));
        for path in files {
            // Blobs of a store are named by what is in them.
            if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| is_digest(name)) {
                add(name.as_bytes());
                continue;
            }
            let mut file = File::open(path)?;
            let metadata = file.metadata()?;
            let changed = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            add(&metadata.len().to_le_bytes());
            add(&changed.as_nanos().to_le_bytes());
            let step = metadata.len() / SAMPLES;
            let mut sample = Vec::new();
            for index in 0..=SAMPLES {
                file.seek(SeekFrom::Start((step * index).min(metadata.len().saturating_sub(SAMPLE_BYTES))))?;
                sample.clear();
                (&file).take(SAMPLE_BYTES).read_to_end(&mut sample)?;
                add(&sample);
            }
        }
        Ok(Origin(digest.finalize().into()))
    }
}

/// `sha256-` or `sha256:` and 64 hexadecimal digits.
fn is_digest(name: &str) -> bool {
    let digits = name.strip_prefix("sha256-").or_else(|| name.strip_prefix("sha256:"));
    digits.is_some_and(|digits| digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The pages of one model.
#[derive(Debug)]
pub struct ModelArchive {
    pub(super) cache: Arc<PromptCache>,
    origin: Origin,
}

impl ModelArchive {
    /// The pages of the model of this origin.
    pub fn new(cache: Arc<PromptCache>, origin: Origin) -> ModelArchive {
        ModelArchive { cache, origin }
    }
}

impl PageArchive for ModelArchive {
    fn root(&self, scope: PrefixScope) -> PrefixKey {
        PrefixKey(Sha256::new().chain_update(self.origin.0).chain_update(scope.0).finalize().into())
    }

    fn extend(&self, prefix: PrefixKey, tokens: &[u32; PAGE_LENGTH]) -> PrefixKey {
        let mut digest = Sha256::new().chain_update(prefix.0);
        tokens.iter().for_each(|token| digest.update(token.to_le_bytes()));
        PrefixKey(digest.finalize().into())
    }

    fn contains(&self, key: PrefixKey, page_index: usize) -> bool {
        self.cache.in_flight.keys().contains(&key) || page_file::touch(&self.cache.folder, key, page_index, USE_NOTED)
    }

    fn load(&mut self, key: PrefixKey, page_index: usize, page: &mut [u8]) -> bool {
        page_file::read(&self.cache.folder, key, page_index, page)
    }

    fn has_room(&self) -> bool {
        self.cache.has_room()
    }

    fn keep(&mut self, key: PrefixKey, page_index: usize, page: &[u8]) {
        self.cache.keep(key, page_index, page);
    }
}
