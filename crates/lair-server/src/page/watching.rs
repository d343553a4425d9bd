//! `/lair/v1/requests`, `/lair/v1/keys`: what the page shows of the server itself, to those who may do everything.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::Path as FilePath;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value as Json, json};

use super::conversations::done;
use super::page_of;
use crate::dialects::route::{Field, Kind, Route, fields_of, parameter, spoken};
use crate::dialects::{json_response, with_ignored};
use crate::error::{ApiError, ErrorKind};
use crate::keys::{KeyFile, KeyFileError, KeyRecord, KeyRules, Scope};
use crate::loaded::blocking;
use crate::metrics::METRICS;
use crate::request_log::record_files;
use crate::server::SharedApp;

/// Records that are listed if nothing else is asked for.
const RECORDS_USUAL: usize = 50;
/// The most that are.
const RECORDS_MAX: usize = 500;

const KEY_FIELDS: &[Field] = &[Field::required("name", Kind::Text), Field::new("scopes", Kind::Texts)];

pub(super) fn routes() -> Vec<Route> {
    let admin = Scope::Admin;
    vec![
        Route::get(Scope::Metrics, "/lair/v1/load", "What is being answered, and what was counted so far.", load),
        Route::get(admin, "/lair/v1/requests", "The latest records of requests, at most `limit`.", records),
        Route::get(admin, "/lair/v1/requests/{id}", "A record with all that is kept of it.", record),
        Route::get(admin, "/lair/v1/keys", "The keys of the file, without their text.", keys),
        Route::post(admin, "/lair/v1/keys", "Makes a key; its text is not shown again.", &[KEY_FIELDS], add_key),
        Route::delete(admin, "/lair/v1/keys/{name}", "Takes a key back.", &[], remove_key),
    ]
}

async fn load(State(app): State<SharedApp>) -> Response {
    let answered = page_of(&app).map(|()| {
        let tasks = METRICS.tasks();
        let running: Vec<Json> = tasks
            .iter()
            .map(|task| {
                json!({
                    "id": task.id, "model": task.model, "prompt_tokens": task.prompt_tokens,
                    "generated_tokens": task.generated.load(Relaxed), "max_tokens": task.max_tokens,
                })
            })
            .collect();
        let counted = METRICS.models();
        let sum = |of: fn(&crate::metrics::ModelCounts) -> u64| -> u64 { counted.iter().map(|(_, one)| of(one)).sum() };
        let loaded = app.models.running();
        let body = json!({
            "running": running,
            "prompt_tokens": sum(|one| one.prompt_tokens.load(Relaxed)),
            "cached_tokens": sum(|one| one.cached_tokens.load(Relaxed)),
            "generated_tokens": sum(|one| one.generated_tokens.load(Relaxed)),
            "ended": sum(|one| one.ended.iter().map(|count| count.load(Relaxed)).sum()),
            "memory_bytes": loaded.iter().map(|model| model.memory_bytes).sum::<u64>(),
            "models": loaded.iter().map(|model| model.facts.name.clone()).collect::<Vec<_>>(),
            "up_s": METRICS.started.elapsed().map_or(0, |time| time.as_secs()),
        });
        json_response(StatusCode::OK, &body)
    });
    spoken("/lair/", answered)
}

/// The records of a file, the latest last; a line that is being written is none.
fn records_of(path: &FilePath) -> Vec<Json> {
    let Ok(file) = std::fs::File::open(path) else { return Vec::new() };
    let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
    lines.filter_map(|line| serde_json::from_slice(&line).ok()).collect()
}

/// Where records are kept; an error that says how to have them where there are none.
fn records_folder(app: &SharedApp) -> Result<std::path::PathBuf, ApiError> {
    page_of(app)?;
    let folder = app.options.request_log.as_ref().map(|options| options.folder.clone());
    folder.ok_or_else(|| {
        ApiError::new(ErrorKind::NotFound, "this server records no requests")
            .with_hint("start it with --log-requests".to_owned())
    })
}

