//! `lair key`: makes, lists and takes back the keys that clients of the server show.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use lair_server::{KeyFile, KeyFileError, KeyRecord, KeyRules, Scope};
use serde_json::{Value as Json, json};

use crate::failure::{ExitCode, Failure, Outcome};
use crate::human::{age_text, time_text};
use crate::locate;

/// Which file, and what to do.
#[derive(Args, Debug)]
pub struct KeyArgs {
    #[command(subcommand)]
    action: KeyAction,
}

#[derive(Subcommand, Debug)]
enum KeyAction {
    /// Make a key and print it; it is not shown again
    Create(CreateArgs),
    /// List the keys there are, without their text
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Take keys back; running servers stop taking them at once
    #[command(visible_alias = "rm")]
    Revoke(RevokeArgs),
}

/// A key to be made.
#[derive(Args, Debug)]
struct CreateArgs {
    /// What to call it, in lists and logs
    name: String,
    /// What it may do: chat, embeddings, models:read, models:write, metrics, admin
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', default_values_t = Scope::USUAL)]
    scope: Vec<Scope>,
    /// Models it may use, with * and ?: `qwen*,tiny:1m` [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    models: Vec<String>,
    /// Requests it may make: `60/min`, `5/s`, `1000/h` [default: any number]
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    rate: Option<u32>,
    /// Tokens of prompts and answers it may use: `20000/min` [default: any number]
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    tokens: Option<u32>,
    /// Requests it may have at the same time [default: any number]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=65536))]
    concurrent: Option<u32>,
    /// When it ends: `30d`, `12h` [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_time_to_live)]
    expires: Option<Duration>,
    /// One JSON object with the key
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: FileArgs,
}

/// What to list.
#[derive(Args, Debug)]
struct ListArgs {
    /// A JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: FileArgs,
}

/// Keys to be taken back.
#[derive(Args, Debug)]
struct RevokeArgs {
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
    /// A JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    file: FileArgs,
}

/// Where keys are kept.
#[derive(Args, Debug)]
struct FileArgs {
    /// The file with keys [default: keys.json in Lair's folder]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl KeyArgs {
    /// Whether what goes wrong is to be said in JSON.
    pub fn is_json(&self) -> bool {
        match &self.action {
            KeyAction::Create(args) => args.json,
            KeyAction::List(args) => args.json,
            KeyAction::Revoke(args) => args.json,
        }
    }
}

/// Where keys are kept if nothing else is said.
pub fn usual_file() -> Result<PathBuf, Failure> {
    Ok(locate::store()?.settings().root.join("keys.json"))
}

impl FileArgs {
    fn file(&self) -> Result<KeyFile, Failure> {
        Ok(KeyFile::at(match &self.key_file {
            Some(path) => path.clone(),
            None => usual_file()?,
        }))
    }
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Failure {
        let code = match &error {
            KeyFileError::Taken { .. } | KeyFileError::Name { .. } | KeyFileError::TooMany => ExitCode::Usage,
            _ => ExitCode::Other,
        };
        Failure::new(code, &error).with_hint(error.hint())
    }
}

/// Runs the command.
pub fn key(args: &KeyArgs) -> Outcome {
    match &args.action {
        KeyAction::Create(args) => create(args),
        KeyAction::List(args) => list(args),
        KeyAction::Revoke(args) => revoke(args),
    }
}

fn create(args: &CreateArgs) -> Outcome {
    let file = args.file.file()?;
    let now = SystemTime::now();
    let end = args.expires.map(|time| now + time);
    let mut scopes = args.scope.clone();
    scopes.dedup();
    let rules = KeyRules {
        scopes,
        models: args.models.clone(),
        requests_per_minute: args.rate,
        tokens_per_minute: args.tokens,
        concurrent_requests: args.concurrent,
        expires_unix_s: end.map(|end| end.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())),
    };
    let (record, text) = KeyRecord::create(&args.name, rules, now)?;
    file.add(record.clone())?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let mut value = as_json(&record);
        value["key"] = json!(text);
        writeln!(out, "{value}")?;
    } else {
        // The key alone on standard output: `KEY=$(lair key create ci)` works.
        writeln!(out, "{text}")?;
        eprintln!("this is the only time that the key is shown; clients send it as `Authorization: Bearer KEY`");
    }
    Ok(())
}

