//! Fills a partial from a source of ranges: over several connections where that pays, over one where it does not.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use super::connection::{
    Message, Shared, Stop, bring_parts, describe, help_with_parts, is_advance, lock, wait_before_next, what_next,
};
use super::pace::{Pace, ReadFault, Watched};
use super::{Opened, RangeSource, TransferSettings};
use crate::partial::{CHUNK_BYTES, Partial};
use crate::settings::Settings;
use crate::sources::SourceError;

/// What has arrived ahead of the hash and waits in memory for it. Beyond this it is read back from the file, where the
/// system still has it in its cache.
pub(crate) const HELD_BYTES_MAX: usize = 64 << 20;
/// Chunks on their way from the connections to the hash.
const MESSAGES_MAX: usize = 16;
/// Buffers that are kept for the next chunk.
const BUFFERS_MAX: usize = 2 * MESSAGES_MAX;
/// Rounds over what is still missing; a round brings everything unless the disk forgets.
const ROUNDS_MAX: usize = 3;

/// Brings what is missing.
pub(crate) fn fill(
    partial: &mut Partial<'_>,
    source: &dyn RangeSource,
    settings: &Settings,
) -> Result<(), SourceError> {
    let transfer = &settings.transfer;
    let pace = Pace::new(transfer.bytes_per_second_max);
    for _ in 0..ROUNDS_MAX {
        let parts = parts_of(partial, transfer);
        let Some(first) = parts.front() else { return Ok(()) };
        let first = first.clone();
        // With gaps, one way would throw away what lies beyond the first.
        let has_gaps = partial.present_bytes() > partial.length();
        let opened = open_patiently(partial, source, &first, transfer)?;
        let is_small = parts.len() == 1 && first.end - first.start <= transfer.part_bytes / 4;
        if (is_small && !has_gaps) || !opened.is_range {
            return one_way(partial, source, settings, &pace, Some(opened));
        }
        out_of_order(partial, source, settings, &pace, parts, opened)?;
    }
    if partial.missing_bytes() == 0 {
        return Ok(());
    }
    let reason = std::io::Error::other("what was written is not what is read back");
    Err(SourceError::Write { path: partial.path().to_path_buf(), reason })
}

/// What is missing, cut so that all connections have something to do to the end.
fn parts_of(partial: &Partial<'_>, settings: &TransferSettings) -> VecDeque<Range<u64>> {
    let connection_count = settings.connections() as u64;
    let missing_bytes = partial.size_bytes() - partial.present_bytes();
    let fair_bytes = missing_bytes.div_ceil(2 * connection_count);
    let part_bytes = if connection_count == 1 || missing_bytes <= settings.part_bytes / 4 {
        u64::MAX / 2
    } else {
        settings.part_bytes.min(fair_bytes).max(partial.pieces.piece_bytes)
    };
    let mut parts: VecDeque<_> = partial.pieces.missing(part_bytes).into();
    if let Some(first) = parts.front_mut() {
        // The piece that the hash stands in is continued, not begun again.
        first.start = first.start.max(partial.length());
    }
    parts
}

/// The first request, repeated while that makes sense.
fn open_patiently(
    partial: &mut Partial<'_>,
    source: &dyn RangeSource,
    range: &Range<u64>,
    settings: &TransferSettings,
) -> Result<Opened, SourceError> {
    let mut tries = 0;
    loop {
        let error = match source.open(range, partial.size_bytes()) {
            Ok(opened) => return Ok(opened),
            // Whoever cannot be reached at all makes room for the next source at once.
            Err(error @ SourceError::NoConnection { .. }) => return Err(error),
            Err(error) => error,
        };
        tries += 1;
        let Some(wait) = wait_before_next(&error, tries, settings) else { return Err(error) };
        partial.note(&format!("{}: {error}; {}", source.label(), what_next(wait, tries, settings)));
        thread::sleep(wait);
    }
}

