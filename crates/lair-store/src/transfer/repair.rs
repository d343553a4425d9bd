//! Mends a blob that is broken on the disk: only the pieces that are not what they were are fetched again.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::journal::Pieces;
use super::pace::Watched;
use super::{Expected, Failed, Places, RangeSource, obtain};
use crate::file_system::{FileSystem, OpenHow, StoreFile};
use crate::partial::{CHUNK_BYTES, Partial, discard, remove};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::sources::{Source, SourceError};

/// What a look at every piece of a blob found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenRanges {
    /// Runs of bytes that are not what they were when they arrived.
    pub ranges: Vec<Range<u64>>,
    /// Length of the file, which may be too short or too long.
    pub found_bytes: u64,
}

impl BrokenRanges {
    /// How many bytes are to be fetched.
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }
}

/// Compares a blob with the checksums that were kept when it arrived; nothing where none were kept.
pub(crate) fn find_broken(
    file_system: &dyn FileSystem,
    blob: &Path,
    checksums: &Path,
    expected: &Expected,
) -> Result<Option<(BrokenRanges, Pieces)>, SourceError> {
    let kept = Pieces::load(file_system, checksums, expected.size_bytes, &expected.identity());
    let Some(kept) = kept.filter(|pieces| pieces.crcs.iter().all(Option::is_some)) else { return Ok(None) };
    let file = file_system.open(blob, OpenHow::Read).map_err(SourceError::write(blob))?;
    let mut found = kept.clone();
    let mut chunk = vec![0; CHUNK_BYTES];
    for index in 0..kept.crcs.len() {
        let crc = crc_of(file.as_ref(), kept.range(index), &mut chunk).map_err(SourceError::write(blob))?;
        if crc != kept.crcs[index] {
            found.crcs[index] = None;
        }
    }
    let found_bytes = file.size_bytes().map_err(SourceError::write(blob))?;
    Ok(Some((BrokenRanges { ranges: found.missing(u64::MAX / 2), found_bytes }, kept)))
}

/// The checksum of a range, or nothing if the file ends before it does.
fn crc_of(file: &dyn StoreFile, range: Range<u64>, chunk: &mut [u8]) -> io::Result<Option<u32>> {
    let mut crc = crc32fast::Hasher::new();
    let mut position = range.start;
    while position < range.end {
        let wanted = chunk.len().min((range.end - position) as usize);
        match file.read_at(position, &mut chunk[..wanted])? {
            0 => return Ok(None),
            count => {
                crc.update(&chunk[..count]);
                position += count as u64;
            }
        }
    }
    Ok(Some(crc.finalize()))
}

/// Something that a repair can ask for a part and, failing that, for the whole.
pub(crate) trait RepairSource: RangeSource + Source {}

impl<T: RangeSource + Source> RepairSource for T {}

/// Mends the blob at `places.target`; the caller holds its lock. Returns how many bytes were fetched.
///
/// The blob keeps its name only as long as the mended copy is not whole and checked. Without checksums, or if they do
/// not show where the damage is, all of it is fetched again.
pub(crate) fn repair(
    file_system: &dyn FileSystem,
    places: &Places,
    expected: Expected,
    source: &dyn RepairSource,
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<u64, SourceError> {
    let found = match &places.checksums {
        Some(checksums) if file_system.exists(&places.target) => {
            find_broken(file_system, &places.target, checksums, &expected)?
        }
        _ => None,
    };
    if let Some((broken, kept)) = found
        && broken.bytes() < expected.size_bytes
        && (broken.bytes() > 0 || broken.found_bytes != expected.size_bytes)
    {
        progress.started(expected.size_bytes, &RangeSource::label(source));
        let mended = mend_copy(file_system, places, &broken, &kept, source, settings);
        // What is whole now is checked by its digest like any other partial, then committed.
        match mended {
            Ok(()) => {
                let piece_bytes = settings.transfer.piece_bytes(expected.size_bytes);
                let partial = Partial::open(file_system, places, expected, piece_bytes, progress)
                    .map_err(SourceError::write(&places.partial))?;
                if partial.check().is_ok() {
                    partial.commit(places).map_err(SourceError::write(&places.target))?;
                    return Ok(broken.bytes());
                }
            }
            Err(error) if error.is_about_this_disk() => {
                // The copy is no download that could be continued.
                discard(file_system, places);
                return Err(error);
            }
            Err(error) => progress.note(&format!("{error}; fetching all of it")),
        }
        remove(file_system, &places.partial).map_err(SourceError::write(&places.partial))?;
    }
    match obtain(file_system, places, expected, &[&Whole(source)], settings, progress) {
        Ok(_) => Ok(expected.size_bytes),
        Err(Failed::Disk(error)) => Err(error),
        Err(Failed::Sources(mut attempts)) => {
            Err(attempts.pop().expect("one source was tried, so one has failed").error)
        }
    }
}

/// The same source, as one that delivers all.
struct Whole<'s>(&'s dyn RepairSource);