fn list(args: &ListArgs) -> Outcome {
    let file = args.file.file()?;
    let keys = file.read()?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let keys: Vec<Json> = keys.iter().map(as_json).collect();
        writeln!(out, "{}", json!({ "file": file.path(), "keys": keys }))?;
        return Ok(());
    }
    let now = SystemTime::now();
    let mut rows = vec![["NAME", "ID", "SCOPES", "MODELS", "LIMITS", "MADE", "ENDS"].map(str::to_owned)];
    rows.extend(keys.iter().map(|key| row(key, now)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("    ").trim_end())?;
    }
    Ok(())
}

fn row(key: &KeyRecord, now: SystemTime) -> [String; 7] {
    let rules = &key.rules;
    let names = |names: Vec<&str>| names.join(",");
    let limits: Vec<String> = [
        rules.requests_per_minute.map(|count| format!("{count} requests/min")),
        rules.tokens_per_minute.map(|count| format!("{count} tokens/min")),
        rules.concurrent_requests.map(|count| format!("{count} at a time")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let end = match rules.expires_unix_s {
        None => "never".to_owned(),
        Some(_) if rules.has_expired(now) => "over".to_owned(),
        Some(end) => time_text(UNIX_EPOCH + Duration::from_secs(end)),
    };
    [
        key.name.clone(),
        key.id.clone(),
        names(rules.scopes.iter().map(|scope| scope.name()).collect()),
        or_dash(names(rules.models.iter().map(String::as_str).collect())),
        or_dash(limits.join(", ")),
        age_text(Some(UNIX_EPOCH + Duration::from_secs(key.created_unix_s)), now),
        end,
    ]
}

fn as_json(key: &KeyRecord) -> Json {
    let rules = &key.rules;
    let time = |seconds: u64| time_text(UNIX_EPOCH + Duration::from_secs(seconds));
    json!({
        "name": key.name,
        "id": key.id,
        "scopes": rules.scopes,
        "models": rules.models,
        "requests_per_minute": rules.requests_per_minute,
        "tokens_per_minute": rules.tokens_per_minute,
        "concurrent_requests": rules.concurrent_requests,
        "created_at": time(key.created_unix_s),
        "expires_at": rules.expires_unix_s.map(time),
        "has_expired": rules.has_expired(SystemTime::now()),
    })
}

fn revoke(args: &RevokeArgs) -> Outcome {
    let file = args.file.file()?;
    let mut revoked = Vec::new();
    for name in &args.names {
        match file.remove(name)? {
            Some(key) => revoked.push(key.name),
            None => {
                let cause = format!("there is no key `{name}`");
                return Err(Failure::new(ExitCode::NotFound, cause)
                    .with_hint("`lair key list` lists those there are".to_owned()));
            }
        }
    }
    let mut out = std::io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", json!({ "revoked": revoked }))?,
        false => revoked.iter().try_for_each(|name| writeln!(out, "revoked `{name}`"))?,
    }
    Ok(())
}

/// How many in a minute.
fn parse_rate(text: &str) -> Result<u32, String> {
    let (count, unit) = text.split_once('/').unwrap_or((text, "min"));
    let count: u64 = count.trim().parse().map_err(|_| format!("`{text}` is no rate, for example 60/min expected"))?;
    let per_minute = match unit.trim() {
        "s" | "sec" | "second" => count.checked_mul(60),
        "m" | "min" | "minute" => Some(count),
        // Rounded up: nobody gets less than is written.
        "h" | "hour" => Some(count.div_ceil(60)),
        _ => return Err(format!("`{unit}` is no unit of time, s, min or h expected")),
    };
    let per_minute = per_minute.and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
    per_minute.ok_or_else(|| format!("`{text}` is none from 1 to {} a minute", u32::MAX))
}

fn parse_time_to_live(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text.trim()).map_err(|error| format!("{error}, for example 30d expected"))?;
    // A hundred years: what is longer is meant as never, and a clock could not hold it.
    match time.as_secs() {
        0 => Err("it would end at once".to_owned()),
        1..=3_153_600_000 => Ok(time),
        _ => Err("it is more than a hundred years; leave it out for a key without an end".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_by_the_minute() {
        for (text, expected) in [("60", 60), ("60/min", 60), ("2/s", 120), ("100/h", 2), (" 5 / minute", 5)] {
            assert_eq!(parse_rate(text), Ok(expected), "{text}");
        }
        for text in ["", "x", "0", "-1", "1/day", "99999999999", "99999999/s", "1.5"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
        assert!(parse_time_to_live("30d").is_ok() && parse_time_to_live("1h 30m").is_ok());
        assert!(["", "30", "0s", "200y", "-1d"].iter().all(|text| parse_time_to_live(text).is_err()));
    }
}