/// Over one connection at a time, from where the partial ends to its end.
fn one_way(
    partial: &mut Partial<'_>,
    source: &dyn RangeSource,
    settings: &Settings,
    pace: &Pace,
    mut opened: Option<Opened>,
) -> Result<(), SourceError> {
    let mut tries = 0;
    loop {
        let before = partial.length();
        let range = before..partial.size_bytes();
        let outcome = match opened.take() {
            Some(opened) => Ok(opened),
            None => source.open(&range, partial.size_bytes()),
        };
        let error = match outcome.and_then(|opened| append_all(partial, opened, settings, pace)) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        tries = if is_advance(partial.length() - before, range.end) { 0 } else { tries + 1 };
        let Some(wait) = wait_before_next(&error, tries, &settings.transfer) else { return Err(error) };
        partial.note(&format!("{}: {error}; {}", source.label(), what_next(wait, tries, &settings.transfer)));
        thread::sleep(wait);
    }
}

/// Appends what one connection brings.
fn append_all(partial: &mut Partial<'_>, opened: Opened, settings: &Settings, pace: &Pace) -> Result<(), SourceError> {
    let mut body = Watched::new(opened.reader, settings.stall_timeout);
    let mut chunk = vec![0; CHUNK_BYTES];
    let stopped = |partial: &Partial<'_>, fault: &ReadFault| {
        Err(describe(fault, settings.stall_timeout, partial.length(), partial.size_bytes()))
    };
    // A server without ranges begins again: what is here already is passed over.
    let mut passed = if opened.is_range { partial.length() } else { 0 };
    while passed < partial.length() {
        let wanted = (partial.length() - passed).min(CHUNK_BYTES as u64) as usize;
        let (filled, outcome) = body.fill(&mut chunk[..wanted]);
        passed += filled as u64;
        match outcome {
            Err(fault) => return stopped(partial, &fault),
            Ok(()) if filled == 0 => return stopped(partial, &ReadFault::Broken(std::io::Error::other("end of data"))),
            Ok(()) => pace.take(filled),
        }
    }
    loop {
        // One more than is missing, so that a body that is too long is noticed.
        let wanted = partial.missing_bytes().saturating_add(1).min(CHUNK_BYTES as u64) as usize;
        let (filled, outcome) = body.fill(&mut chunk[..wanted]);
        partial.append(&chunk[..filled])?;
        match outcome {
            Err(fault) => return stopped(partial, &fault),
            Ok(()) if filled < wanted && partial.missing_bytes() == 0 => return Ok(()),
            Ok(()) if filled < wanted => {
                return stopped(partial, &ReadFault::Broken(std::io::Error::other("end of data")));
            }
            Ok(()) => pace.take(filled),
        }
    }
}

/// Over several connections at once. `opened` is the answer to the request for the first part.
fn out_of_order(
    partial: &mut Partial<'_>,
    source: &dyn RangeSource,
    settings: &Settings,
    pace: &Pace,
    mut parts: VecDeque<Range<u64>>,
    opened: Opened,
) -> Result<(), SourceError> {
    let (file, journal, tail) = partial.enter_journal()?;
    let path = partial.path().to_path_buf();
    let first = parts.pop_front().expect("the caller has seen the first part");
    let connection_count = settings.transfer.connections().min(parts.len() + 1);
    let shared = Shared {
        source,
        settings: &settings.transfer,
        stall_timeout: settings.stall_timeout,
        file: file.as_ref(),
        path: &path,
        journal: Mutex::new(journal),
        queue: Mutex::new(parts),
        piece_bytes: partial.pieces.piece_bytes,
        size_bytes: partial.size_bytes(),
        pace,
        buffers: Mutex::new(Vec::new()),
        stop: Stop::default(),
        first_ended: Stop::default(),
        is_alone: AtomicBool::new(false),
        written_bytes: AtomicU64::new(0),
    };
    // The checksum of a piece that is continued covers what was there before.
    let tail = if first.start == partial.length() { tail } else { crc32fast::Hasher::new() };
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(MESSAGES_MAX);
        let begun = Some((first, tail, opened));
        let (of_first, shared) = (sender.clone(), &shared);
        scope.spawn(move || {
            bring_parts(shared, &of_first, begun);
            shared.first_ended.set();
        });
        for _ in 1..connection_count {
            let sender = sender.clone();
            scope.spawn(move || help_with_parts(shared, &sender));
        }
        drop(sender);
        let outcome = Sorter::new(partial, shared).run(&receiver);
        if outcome.is_err() {
            shared.stop.set();
        }
        // Whoever still has something to say finds nobody and ends.
        drop(receiver);
        outcome
    })
}

