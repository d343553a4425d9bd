//! One of several connections: takes parts from the queue and brings them, piece by piece.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::journal::Journal;
use super::pace::{Pace, ReadFault, Watched};
use super::settings::WAIT_MAX;
use super::{Opened, RangeSource, TransferSettings};
use crate::file_system::StoreFile;
use crate::sources::SourceError;

/// A try that brought less than this, and less than a hundredth of its part, brought nothing.
const ADVANCE_BYTES: u64 = 64 * 1024;
/// What is read, written and passed on at once. Larger than elsewhere: each one wakes the thread that hashes.
const CHUNK_BYTES: usize = 1 << 20;
/// How long the first connection is alone, to see what it brings: less than opening another takes on most lines.
const ALONE: Duration = Duration::from_millis(40);
/// A first connection that brings this much in that time (200 MiB/s) stays alone: the line is this machine's or a fast
/// network's, the limit is the disk and the hash, and more connections would only take processors from both.
const ALONE_BYTES: u64 = 8 << 20;
/// What a connection that stays alone asks for at once: a request costs the server more than the bytes of a few parts do.
const ALONE_PART_BYTES: u64 = 512 << 20;

/// What a connection tells the one that hashes.
pub(crate) enum Message {
    /// These bytes are written at this offset.
    Chunk { offset: u64, bytes: Vec<u8> },
    /// This piece is written and recorded.
    Piece { index: usize, crc: u32 },
    /// Something for the user.
    Note(String),
    /// A connection gives up, and with it all.
    Failed(SourceError),
}

/// What the connections of one blob share.
pub(crate) struct Shared<'s> {
    pub(crate) source: &'s dyn RangeSource,
    pub(crate) settings: &'s TransferSettings,
    pub(crate) stall_timeout: Duration,
    pub(crate) file: &'s dyn StoreFile,
    pub(crate) path: &'s Path,
    pub(crate) journal: Mutex<Journal>,
    pub(crate) queue: Mutex<VecDeque<Range<u64>>>,
    pub(crate) piece_bytes: u64,
    pub(crate) size_bytes: u64,
    pub(crate) pace: &'s Pace,
    /// Where chunks are taken from and put back to: a fresh one costs more than filling it.
    pub(crate) buffers: Mutex<Vec<Vec<u8>>>,
    pub(crate) stop: Stop,
    /// Set when the first connection has ended: nothing is left to take then, or all is over.
    pub(crate) first_ended: Stop,
    /// Whether the first connection does without the others.
    pub(crate) is_alone: AtomicBool,
    /// What is written so far, by all connections.
    pub(crate) written_bytes: AtomicU64,
}

/// Ends waiting early.
#[derive(Default)]
pub(crate) struct Stop {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(crate) fn set(&self) {
        *lock(&self.is_set) = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_set(&self) -> bool {
        *lock(&self.is_set)
    }

