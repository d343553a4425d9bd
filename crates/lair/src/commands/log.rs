//! `lair log`: shows what a server recorded of its requests.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Args;
use lair_server::record_files;
use serde_json::Value as Json;

use crate::failure::{ExitCode, Failure, Outcome};
use crate::human::parse_time;
use crate::locate;

/// Records that are listed if nothing else is said.
const LAST: usize = 20;
/// How often a followed log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Which records, and how.
#[derive(Args, Debug)]
pub struct LogArgs {
    /// A request, by its `x-request-id` or the beginning of it: everything that is known of it
    id: Option<String>,
    /// So many of the latest requests [default: 20]
    #[arg(long, value_name = "COUNT", conflicts_with = "id")]
    last: Option<usize>,
    /// Go on with requests as they end
    #[arg(long, short, conflicts_with = "id")]
    follow: bool,
    /// Requests to this model only
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Requests of this key only
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// Requests of so long ago at most: 1h, 30m, 7d
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// The records as they are kept, one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Where records are kept.
pub fn folder() -> Result<PathBuf, Failure> {
    Ok(locate::store()?.settings().root.join("requests"))
}

/// Runs the command.
pub fn log(args: &LogArgs) -> Outcome {
    let folder = folder()?;
    let outcome = match &args.id {
        Some(id) => show(&folder, id, args),
        None => list(&folder, args),
    };
    match outcome {
        // Whoever reads has seen enough.
        Err(failure) if failure.cause.contains("Broken pipe") => Ok(()),
        outcome => outcome,
    }
}

/// The records of a file, oldest first; a line that was cut by a crash is none.
fn records(path: &Path) -> io::Result<Vec<Json>> {
    let file = match File::open(path) {
        // Removed for the quota in the meantime.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let lines = BufReader::new(file).split(b'\n').collect::<io::Result<Vec<_>>>()?;
    Ok(lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

impl LogArgs {
    /// Whether a record is asked for.
    fn takes(&self, record: &Json, now: SystemTime) -> bool {
        let is_of = |name: &str, wanted: &Option<String>| match wanted {
            Some(wanted) => record[name].as_str().is_some_and(|found| {
                found == wanted || found.strip_suffix(":latest").is_some_and(|found| found == wanted)
            }),
            None => true,
        };
        let is_recent = || match self.since {
            Some(since) => {
                let time = record["time"].as_str().and_then(parse_time);
                time.is_some_and(|time| now.duration_since(time).is_ok_and(|age| age <= since) || time > now)
            }
            None => true,
        };
        is_of("model", &self.model) && is_of("key", &self.key) && is_recent()
    }
}

fn no_records(folder: &Path) -> Failure {
    let cause = format!("no requests are recorded in {}", folder.display());
    Failure::new(ExitCode::NotFound, cause).with_hint("start the server with --log-requests".to_owned())
}

fn show(folder: &Path, id: &str, args: &LogArgs) -> Outcome {
    let files = record_files(folder)?;
    if files.is_empty() {
        return Err(no_records(folder));
    }
    let mut found = Vec::new();
    for path in files.iter().rev() {
        let begins = |record: &Json| record["id"].as_str().is_some_and(|found| found.starts_with(id));
        found.extend(records(path)?.into_iter().filter(begins));
    }
    match found.as_slice() {
        [] => Err(Failure::new(ExitCode::NotFound, format!("no request `{id}` is recorded"))
            .with_hint("`lair log` lists those that are; the oldest are removed".to_owned())),
        [record] => {
            let mut out = io::stdout().lock();
            match args.json {
                true => writeln!(out, "{record}")?,
                false => write_whole(&mut out, record)?,
            }
            Ok(())
        }
        several => {
            let ids: Vec<&str> = several.iter().filter_map(|record| record["id"].as_str()).take(4).collect();
            let cause = format!("`{id}` begins {} requests, {} among them", several.len(), ids.join(", "));
            Err(Failure::new(ExitCode::Usage, cause))
        }
    }
}

fn list(folder: &Path, args: &LogArgs) -> Outcome {
    let now = SystemTime::now();
    let wanted = args.last.unwrap_or(if args.since.is_some() { usize::MAX } else { LAST });
    // Where to go on from is settled before anything is read: what comes meanwhile is shown once, not twice or never.
    let files = record_files(folder)?;
    if files.is_empty() && !args.follow {
        return Err(no_records(folder));
    }
    let mut places = HashMap::new();
    let mut newest_first = Vec::new();
    for path in files.iter().rev() {
        if newest_first.len() >= wanted && !args.follow {
            break;
        }
        let length = std::fs::metadata(path).map_or(0, |facts| facts.len());
        let (records, end) = records_from(path, 0, length)?;
        places.insert(path.clone(), end);
        newest_first.extend(records.into_iter().rev().filter(|record| args.takes(record, now)));
    }
    newest_first.truncate(wanted);
    let mut out = io::stdout().lock();
    if !args.json {
        writeln!(out, "{}", row(&HEADINGS.map(str::to_owned)))?;
    }
    for record in newest_first.iter().rev() {
        write_record(&mut out, record, args)?;
    }
    out.flush()?;
    match args.follow {
        true => follow(folder, args, places, &mut out),
        false => Ok(()),
    }
}

/// Shows records as they come, until the program is ended. `places` is how far each file was read.
fn follow(folder: &Path, args: &LogArgs, mut places: HashMap<PathBuf, u64>, out: &mut impl Write) -> Outcome {
    loop {
        std::thread::sleep(LOOK_EVERY);
        for path in record_files(folder)? {
            let length = std::fs::metadata(&path).map_or(0, |facts| facts.len());
            let place = places.entry(path.clone()).or_insert(0);
            if length <= *place {
                continue;
            }
            let (records, end) = records_from(&path, *place, length)?;
            *place = end;
            for record in records.iter().filter(|record| args.takes(record, SystemTime::now())) {
                write_record(out, record, args)?;
            }
            out.flush()?;
        }
    }
}

/// The records between two places of a file, and where the last whole one ends.
fn records_from(path: &Path, from: u64, to: u64) -> io::Result<(Vec<Json>, u64)> {
    use std::io::Read;
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), to)),
        file => file?,
    };
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(to.saturating_sub(from)).read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let lines = bytes[..whole].split(|byte| *byte == b'\n');
    Ok((lines.filter_map(|line| serde_json::from_slice(line).ok()).collect(), from + whole as u64))
}