impl Source for Whole<'_> {
    fn label(&self) -> String {
        RangeSource::label(self.0)
    }

    fn deliver(&self, partial: &mut Partial<'_>) -> Result<(), SourceError> {
        self.0.deliver(partial)
    }
}

/// Makes a mended copy of a blob at `places.partial`: what is sound is taken from the blob, what is broken from
/// `source`. Whoever calls checks the digest and commits; until then the blob stays as it is.
///
/// A copy, because a blob may be mapped by a running model, and because a crash must leave the old file or the new one.
pub(crate) fn mend_copy(
    file_system: &dyn FileSystem,
    places: &Places,
    broken: &BrokenRanges,
    kept: &Pieces,
    source: &dyn RepairSource,
    settings: &Settings,
) -> Result<(), SourceError> {
    let write = || SourceError::write(&places.partial);
    let from = file_system.open(&places.target, OpenHow::Read).map_err(SourceError::write(&places.target))?;
    if let Some(folder) = places.partial.parent() {
        file_system.create_folder(folder).map_err(write())?;
    }
    remove(file_system, &places.journal).map_err(write())?;
    let mut to = file_system.open(&places.partial, OpenHow::UpdateOrCreate).map_err(write())?;
    to.set_size(0).map_err(write())?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut position = 0;
    for range in &broken.ranges {
        copy(from.as_ref(), to.as_ref(), position..range.start, &mut chunk).map_err(write())?;
        fetch(source, to.as_ref(), &places.partial, range.clone(), kept, settings)?;
        position = range.end;
    }
    copy(from.as_ref(), to.as_ref(), position..kept.size_bytes, &mut chunk).map_err(write())
}

fn copy(from: &dyn StoreFile, to: &dyn StoreFile, range: Range<u64>, chunk: &mut [u8]) -> io::Result<()> {
    let mut position = range.start;
    while position < range.end {
        let wanted = chunk.len().min((range.end - position) as usize);
        let count = from.read_at(position, &mut chunk[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_at(position, &chunk[..count])?;
        position += count as u64;
    }
    Ok(())
}

/// Brings one broken range and compares its pieces with what they were.
fn fetch(
    source: &dyn RepairSource,
    to: &dyn StoreFile,
    path: &PathBuf,
    range: Range<u64>,
    kept: &Pieces,
    settings: &Settings,
) -> Result<(), SourceError> {
    let opened = RangeSource::open(source, &range, kept.size_bytes)?;
    let mut body = Watched::new(opened.reader, settings.stall_timeout);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut position = if opened.is_range { range.start } else { 0 };
    while position < range.end {
        let until = if position < range.start { range.start } else { range.end };
        let wanted = chunk.len().min((until - position) as usize);
        let (filled, outcome) = body.fill(&mut chunk[..wanted]);
        if position >= range.start {
            to.write_at(position, &chunk[..filled]).map_err(SourceError::write(path))?;
        }
        position += filled as u64;
        let fault = match outcome {
            Err(fault) => fault.words(),
            Ok(()) if filled == 0 => "end of data".to_string(),
            Ok(()) => continue,
        };
        let (received_bytes, expected_bytes) = (position.saturating_sub(range.start), range.end - range.start);
        return Err(SourceError::Cut { received_bytes, expected_bytes, reason: fault });
    }
    for index in kept.index_of(range.start)..kept.index_of(range.end - 1) + 1 {
        let crc = crc_of(to, kept.range(index), &mut chunk).map_err(SourceError::write(path))?;
        if crc != kept.crcs[index] {
            let problem = format!("piece {index} is not what it was when it was fetched first");
            return Err(SourceError::bad_answer(RangeSource::label(source), problem));
        }
    }
    Ok(())
}
