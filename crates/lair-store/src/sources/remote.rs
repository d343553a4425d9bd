//! A file behind a URL that is read in pieces: the first block tells its length, what was read stays in a small cache.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::SourceError;
use super::http::Answer;
use super::https::{HttpsSource, parse_range};
use super::hub::{Hub, HubFile};
use crate::settings::Settings;
use crate::transfer::connection::lock;
use crate::transfer::{RangeSource, TransferSettings};

/// What is asked for at least: a round trip costs as much as this on most lines, and many headers fit.
const BLOCK_BYTES: u64 = 128 * 1024;
/// 8 MiB; what is larger is read once and by whoever keeps it.
const CACHED_BLOCKS_MAX: usize = 64;
/// Longer reads pass the cache by.
const CACHED_READ_MAX: u64 = 32 * BLOCK_BYTES;

/// A file on a server, of which any range can be read without fetching the rest.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use lair_store::{Reference, RemoteModel, Settings};
/// let model = RemoteModel::find(&Reference::parse("hf.co/user/repo:Q8_0")?, &Settings::from_env()?)?;
/// let file = model.open(&model.weights()[0].path)?;
/// let magic = file.read_at(0..4)?; // One request; the block around it stays in the cache.
/// let header = file.gguf_header()?; // Grows until it is whole.
/// println!("{} tensors, {} bytes fetched of {}", header.tensors.len(), file.received_bytes(), file.size_bytes());
/// # Ok(())
/// # }
/// ```
pub struct RemoteFile {
    path: String,
    source: HttpsSource,
    /// The hub and the repository it is of, which know what a refusal means.
    hub: Option<(Arc<Hub>, String)>,
    size_bytes: u64,
    cache: Mutex<Cache>,
    received_bytes: AtomicU64,
    transfer: TransferSettings,
}

/// Blocks by their index, the oldest leave first.
#[derive(Default)]
struct Cache {
    blocks: BTreeMap<u64, Arc<[u8]>>,
    order: VecDeque<u64>,
}

impl RemoteFile {
    /// Opens a file of a repository at a commit.
    pub(crate) fn of_hub(hub: Arc<Hub>, repository: &str, commit: &str, file: &HubFile) -> Result<Self, SourceError> {
        let source = hub.source(repository, commit, &file.path)?;
        let settings = hub.settings().clone();
        let opened = RemoteFile::begin(file.path.clone(), source, Some((hub, repository.to_owned())), &settings)?;
        if opened.size_bytes != file.size_bytes {
            return Err(SourceError::WrongSize { found: opened.size_bytes, expected: file.size_bytes });
        }
        Ok(opened)
    }

    /// Opens what is behind a link.
    pub(crate) fn of_link(path: String, source: HttpsSource, settings: &Settings) -> Result<Self, SourceError> {
        RemoteFile::begin(path, source, None, settings)
    }

    /// Asks for the first block, whose answer tells how long the file is.
    fn begin(
        path: String,
        source: HttpsSource,
        hub: Option<(Arc<Hub>, String)>,
        settings: &Settings,
    ) -> Result<RemoteFile, SourceError> {
        let transfer = settings.transfer.clone();
        let (cache, received_bytes) = (Mutex::default(), AtomicU64::new(0));
        let mut file = RemoteFile { path, source, hub, size_bytes: 0, cache, received_bytes, transfer };
        let first = file.tried(|file| file.first_block())?;
        file.size_bytes = first.0;
        file.received_bytes = AtomicU64::new(first.1.len() as u64);
        if !first.1.is_empty() {
            lock(&file.cache).keep(0, first.1.into());
        }
        Ok(file)
    }

    /// Length of the file and its first block.
    fn first_block(&self) -> Result<(u64, Vec<u8>), SourceError> {
        let range = format!("bytes=0-{}", BLOCK_BYTES - 1);
        let answer = self.source.ask(&[("range", &range), ("accept-encoding", "identity")])?;
        self.source.landed_at(&answer);
        let host = answer.host();
        let size_bytes = match answer.status {
            206 => match answer.header("content-range").and_then(parse_range) {
                Some((0, last, Some(total))) if last.checked_add(1) == Some(total.min(BLOCK_BYTES)) => total,
                _ => return Err(SourceError::bad_answer(host, "it sends another range than was asked for")),
            },
            // All of it, which does no harm where all is not much.
            200 => match answer.length() {
                Some(length) if length <= BLOCK_BYTES => length,
                found => return Err(SourceError::NoRanges { host, size_bytes: found }),
            },
            // No byte of an empty file can be asked for.
            416 if answer.header("content-range").is_some_and(|range| range.trim() == "bytes */0") => {
                return Ok((0, Vec::new()));
            }
            _ => return Err(self.refused(answer)),
        };
        answer.refuse_packed()?;
        let bytes = read_exactly(answer.into_reader(), size_bytes.min(BLOCK_BYTES))?;
        Ok((size_bytes, bytes))
    }

