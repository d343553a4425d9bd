//! What is noted of each request: a line of the server's log when its answer has ended and, where that is wished for, a
//! record of what was computed. Records stay on this machine, in files that only their owner reads, within a quota.

mod answer_note;
mod files;
mod record;

use answer_note::AnswerNote;
pub(crate) use answer_note::Noting;
pub use files::record_files;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use serde_json::{Value as Json, json};

use crate::error::ApiError;
use crate::log::{self, LogLevel};
use files::RecordFiles;
use record::Ended;

/// Records that wait to be written.
const RECORDS_MAX: usize = 1024;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestLogMode {
    /// Counts, times and settings; nothing that was asked or said.
    Meta,
    /// The text of prompts and answers as well.
    Full,
}

/// Where and how requests are recorded.
#[derive(Clone, Debug)]
pub struct RequestLogOptions {
    /// A folder for records and nothing else.
    pub folder: PathBuf,
    /// What is recorded.
    pub mode: RequestLogMode,
    /// Bytes that all records may take; the oldest go first.
    pub quota_bytes: u64,
}

enum Order {
    Record(Box<Ended>),
    /// Answered when all records before it are written.
    Flush(SyncSender<()>),
}

/// Writes records, on a thread of its own.
pub(crate) struct RequestLog {
    mode: RequestLogMode,
    queue: SyncSender<Order>,
    lost: AtomicU64,
}

impl RequestLog {
    /// Opens the folder, making it if it is not there.
    pub(crate) fn open(options: RequestLogOptions) -> io::Result<RequestLog> {
        let files = RecordFiles::open(&options.folder, options.quota_bytes)?;
        let (queue, orders) = sync_channel(RECORDS_MAX);
        let mode = options.mode;
        std::thread::Builder::new()
            .name("request-log".to_owned())
            .spawn(move || write_records(files, &orders, mode))?;
        Ok(RequestLog { mode, queue, lost: AtomicU64::new(0) })
    }

    fn take(&self, ended: Ended) {
        if self.queue.try_send(Order::Record(Box::new(ended))).is_err() {
            let lost = self.lost.fetch_add(1, Relaxed) + 1;
            // Once for the first, then with each power of two: a disk that is too slow does not fill the log as well.
            if lost.is_power_of_two() {
                log::write(LogLevel::Warn, "records of requests were lost", &[("records", json!(lost))]);
            }
        }
    }

    /// Waits until all records are written.
    pub(crate) fn finish(&self) {
        let (done, is_done) = sync_channel(1);
        if self.queue.send(Order::Flush(done)).is_ok() {
            let _ = is_done.recv();
        }
    }
}

fn write_records(mut files: RecordFiles, orders: &Receiver<Order>, mode: RequestLogMode) {
    let mut is_told = false;
    for order in orders {
        let outcome = match order {
            Order::Record(ended) => files.append(&format!("{}\n", ended.record(mode))),
            Order::Flush(done) => {
                let _ = done.send(());
                continue;
            }
        };
        if let Err(error) = &outcome
            && !is_told
        {
            log::write(LogLevel::Error, "requests cannot be recorded", &[("cause", json!(error.to_string()))]);
        }
        is_told = outcome.is_err();
    }
}

/// A request that is being answered. It has ended when the last who works on it lets go of this.
pub(crate) struct Trace {
    /// What the client is told as `x-request-id`.
    pub(crate) id: String,
    began: SystemTime,
    start: Instant,
    method: String,
    /// As it stands in the list of routes: a path itself may hold what is nobody's business.
    route: String,
    client: SocketAddr,
    noted: Mutex<Noted>,
    /// Where it is recorded.
    log: Option<Arc<RequestLog>>,
}

/// What is known by now.
#[derive(Default)]
struct Noted {
    key: Option<String>,
    status: u16,
    error: Option<ApiError>,
    answers: Vec<AnswerNote>,
    embedded: Option<Embedded>,
}

/// Texts that were embedded or ranked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Embedded {
    pub(crate) model: String,
    pub(crate) model_digest: String,
    pub(crate) input_count: usize,
    pub(crate) token_count: usize,
    /// Which were cut: index, tokens before, tokens after.
    pub(crate) cuts: Vec<(usize, usize, usize)>,
}

impl Trace {
    pub(crate) fn begin(method: &str, route: Option<&str>, client: SocketAddr, log: Option<Arc<RequestLog>>) -> Trace {
        Trace {
            id: crate::answer::unique_name("req_"),
            began: SystemTime::now(),
            start: Instant::now(),
            method: method.to_owned(),
            route: route.unwrap_or("(none)").to_owned(),
            client,
            noted: Mutex::default(),
            log,
        }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether texts are wanted.
    fn is_full(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.mode == RequestLogMode::Full)
    }

    /// The name of the key that was shown.
    pub(crate) fn note_key(&self, name: &str) {
        self.noted().key = Some(name.to_owned());
    }

    /// How it is answered.
    pub(crate) fn note_answer(&self, status: u16, error: Option<&ApiError>) {
        let mut noted = self.noted();
        noted.status = status;
        noted.error = error.cloned();
    }

    /// What was embedded; several times where a request is computed in parts.
    pub(crate) fn note_embedded(&self, more: Embedded) {
        let mut noted = self.noted();
        match &mut noted.embedded {
            Some(embedded) => {
                embedded.input_count += more.input_count;
                embedded.token_count += more.token_count;
                embedded.cuts.extend(more.cuts);
            }
            None => noted.embedded = Some(more),
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let noted = std::mem::take(self.noted.get_mut().unwrap_or_else(PoisonError::into_inner));
        let ended = Ended {
            id: std::mem::take(&mut self.id),
            began: self.began,
            duration: self.start.elapsed(),
            method: std::mem::take(&mut self.method),
            route: std::mem::take(&mut self.route),
            client: self.client,
            noted,
        };
        let level = match ended.noted.status {
            500.. => LogLevel::Error,
            401 | 403 | 429 => LogLevel::Warn,
            _ => LogLevel::Info,
        };
        if log::has(level) {
            log::write(level, "request", &ended.line());
        }
        // Whoever has no key could push out the records of those who have one.
        let is_stranger = ended.noted.key.is_none() && matches!(ended.noted.status, 401 | 403);
        if let Some(log) = self.log.take().filter(|_| !is_stranger) {
            log.take(ended);
        }
    }
}

/// `null` for nothing, so that a line leaves it out.
fn or_null<T: Into<Json>>(value: Option<T>) -> Json {
    value.map_or(Json::Null, Into::into)
}