async fn records(State(app): State<SharedApp>, uri: Uri) -> Response {
    let answered = async {
        let folder = records_folder(&app)?;
        let limit =
            match parameter(&uri, "limit") {
                None => RECORDS_USUAL,
                Some(text) => text.parse().ok().filter(|limit| (1..=RECORDS_MAX).contains(limit)).ok_or_else(|| {
                    ApiError::bad("limit", format!("`limit` is `{text}`, 1 to {RECORDS_MAX} expected"))
                })?,
            };
        let found = blocking(move || {
            let files = record_files(&folder).map_err(unreadable)?;
            let mut latest = VecDeque::new();
            for path in files.iter().rev() {
                for record in records_of(path).into_iter().rev().take(limit - latest.len()) {
                    latest.push_back(without_texts(record));
                }
                if latest.len() >= limit {
                    break;
                }
            }
            Ok(latest)
        });
        Ok(json_response(StatusCode::OK, &json!({ "requests": found.await? })))
    };
    spoken("/lair/", answered.await)
}

fn unreadable(error: std::io::Error) -> ApiError {
    ApiError::new(ErrorKind::Internal, format!("the records of requests cannot be read: {error}"))
}

/// What a list shows of a record.
fn without_texts(mut record: Json) -> Json {
    for answer in record["answers"].as_array_mut().into_iter().flatten() {
        if let Some(answer) = answer.as_object_mut() {
            answer.retain(|_, value| value.is_number() || value.as_str().is_some_and(|text| text.len() < 100));
        }
    }
    record
}

async fn record(State(app): State<SharedApp>, Path(id): Path<String>) -> Response {
    let answered = async {
        let folder = records_folder(&app)?;
        let wanted = id.clone();
        let found = blocking(move || {
            let files = record_files(&folder).map_err(unreadable)?;
            let mut all = files.iter().rev().flat_map(|path| records_of(path));
            Ok(all.find(|record| record["id"] == wanted.as_str()))
        });
        let missing = || ApiError::new(ErrorKind::NotFound, format!("there is no record of a request `{id}`"));
        Ok(json_response(StatusCode::OK, &found.await?.ok_or_else(missing)?))
    };
    spoken("/lair/", answered.await)
}

fn key_file(app: &SharedApp) -> Result<KeyFile, ApiError> {
    page_of(app)?;
    let file = app.options.access.key_file.clone();
    file.ok_or_else(|| ApiError::new(ErrorKind::NotFound, "this server was started without a file of keys"))
}

fn key_error(error: KeyFileError) -> ApiError {
    let kind = match &error {
        KeyFileError::Taken { .. } | KeyFileError::Name { .. } | KeyFileError::TooMany => ErrorKind::BadRequest,
        _ => ErrorKind::Internal,
    };
    ApiError::new(kind, &error).with_hint(error.hint())
}

async fn keys(State(app): State<SharedApp>) -> Response {
    let answered = async {
        let file = key_file(&app)?;
        let records = blocking(move || file.read().map_err(key_error)).await?;
        let now = SystemTime::now();
        let line = |record: &KeyRecord| {
            json!({
                "name": record.name, "scopes": record.rules.scopes, "models": record.rules.models,
                "expires_unix_s": record.rules.expires_unix_s, "has_expired": record.rules.has_expired(now),
            })
        };
        Ok(json_response(StatusCode::OK, &json!({ "keys": records.iter().map(line).collect::<Vec<_>>() })))
    };
    spoken("/lair/", answered.await)
}

async fn add_key(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async {
        let file = key_file(&app)?;
        let mut fields = fields_of(&app, request).await?;
        let name = fields.required_text("name")?;
        let scopes = fields.texts("scopes")?;
        let ignored = fields.rest();
        let scope = |text: &String| text.parse::<Scope>().map_err(|cause| ApiError::bad("scopes", cause));
        let scopes: Vec<Scope> = scopes.iter().map(scope).collect::<Result<_, _>>()?;
        let scopes = if scopes.is_empty() { Scope::USUAL.to_vec() } else { scopes };
        let rules = KeyRules { scopes, ..KeyRules::unlimited() };
        let (record, text) = KeyRecord::create(&name, rules, SystemTime::now()).map_err(key_error)?;
        blocking(move || file.add(record).map_err(key_error)).await?;
        Ok(with_ignored(json_response(StatusCode::OK, &json!({ "name": name, "key": text })), &ignored))
    };
    spoken("/lair/", answered.await)
}

async fn remove_key(State(app): State<SharedApp>, Path(name): Path<String>) -> Response {
    let answered = async {
        let file = key_file(&app)?;
        let wanted = name.clone();
        let removed = blocking(move || file.remove(&wanted).map_err(key_error)).await?;
        let missing = || ApiError::new(ErrorKind::NotFound, format!("there is no key `{name}`"));
        removed.ok_or_else(missing).map(|_| done(&[]))
    };
    spoken("/lair/", answered.await)
}