/// What has arrived ahead of the hash.
enum Held {
    Here(Vec<u8>),
    /// On the disk; this many bytes.
    Written(u64),
}

/// Puts chunks into the order of the blob and hashes them.
struct Sorter<'s, 'p, 'q> {
    partial: &'s mut Partial<'p>,
    shared: &'s Shared<'q>,
    held: BTreeMap<u64, Held>,
    held_bytes: usize,
    failure: Option<SourceError>,
}

impl<'s, 'p, 'q> Sorter<'s, 'p, 'q> {
    fn new(partial: &'s mut Partial<'p>, shared: &'s Shared<'q>) -> Sorter<'s, 'p, 'q> {
        Sorter { partial, shared, held: BTreeMap::new(), held_bytes: 0, failure: None }
    }

    /// Takes messages until all connections have ended.
    fn run(mut self, receiver: &Receiver<Message>) -> Result<(), SourceError> {
        // Only a closed channel ends this: every connection has a try limit and a time-out of its own.
        while let Ok(message) = receiver.recv() {
            match message {
                Message::Chunk { offset, bytes } => self.take(offset, bytes)?,
                Message::Piece { index, crc } => self.partial.pieces.crcs[index] = Some(crc),
                Message::Note(text) => self.partial.note(&text),
                Message::Failed(error) => self.failure = self.failure.or(Some(error)),
            }
        }
        self.advance()?;
        match self.failure {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn take(&mut self, offset: u64, bytes: Vec<u8>) -> Result<(), SourceError> {
        self.partial.check_bytes(offset, &bytes)?;
        self.partial.count(bytes.len() as u64);
        if offset == self.partial.length() {
            self.partial.absorb(&bytes);
            self.give_back(bytes);
            return self.advance();
        }
        let held = if self.held_bytes + bytes.len() > HELD_BYTES_MAX {
            let length = bytes.len() as u64;
            self.give_back(bytes);
            Held::Written(length)
        } else {
            self.held_bytes += bytes.len();
            Held::Here(bytes)
        };
        self.held.insert(offset, held);
        Ok(())
    }

    /// Hashes what follows without a gap: from memory, from the file, or pieces that an earlier run has recorded.
    fn advance(&mut self) -> Result<(), SourceError> {
        loop {
            let length = self.partial.length();
            match self.held.remove(&length) {
                Some(Held::Here(bytes)) => {
                    self.held_bytes -= bytes.len();
                    self.partial.absorb(&bytes);
                    self.give_back(bytes);
                }
                Some(Held::Written(bytes)) => self.read_back(bytes)?,
                None => {
                    let path = self.partial.path().to_path_buf();
                    self.partial.hash_recorded().map_err(SourceError::write(path))?;
                    if self.partial.length() == length {
                        return Ok(());
                    }
                    // What was held of pieces that came from the record is hashed already.
                    self.drop_hashed();
                }
            }
        }
    }

    fn drop_hashed(&mut self) {
        let rest = self.held.split_off(&self.partial.length());
        for held in std::mem::replace(&mut self.held, rest).into_values() {
            if let Held::Here(bytes) = held {
                self.held_bytes -= bytes.len();
                self.give_back(bytes);
            }
        }
    }

    fn read_back(&mut self, mut bytes: u64) -> Result<(), SourceError> {
        let mut chunk = vec![0; CHUNK_BYTES.min(bytes as usize)];
        while bytes > 0 {
            let wanted = chunk.len().min(bytes as usize);
            let count = self.partial.read_at(self.partial.length(), &mut chunk[..wanted])?;
            if count == 0 {
                let reason = std::io::ErrorKind::UnexpectedEof.into();
                return Err(SourceError::Write { path: self.partial.path().to_path_buf(), reason });
            }
            self.partial.absorb(&chunk[..count]);
            bytes -= count as u64;
        }
        Ok(())
    }

    fn give_back(&self, bytes: Vec<u8>) {
        let mut buffers = lock(&self.shared.buffers);
        if buffers.len() < BUFFERS_MAX {
            buffers.push(bytes);
        }
    }
}