    /// Its path in its repository, or the last part of its link.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its length.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Bytes of it that have been fetched so far.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// The bytes of `range`, which is cut at the end of the file. What lies in the cache is not asked for again.
    ///
    /// # Errors
    /// If the server cannot be reached, refuses, or sends something else; a passing failure is tried again.
    pub fn read_at(&self, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        let range = range.start.min(self.size_bytes)..range.end.min(self.size_bytes);
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        if range.end - range.start > CACHED_READ_MAX {
            return self.fetch(range);
        }
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        let blocks = range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES);
        for (index, block) in blocks.clone().zip(self.blocks(blocks)?) {
            let begin = index * BLOCK_BYTES;
            let (from, to) = (range.start.max(begin) - begin, range.end.min(begin + BLOCK_BYTES) - begin);
            bytes.extend_from_slice(&block[from as usize..to as usize]);
        }
        Ok(bytes)
    }

    /// These blocks, those that are missing by as few requests as can be.
    fn blocks(&self, wanted: Range<u64>) -> Result<Vec<Arc<[u8]>>, SourceError> {
        let mut found: Vec<Option<Arc<[u8]>>> = {
            let cache = lock(&self.cache);
            wanted.clone().map(|index| cache.blocks.get(&index).cloned()).collect()
        };
        let mut at = 0;
        while let Some(skipped) = found[at..].iter().position(Option::is_none) {
            let first = at + skipped;
            let length = found[first..].iter().take_while(|block| block.is_none()).count();
            let start = (wanted.start + first as u64) * BLOCK_BYTES;
            let bytes = self.fetch(start..(start + length as u64 * BLOCK_BYTES).min(self.size_bytes))?;
            for (offset, block) in bytes.chunks(BLOCK_BYTES as usize).enumerate() {
                let block: Arc<[u8]> = block.into();
                lock(&self.cache).keep(wanted.start + (first + offset) as u64, Arc::clone(&block));
                found[first + offset] = Some(block);
            }
            at = first + length;
        }
        Ok(found.into_iter().map(|block| block.expect("all that were missing were fetched")).collect())
    }

    /// A range, which is not empty, from the server.
    fn fetch(&self, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        let bytes = self.tried(|file| {
            let answer = file.source.open(&range, file.size_bytes).map_err(|error| file.explained(error))?;
            if !answer.is_range {
                return Err(SourceError::NoRanges { host: file.source.label(), size_bytes: Some(file.size_bytes) });
            }
            read_exactly(answer.reader, range.end - range.start)
        })?;
        self.received_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }

    /// What `attempt` gives, tried again where its failure may pass.
    fn tried<T>(&self, attempt: impl Fn(&RemoteFile) -> Result<T, SourceError>) -> Result<T, SourceError> {
        let mut tries = 1;
        loop {
            match attempt(self) {
                Err(error) if error.may_pass() && tries < self.transfer.tries_max => {
                    std::thread::sleep(self.transfer.wait_after(tries));
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn refused(&self, answer: Answer) -> SourceError {
        match &self.hub {
            Some((hub, repository)) => hub.refused(answer, repository),
            None => answer.into_error(),
        }
    }

    /// A refusal in the middle: the header that tells conditions from secrets is gone by then.
    fn explained(&self, error: SourceError) -> SourceError {
        match (&self.hub, &error) {
            (Some((hub, repository)), SourceError::Status { status: 403, .. }) => hub.gated(repository),
            _ => error,
        }
    }
}

impl Cache {
    fn keep(&mut self, index: u64, block: Arc<[u8]>) {
        if self.blocks.insert(index, block).is_none() {
            self.order.push_back(index);
        }
        while self.order.len() > CACHED_BLOCKS_MAX {
            let oldest = self.order.pop_front().expect("there are more than none");
            self.blocks.remove(&oldest);
        }
    }
}

fn read_exactly(reader: impl Read, length: u64) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    let outcome = reader.take(length).read_to_end(&mut bytes);
    let cut = |reason: String| SourceError::Cut { received_bytes: bytes.len() as u64, expected_bytes: length, reason };
    match outcome {
        Err(error) => Err(cut(error.to_string())),
        Ok(_) if bytes.len() as u64 != length => Err(cut("it ended early".to_owned())),
        Ok(_) => Ok(bytes),
    }
}