fn write_record(out: &mut impl Write, record: &Json, args: &LogArgs) -> io::Result<()> {
    match args.json {
        true => writeln!(out, "{record}"),
        false => writeln!(out, "{}", row(&cells(record))),
    }
}

const HEADINGS: [&str; 9] = ["TIME", "ID", "MODEL", "STATUS", "PROMPT", "CACHED", "ANSWER", "MS", "END"];
const WIDTHS: [usize; 9] = [20, 28, 20, 6, 7, 7, 7, 9, 0];

fn row(cells: &[String; 9]) -> String {
    let padded = cells.iter().zip(WIDTHS).map(|(cell, width)| format!("{cell:<width$}"));
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// A record in one line. An answer among several is the first; what they took is summed.
fn cells(record: &Json) -> [String; 9] {
    let text = |value: &Json| match value {
        Json::Null => "-".to_owned(),
        Json::String(text) => one_line(text),
        other => other.to_string(),
    };
    let answers = record["answers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let sum = |name: &str| {
        let counts: Vec<u64> = answers.iter().filter_map(|answer| answer[name].as_u64()).collect();
        (!counts.is_empty()).then(|| counts.iter().sum::<u64>())
    };
    let count = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    let first = answers.first().unwrap_or(&Json::Null);
    let prompt = first["prompt_tokens"].as_u64().or_else(|| record["embedded"]["tokens"].as_u64());
    let end = match &record["error"]["kind"] {
        Json::Null => &first["finish_reason"],
        kind => kind,
    };
    let time = record["time"].as_str().unwrap_or_default();
    [
        one_line(time.split('.').next().unwrap_or_default()),
        text(&record["id"]),
        text(&record["model"]),
        text(&record["status"]),
        count(prompt),
        count(sum("cached_tokens")),
        count(sum("completion_tokens")),
        text(&record["duration_ms"]),
        text(end),
    ]
}

/// Everything that is known of a request: facts first, then texts.
fn write_whole(out: &mut impl Write, record: &Json) -> io::Result<()> {
    let Json::Object(fields) = record else { return Ok(()) };
    let plain = |value: &Json| match value {
        Json::String(text) => one_line(text),
        other => one_line(&other.to_string()),
    };
    for (name, value) in fields.iter().filter(|(name, value)| *name != "answers" && !value.is_null()) {
        writeln!(out, "{name:<26} {}", plain(value))?;
    }
    for (index, answer) in record["answers"].as_array().into_iter().flatten().enumerate() {
        writeln!(out, "\nanswer {}", index + 1)?;
        let Json::Object(fields) = answer else { continue };
        let is_text = |name: &str| name == "prompt" || name == "text";
        for (name, value) in fields.iter().filter(|(name, value)| !is_text(name) && !value.is_null()) {
            writeln!(out, "  {name:<24} {}", plain(value))?;
        }
        for name in ["prompt", "text"] {
            match &answer[name] {
                Json::String(text) => writeln!(out, "\n--- {name}\n{}", shown(text))?,
                _ => writeln!(out, "\n--- {name}: not recorded (the server runs with --log-requests meta)")?,
            }
        }
    }
    Ok(())
}

/// What others wrote must not steer the terminal: control characters are shown, lines stay lines.
fn shown(text: &str) -> String {
    let is_steering = |c: char| c.is_control() && c != '\n' && c != '\t';
    text.chars().flat_map(|c| if is_steering(c) { c.escape_default().collect() } else { vec![c] }).collect()
}

fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn args() -> LogArgs {
        LogArgs { id: None, last: None, follow: false, model: None, key: None, since: None, json: false }
    }

    #[test]
    fn records_are_chosen_by_model_key_and_time() {
        let now = parse_time("2026-01-01T01:00:00Z").expect("a time");
        let record = json!({ "model": "tiny:latest", "key": "ci", "time": "2026-01-01T00:30:00.123Z" });
        let with = |change: &dyn Fn(&mut LogArgs)| {
            let mut args = args();
            change(&mut args);
            args.takes(&record, now)
        };
        assert!(with(&|_| ()));
        assert!(with(&|args| args.model = Some("tiny".to_owned())));
        assert!(!with(&|args| args.model = Some("tin".to_owned())));
        assert!(with(&|args| args.key = Some("ci".to_owned())) && !with(&|args| args.key = Some("x".to_owned())));
        assert!(with(&|args| args.since = Some(Duration::from_secs(1801))));
        assert!(!with(&|args| args.since = Some(Duration::from_secs(1700))));
    }

    #[test]
    fn a_text_steers_no_terminal() {
        let record =
            json!({ "id": "req_1\u{1b}[2J", "answers": [{ "prompt": "a\nb\u{1b}]0;x\u{7}", "text": "\u{9b}31m" }] });
        let mut out = Vec::new();
        write_whole(&mut out, &record).expect("written");
        let text = String::from_utf8(out).expect("text");
        assert!(text.chars().all(|c| !c.is_control() || c == '\n'), "{text:?}");
        assert!(text.contains("a\nb\\u{1b}]0;x"), "{text}");
        assert!(!row(&cells(&record)).chars().any(char::is_control));
    }

    #[test]
    fn a_line_that_is_not_whole_is_left_for_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("requests-1.jsonl");
        std::fs::write(&path, "{\"id\":1}\n{\"id\":2}\n{\"id\"").expect("written");
        let (found, end) = records_from(&path, 0, 100).expect("read");
        assert_eq!((found.len(), end), (2, 18));
        assert_eq!(records(&path).expect("read").len(), 2);
        std::fs::write(&path, "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n").expect("written");
        assert_eq!(records_from(&path, end, 27).expect("read").0, [json!({ "id": 3 })]);
    }
}
