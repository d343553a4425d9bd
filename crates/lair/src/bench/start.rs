//! From nothing to the first token: a process of its own is started, loads the model as `lair run` does, and says when it
//! has a token. The same process tells what memory it took.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use super::measure;
use super::noise::{CpuTimes, Others};
use crate::failure::{ExitCode, Failure};
use crate::session::Session;
use crate::synthetic::Random;
use crate::{interrupt, machine};

/// Tokens of the prompt: a short question.
pub const PROMPT_TOKENS: usize = 16;
/// What the child prints when it has its first token.
const FIRST_TOKEN: &str = "first token";

/// A process that starts from nothing.
#[derive(Clone, Debug)]
pub struct Child {
    /// The model.
    pub path: PathBuf,
    /// Arguments that say how it is loaded.
    pub load_arguments: Vec<String>,
}

/// What a child did.
#[derive(Clone, Copy, Debug)]
pub struct Started {
    /// Seconds from its start to its first token.
    pub seconds: f64,
    /// Of these, seconds of loading.
    pub load_seconds: f64,
    /// Bytes that came from disks, where the system tells.
    pub disk_read_bytes: Option<u64>,
    /// What it took of memory, where the system tells.
    pub memory: Option<MemoryUse>,
    /// Bytes of keys and values for a token.
    pub kv_token_bytes: f64,
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryUse {
    /// The most it had, mapped files included.
    pub peak: u64,
    /// In the end, of its own.
    pub anonymous: u64,
    /// In the end, of mapped files.
    pub file: u64,
}

impl Child {
    /// Starts the process and waits for its end. After its first token it goes on with a prompt and an answer of so many
    /// tokens; none, if both are 0.
    ///
    /// # Errors
    /// If it cannot be started or fails: with its own cause.
    pub fn run(&self, prompt: usize, answer: usize) -> Result<Started, Failure> {
        let program = std::env::current_exe()?;
        let start = Instant::now();
        let mut process = Command::new(program)
            .arg("bench")
            .arg(&self.path)
            .args(&self.load_arguments)
            .args(["--json", "--child", &prompt.to_string(), &answer.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (mut seconds, mut last_line) = (None, String::new());
        if let Some(out) = process.stdout.take() {
            for line in BufReader::new(out).lines() {
                last_line = line?;
                if last_line == FIRST_TOKEN {
                    seconds.get_or_insert_with(|| start.elapsed().as_secs_f64());
                }
            }
        }
        let mut messages = String::new();
        if let Some(mut errors) = process.stderr.take() {
            errors.read_to_string(&mut messages)?;
        }
        let status = process.wait()?;
        if interrupt::was_pressed() {
            return Err(Failure::new(ExitCode::Interrupted, "stopped by Ctrl-C"));
        }
        match (seconds, serde_json::from_str::<Value>(&last_line)) {
            (Some(seconds), Ok(report)) if status.success() => Ok(Started::read(seconds, &report)),
            _ => Err(failure_of_child(&messages, &status.to_string())),
        }
    }
}

impl Started {
    fn read(seconds: f64, report: &Value) -> Started {
        let number = |key: &str| report[key].as_u64();
        let memory = || {
            Some(MemoryUse {
                peak: number("peak_bytes")?,
                anonymous: number("anonymous_bytes")?,
                file: number("file_bytes")?,
            })
        };
        Started {
            seconds,
            load_seconds: report["load_ms"].as_f64().unwrap_or(0.0) / 1e3,
            disk_read_bytes: number("disk_read_bytes"),
            memory: memory(),
            kv_token_bytes: report["kv_token_bytes"].as_f64().unwrap_or(0.0),
        }
    }
}

/// The child's own error, which it prints as JSON.
fn failure_of_child(messages: &str, status: &str) -> Failure {
    let error = messages.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
    let Some(error) = error.as_ref().and_then(|value| value.get("error")) else {
        return Failure::new(ExitCode::Engine, format!("the process that measures the start ended with {status}"));
    };
    let code = match error["exit_code"].as_u64() {
        Some(2) => ExitCode::Usage,
        Some(3) => ExitCode::NotFound,
        Some(4) => ExitCode::BadModel,
        Some(5) => ExitCode::DoesNotFit,
        Some(6) => ExitCode::Engine,
        _ => ExitCode::Other,
    };
    Failure::new(code, error["cause"].as_str().unwrap_or("it does not say why"))
        .with_hint(error["hint"].as_str().map(str::to_owned))
}

/// The child's part: a first token, what else is asked for, and a report.
///
/// # Errors
/// If the model gives no tokens.
pub fn run_as_child(session: &Session, (prompt, answer): (usize, usize)) -> Result<(), Failure> {
    let mut random = Random(2);
    let vocabulary_size = session.engine().limits().vocabulary_size as u64;
    let mut tokens = |length: usize| (0..length).map(|_| (random.bits() % vocabulary_size) as u32).collect::<Vec<_>>();
    measure::answer(session, tokens(PROMPT_TOKENS), 1)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{FIRST_TOKEN}")?;
    out.flush()?;
    if prompt + answer > 0 {
        measure::answer(session, tokens(prompt.max(1)), answer.max(1))?;
    }
    let resident = machine::resident_bytes();
    let report = json!({
        "load_ms": session.load_duration().as_millis() as u64,
        "disk_read_bytes": machine::disk_read_bytes(),
        "peak_bytes": machine::peak_memory_bytes(),
        "anonymous_bytes": resident.map(|(anonymous, _)| anonymous),
        "file_bytes": resident.map(|(_, file)| file),
        "kv_token_bytes": session.kv_token_bytes(),
    });
    Ok(writeln!(out, "{report}")?)
}

/// Several starts in a row.
#[derive(Clone, Debug, Default)]
pub struct Starts {
    /// What each child did.
    pub started: Vec<Started>,
    /// Who else used the processors meanwhile.
    pub others: Others,
}

/// Starts with the file in the page cache: `repeats` of them, after one that puts it there.
///
/// # Errors
/// As [`Child::run`].
pub fn warm(child: &Child, repeats: usize, say: &mut dyn FnMut(&str)) -> Result<Starts, Failure> {
    say("start: warm-up");
    child.run(0, 0)?;
    let mut starts = Starts::default();
    for round in 1..=repeats {
        let before = CpuTimes::now();
        let started = child.run(0, 0)?;
        starts.others.add(before, CpuTimes::now());
        say(&format!("start, warm: round {round} of {repeats}, {:.0} ms", 1e3 * started.seconds));
        starts.started.push(started);
    }
    Ok(starts)
}

/// Starts from the disk, and the seconds that reading the files alone takes. `Ok(None)` where the page cache cannot be
/// made to forget them.
///
/// # Errors
/// As [`Child::run`].
pub fn cold(
    child: &Child,
    files: &[PathBuf],
    repeats: usize,
    say: &mut dyn FnMut(&str),
) -> Result<Option<(Starts, f64)>, Failure> {
    let forget = || -> std::io::Result<()> {
        for path in files {
            // Pages that are not on the disk yet cannot be dropped.
            std::fs::File::open(path)?.sync_all()?;
            machine::forget_pages(path)?;
        }
        Ok(())
    };
    say("start, cold: reading the file alone");
    if forget().is_err() {
        return Ok(None);
    }
    let start = Instant::now();
    let size_bytes = files.iter().map(|path| read_all(path)).sum::<std::io::Result<u64>>()?;
    let read_seconds = start.elapsed().as_secs_f64();
    let mut starts = Starts::default();
    for round in 1..=repeats {
        if forget().is_err() {
            return Ok(None);
        }
        let before = CpuTimes::now();
        let started = child.run(0, 0)?;
        starts.others.add(before, CpuTimes::now());
        // Most of the file has to come from the disk, or it was not cold.
        if started.disk_read_bytes.is_none_or(|bytes| bytes < size_bytes / 2) {
            return Ok(None);
        }
        say(&format!("start, cold: round {round} of {repeats}, {:.0} ms", 1e3 * started.seconds));
        starts.started.push(started);
    }
    Ok(Some((starts, read_seconds)))
}

/// Reads a file from its beginning to its end; gives its length.
fn read_all(path: &Path) -> std::io::Result<u64> {
    let mut file = std::fs::File::open(path)?;
    let mut buffer = vec![0; 4 << 20];
    let mut size_bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(size_bytes),
            count => size_bytes += count as u64,
        }
    }
}
