//! From sources to a blob with its final name: tried in turn, checked, and committed.

use std::path::Path;

use super::{Expected, Places};
use crate::digest::Digest;
use crate::error::Attempt;
use crate::file_system::FileSystem;
use crate::partial::{Partial, discard};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::sources::{Source, SourceError};

/// Space that must stay free: a part of what is to come, because file systems need some for themselves.
const SPACE_MARGIN_DIVISOR: u64 = 20;
/// What a blob is said to come from that was complete and only lacked its name.
const EARLIER_RUN: &str = "an earlier run";

/// A blob that arrived.
#[derive(Debug)]
pub(crate) struct Obtained {
    /// What the source that completed it calls itself.
    pub(crate) label: String,
    /// Its sha256, unless it was checked by another hash.
    pub(crate) digest: Option<Digest>,
}

/// Why a blob did not arrive.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The disk here is at fault.
    Disk(SourceError),
    /// Every source was tried.
    Sources(Vec<Attempt>),
}

impl Failed {
    fn is_about_full_disk(&self) -> bool {
        matches!(self, Failed::Disk(error) if error.is_about_full_disk())
    }
}

/// Brings a blob to its place. The caller holds its lock and has seen that it is not there.
///
/// Continues what an earlier run left, and keeps what has arrived when it fails; only when the disk is full that is
/// removed: it is what fills the disk, and whoever frees some space should not have to find it first.
pub(crate) fn obtain(
    file_system: &dyn FileSystem,
    places: &Places,
    expected: Expected,
    sources: &[&dyn Source],
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Obtained, Failed> {
    let disk = |path: &Path| {
        let path = path.to_path_buf();
        move |reason| Failed::Disk(SourceError::Write { path, reason })
    };
    for folder in [&places.target, &places.partial].into_iter().filter_map(|path| path.parent()) {
        file_system.create_folder(folder).map_err(disk(folder))?;
    }
    let piece_bytes = settings.transfer.piece_bytes(expected.size_bytes);
    let mut partial =
        Partial::open(file_system, places, expected, piece_bytes, progress).map_err(disk(&places.partial))?;
    check_space(places, &partial, settings).map_err(Failed::Disk)?;
    let outcome = complete(&mut partial, places, sources, settings);
    let outcome = match outcome {
        Ok(found) => partial.commit(places).map(|()| found).map_err(disk(&places.target)),
        Err(failed) => {
            if failed.is_about_full_disk() {
                partial.note("the disk is full; what has arrived is removed");
            }
            Err(failed)
        }
    };
    if outcome.as_ref().is_err_and(Failed::is_about_full_disk) {
        discard(file_system, places);
    }
    outcome.map(|(label, digest)| Obtained { label, digest })
}

fn check_space(places: &Places, partial: &Partial<'_>, settings: &Settings) -> Result<(), SourceError> {
    let needed_bytes = with_margin(partial.size_bytes() - partial.present_bytes());
    let folder = places.partial.parent().unwrap_or(Path::new("."));
    match (settings.free_bytes)(folder) {
        Some(available_bytes) if available_bytes < needed_bytes => {
            Err(SourceError::NoSpace { path: folder.to_path_buf(), needed_bytes, available_bytes })
        }
        _ => Ok(()),
    }
}

/// Tries the sources in turn until the partial is the blob.
fn complete(
    partial: &mut Partial<'_>,
    places: &Places,
    sources: &[&dyn Source],
    settings: &Settings,
) -> Result<(String, Option<Digest>), Failed> {
    if partial.missing_bytes() == 0 && partial.size_bytes() > 0 {
        // The last run was killed between the last byte and the renaming.
        if let Ok(digest) = partial.check() {
            return Ok((EARLIER_RUN.to_string(), digest));
        }
        partial.restart().map_err(Failed::Disk)?;
    }
    let mut attempts = Vec::new();
    for source in sources {
        match try_source(*source, partial, places, settings) {
            Ok(digest) => return Ok((source.label(), digest)),
            Err(error) if error.is_about_this_disk() => return Err(Failed::Disk(error)),
            Err(error) => {
                partial.note(&format!("{}: {error}", source.label()));
                attempts.push(Attempt { source: source.label(), error });
            }
        }
    }
    Err(Failed::Sources(attempts))
}

fn try_source(
    source: &dyn Source,
    partial: &mut Partial<'_>,
    places: &Places,
    settings: &Settings,
) -> Result<Option<Digest>, SourceError> {
    // A package lies beside the blob while it is unpacked, and beside its own copy while the client finishes.
    let scratch_bytes = source.scratch_bytes();
    let needed_bytes = with_margin(partial.missing_bytes().max(scratch_bytes)).saturating_add(scratch_bytes);
    if scratch_bytes > 0
        && let Some(available_bytes) = (settings.free_bytes)(places.partial.parent().unwrap_or(Path::new(".")))
        && available_bytes < needed_bytes
    {
        return Err(SourceError::NoScratchSpace { needed_bytes, available_bytes });
    }
    let was_continued = partial.present_bytes() > 0;
    match deliver_checked(source, partial) {
        // The fault may lie in the bytes that were here before: this source deserves a clean start.
        Err(SourceError::WrongDigest { .. }) if was_continued => {
            partial.note("what an earlier try left does not fit; starting again");
            deliver_checked(source, partial)
        }
        outcome => outcome,
    }
}

/// Lets the source deliver, and throws the bytes away if it turns out that they are of another file.
fn deliver_checked(source: &dyn Source, partial: &mut Partial<'_>) -> Result<Option<Digest>, SourceError> {
    partial.begin(&source.label());
    let before = partial.present_bytes();
    let outcome = source.deliver(partial).and_then(|()| partial.check());
    if let Err(error) = &outcome
        && error.is_about_another_file()
        && (partial.present_bytes() != before || partial.length() == partial.size_bytes())
    {
        partial.restart()?;
    }
    outcome
}

pub(crate) fn with_margin(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / SPACE_MARGIN_DIVISOR)
}