    /// Waits so long, or until it is set. Returns whether it is.
    pub(crate) fn wait(&self, duration: Duration) -> bool {
        let until = Instant::now() + duration;
        let mut is_set = lock(&self.is_set);
        while !*is_set {
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            is_set = self.changed.wait_timeout(is_set, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *is_set
    }
}

/// What is behind these locks is whole at every moment that a panic could come.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A part on its way.
struct Part {
    range: Range<u64>,
    position: u64,
    /// Of the piece that `position` is in.
    crc: crc32fast::Hasher,
}

/// Brings parts until none is left; first the one that is begun: its range, the checksum of the piece it continues, and
/// the answer to the request for it.
pub(crate) fn bring_parts(
    shared: &Shared<'_>,
    messages: &SyncSender<Message>,
    begun: Option<(Range<u64>, crc32fast::Hasher, Opened)>,
) {
    let mut next = begun.map(|(range, crc, opened)| (Part { position: range.start, range, crc }, Some(opened)));
    loop {
        let taken = next.take().or_else(|| {
            let range = next_range(shared)?;
            Some((Part { position: range.start, range, crc: crc32fast::Hasher::new() }, None))
        });
        let Some((mut part, opened)) = taken else { return };
        if shared.stop.is_set() {
            return;
        }
        if let Err(error) = bring_part(shared, messages, &mut part, opened) {
            shared.stop.set();
            // The other side hangs up only when it is over anyway.
            let _ = messages.send(Message::Failed(error));
            return;
        }
    }
}

/// Brings parts beside the first connection, if that one is not fast enough for all of them.
pub(crate) fn help_with_parts(shared: &Shared<'_>, messages: &SyncSender<Message>) {
    let is_over = shared.first_ended.wait(ALONE);
    if is_over {
        return;
    }
    if shared.written_bytes.load(Ordering::Relaxed) < ALONE_BYTES {
        bring_parts(shared, messages, None);
    } else {
        shared.is_alone.store(true, Ordering::Relaxed);
    }
}

/// The next part; what follows it without a gap as well, where nobody else would bring that.
fn next_range(shared: &Shared<'_>) -> Option<Range<u64>> {
    let mut queue = lock(&shared.queue);
    let mut range = queue.pop_front()?;
    while shared.is_alone.load(Ordering::Relaxed)
        && range.end - range.start < ALONE_PART_BYTES
        && let Some(next) = queue.pop_front_if(|next| next.start == range.end)
    {
        range.end = next.end;
    }
    Some(range)
}

/// Brings one part, over as many connections as it takes.
fn bring_part(
    shared: &Shared<'_>,
    messages: &SyncSender<Message>,
    part: &mut Part,
    mut opened: Option<Opened>,
) -> Result<(), SourceError> {
    let mut tries = 0;
    loop {
        let before = part.position;
        let outcome = match opened.take() {
            Some(opened) => Ok(opened),
            None => shared.source.open(&(part.position..part.range.end), shared.size_bytes),
        };
        let error = match outcome.and_then(|opened| receive(shared, messages, part, opened)) {
            Ok(()) => return Ok(()),
            Err(_) if shared.stop.is_set() => return Ok(()),
            Err(error) => error,
        };
        tries = if is_advance(part.position - before, part.range.end - part.range.start) { 0 } else { tries + 1 };
        let Some(wait) = wait_before_next(&error, tries, shared.settings) else { return Err(error) };
        let note = format!("{}: {error}; {}", shared.source.label(), what_next(wait, tries, shared.settings));
        let _ = messages.send(Message::Note(note));
        shared.stop.wait(wait);
    }
}

/// Whether a connection that ended early was worth it.
pub(crate) fn is_advance(bytes: u64, part_bytes: u64) -> bool {
    bytes > 0 && bytes >= ADVANCE_BYTES.min(part_bytes / 100)
}

/// How long to wait before asking again, or nothing if that is of no use. `tries` is how many brought nothing.
pub(crate) fn wait_before_next(error: &SourceError, tries: u32, settings: &TransferSettings) -> Option<Duration> {
    if !error.may_pass() || tries >= settings.tries_max {
        return None;
    }
    let asked = match error {
        SourceError::Status { retry_after_s: Some(seconds), .. } => Duration::from_secs(*seconds).min(WAIT_MAX),
        _ => Duration::ZERO,
    };
    let own = if tries == 0 { Duration::ZERO } else { settings.wait_after(tries) };
    Some(own.max(asked))
}

/// For a message about a try that failed.
pub(crate) fn what_next(wait: Duration, tries: u32, settings: &TransferSettings) -> String {
    if wait.is_zero() {
        return "continuing".to_string();
    }
    format!("trying again in {:.1} s (try {} of {})", wait.as_secs_f64(), tries + 1, settings.tries_max)
}

/// Takes what one connection brings.
fn receive(
    shared: &Shared<'_>,
    messages: &SyncSender<Message>,
    part: &mut Part,
    opened: Opened,
) -> Result<(), SourceError> {
    if !opened.is_range {
        // It knew ranges a moment ago: another server behind the same name.
        return Err(fault(shared, part, &ReadFault::Broken(std::io::Error::other("it has forgotten about ranges"))));
    }
    let mut body = Watched::new(opened.reader, shared.stall_timeout);
    while part.position < part.range.end {
        if shared.stop.is_set() {
            return Ok(());
        }
        let piece_end = (part.position / shared.piece_bytes + 1) * shared.piece_bytes;
        let wanted = (piece_end.min(part.range.end) - part.position).min(CHUNK_BYTES as u64) as usize;
        let mut bytes = lock(&shared.buffers).pop().unwrap_or_else(|| vec![0; CHUNK_BYTES]);
        bytes.resize(wanted, 0);
        let (filled, outcome) = body.fill(&mut bytes);
        bytes.truncate(filled);
        let is_end = filled == 0;
        if filled > 0 {
            keep(shared, messages, part, bytes)?;
        }
        match outcome {
            Err(found) => return Err(fault(shared, part, &found)),
            Ok(()) if is_end => {
                return Err(fault(shared, part, &ReadFault::Broken(std::io::Error::other("end of data"))));
            }
            Ok(()) => shared.pace.take(filled),
        }
    }
    // Reading to the end lets the connection be used again.
    let _ = body.fill(&mut [0]);
    Ok(())
}

/// Writes a chunk, records the piece if it is whole now, and passes both on.
fn keep(
    shared: &Shared<'_>,
    messages: &SyncSender<Message>,
    part: &mut Part,
    bytes: Vec<u8>,
) -> Result<(), SourceError> {
    shared.file.write_at(part.position, &bytes).map_err(SourceError::write(shared.path))?;
    shared.written_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    part.crc.update(&bytes);
    let offset = part.position;
    part.position += bytes.len() as u64;
    // Nobody listens any more only when all is over.
    let _ = messages.send(Message::Chunk { offset, bytes });
    if part.position.is_multiple_of(shared.piece_bytes) || part.position == shared.size_bytes {
        let index = (offset / shared.piece_bytes) as usize;
        let crc = std::mem::take(&mut part.crc).finalize();
        let mut journal = lock(&shared.journal);
        journal.append(index, crc).map_err(SourceError::write(journal.path()))?;
        let _ = messages.send(Message::Piece { index, crc });
    }
    Ok(())
}

fn fault(shared: &Shared<'_>, part: &Part, fault: &ReadFault) -> SourceError {
    let (received_bytes, expected_bytes) = (part.position - part.range.start, part.range.end - part.range.start);
    describe(fault, shared.stall_timeout, received_bytes, expected_bytes)
}

/// A fault of reading as an error.
pub(crate) fn describe(
    fault: &ReadFault,
    stall_timeout: Duration,
    received_bytes: u64,
    expected_bytes: u64,
) -> SourceError {
    match fault {
        ReadFault::Broken(error) => SourceError::Cut { received_bytes, expected_bytes, reason: error.to_string() },
        _ => SourceError::Stalled {
            what: fault.words(),
            stall_ms: stall_timeout.as_millis(),
            received_bytes,
            expected_bytes,
        },
    }
}
