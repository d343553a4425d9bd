//! What the server says of itself on standard error: a line of text or of JSON for each thing that happened.
//!
//! Lines are written by a thread of their own behind a bounded queue: who reads them slowly delays no request. What does not
//! fit is counted, and the count is told. No line holds a key, a header, a query, a prompt or an answer.

use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value as Json, json};

/// Lines that wait to be written.
const LINES_MAX: usize = 4096;

/// How long the end of the program waits for lines to be written.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(1);

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level, message, `name=value`.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much a line matters; the most first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something is broken here.
    Error,
    /// A client is refused, or something will break.
    Warn,
    /// Requests, and what changed.
    #[default]
    Info,
    /// What else may help to find a fault.
    Debug,
}

impl LogLevel {
    /// All, with their names.
    const NAMED: [(&'static str, LogLevel); 4] =
        [("error", LogLevel::Error), ("warn", LogLevel::Warn), ("info", LogLevel::Info), ("debug", LogLevel::Debug)];
}

impl fmt::Display for LogLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = LogLevel::NAMED.iter().find(|(_, level)| level == self).map_or("", |(name, _)| name);
        formatter.pad(name)
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<LogLevel, String> {
        let found = LogLevel::NAMED.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, level)| *level);
        found.ok_or_else(|| format!("`{text}` is no level, error, warn, info or debug expected"))
    }
}

enum Order {
    Line(String),
    /// Answered when all lines before it are written.
    Flush(SyncSender<()>),
}

struct Log {
    format: LogFormat,
    level: LogLevel,
    queue: SyncSender<Order>,
    lost: AtomicU64,
}

/// One for the process; nothing is written before [`start`].
static LOG: OnceLock<Log> = OnceLock::new();

/// Begins to write. Only the first call of a process counts.
pub fn start(format: LogFormat, level: LogLevel) {
    LOG.get_or_init(|| {
        let (queue, orders) = sync_channel(LINES_MAX);
        // Without a thread the queue is closed and nothing is written: a log is no reason not to serve.
        let _ = std::thread::Builder::new().name("log".to_owned()).spawn(move || write_lines(&orders));
        Log { format, level, queue, lost: AtomicU64::new(0) }
    });
}

fn write_lines(orders: &Receiver<Order>) {
    for order in orders {
        match order {
            // Nobody is left to be told of a standard error that is closed.
            Order::Line(line) => drop(std::io::stderr().lock().write_all(line.as_bytes())),
            Order::Flush(done) => drop(done.send(())),
        }
    }
}

/// Waits until what was said is written, but not for ever: standard error may be a pipe that nobody reads.
pub fn flush() {
    let Some(log) = LOG.get() else { return };
    let (done, is_done) = sync_channel(1);
    if log.queue.try_send(Order::Flush(done)).is_ok() {
        let _ = is_done.recv_timeout(FLUSH_TIME_MAX);
    }
}

/// Whether lines of this level are written.
pub(crate) fn has(level: LogLevel) -> bool {
    LOG.get().is_some_and(|log| level <= log.level)
}

/// Says that something happened.
pub fn write(level: LogLevel, message: &str, fields: &[(&str, Json)]) {
    let Some(log) = LOG.get().filter(|log| level <= log.level) else { return };
    let now = SystemTime::now();
    let lost = log.lost.swap(0, Relaxed);
    if lost > 0 {
        let told = line(log.format, now, LogLevel::Warn, "lines were lost", &[("lines", json!(lost))]);
        if log.queue.try_send(Order::Line(told)).is_err() {
            log.lost.fetch_add(lost, Relaxed);
        }
    }
    if log.queue.try_send(Order::Line(line(log.format, now, level, message, fields))).is_err() {
        log.lost.fetch_add(1, Relaxed);
    }
}

fn line(format: LogFormat, time: SystemTime, level: LogLevel, message: &str, fields: &[(&str, Json)]) -> String {
    let time = humantime::format_rfc3339_millis(time).to_string();
    let fields = fields.iter().filter(|(_, value)| !value.is_null());
    match format {
        LogFormat::Json => {
            let mut object = Map::new();
            object.insert("time".to_owned(), json!(time));
            object.insert("level".to_owned(), json!(level.to_string()));
            object.insert("message".to_owned(), json!(message));
            object.extend(fields.map(|(name, value)| ((*name).to_owned(), value.clone())));
            format!("{}\n", Json::Object(object))
        }
        LogFormat::Text => {
            let mut text = format!("{time} {level:<5} {message}");
            fields.for_each(|(name, value)| text += &format!(" {name}={}", plain(value)));
            text + "\n"
        }
    }
}

/// A value as it stands in a line of text: quoted where it would not be one word.
fn plain(value: &Json) -> String {
    match value {
        Json::String(text) if !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && c != '"') => {
            text.clone()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_in_both_forms() {
        let time = SystemTime::UNIX_EPOCH;
        let fields = [("id", json!("req_1")), ("cause", json!("a \"b\"\nc")), ("ms", json!(1.5)), ("key", Json::Null)];
        let text = line(LogFormat::Text, time, LogLevel::Info, "request", &fields);
        assert_eq!(text, "1970-01-01T00:00:00.000Z info  request id=req_1 cause=\"a \\\"b\\\"\\nc\" ms=1.5\n");
        let json: Json =
            serde_json::from_str(&line(LogFormat::Json, time, LogLevel::Warn, "request", &fields)).expect("one object");
        assert_eq!((&json["level"], &json["id"], &json["ms"]), (&json!("warn"), &json!("req_1"), &json!(1.5)));
        assert!(json.get("key").is_none());
    }

    #[test]
    fn levels_have_names_and_an_order() {
        for (name, level) in LogLevel::NAMED {
            assert_eq!((name.parse(), level.to_string().as_str()), (Ok(level), name));
        }
        assert!(LogLevel::Error < LogLevel::Debug && "loud".parse::<LogLevel>().is_err());
    }
}
