//! What is counted of all requests: tokens, times and how answers ended, for `/metrics` and `/slots`.
//!
//! Counted once for the whole process. A token costs two atomic additions and no lock; starting and ending a request
//! takes a lock each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use lair_engine::{Timings, Usage};

/// Upper bounds in seconds of what lasts as long as a token.
const TOKEN_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5];
/// Upper bounds in seconds of what lasts as long as a request.
const REQUEST_SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0];
/// Upper bounds of lengths in tokens.
const TOKEN_COUNTS: &[f64] =
    &[1.0, 4.0, 16.0, 64.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 131_072.0];

/// All counts of this process.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::default);

/// A distribution, in cumulative buckets as Prometheus has them.
#[derive(Debug)]
pub(crate) struct Histogram {
    /// Upper bounds of the buckets; one more has none.
    pub(crate) bounds: &'static [f64],
    counts: Vec<AtomicU64>,
    /// In millionths: seconds become microseconds.
    sum_millionths: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Histogram {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, counts, sum_millionths: AtomicU64::new(0) }
    }

    fn note(&self, value: f64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum_millionths.fetch_add((value * 1e6) as u64, Relaxed);
    }

    fn note_time(&self, time: Duration) {
        self.note(time.as_secs_f64());
    }

    /// How many values were at most each bound, the last one being all, and their sum.
    pub(crate) fn read(&self) -> (Vec<u64>, f64) {
        let mut count = 0;
        let cumulative = self.counts.iter().map(|bucket| {
            count += bucket.load(Relaxed);
            count
        });
        (cumulative.collect(), self.sum_millionths.load(Relaxed) as f64 / 1e6)
    }
}

/// The counts of one model.
#[derive(Debug)]
pub(crate) struct ModelCounts {
    /// Requests by how they ended: `stop`, `length`, `abort`, `error`.
    pub(crate) ended: [AtomicU64; 4],
    pub(crate) prompt_tokens: AtomicU64,
    pub(crate) cached_tokens: AtomicU64,
    pub(crate) generated_tokens: AtomicU64,
    pub(crate) guessed_tokens: AtomicU64,
    pub(crate) accepted_tokens: AtomicU64,
    /// Longest sequence there was, in tokens.
    pub(crate) longest_sequence: AtomicU64,
    pub(crate) time_to_first_token: Histogram,
    pub(crate) between_tokens: Histogram,
    pub(crate) request_time: Histogram,
    pub(crate) queue_time: Histogram,
    pub(crate) prefill_time: Histogram,
    pub(crate) decode_time: Histogram,
    pub(crate) prompt_lengths: Histogram,
    pub(crate) answer_lengths: Histogram,
}

/// What [`ModelCounts::ended`] counts, in its order.
pub(crate) const OUTCOMES: [&str; 4] = ["stop", "length", "abort", "error"];

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// By the model or a stop string.
    Stop,
    /// At its length.
    Length,
    /// Its client went away.
    Abort,
    /// Something broke.
    Error,
}

impl Default for ModelCounts {
    fn default() -> ModelCounts {
        ModelCounts {
            ended: Default::default(),
            prompt_tokens: AtomicU64::new(0),
            cached_tokens: AtomicU64::new(0),
            generated_tokens: AtomicU64::new(0),
            guessed_tokens: AtomicU64::new(0),
            accepted_tokens: AtomicU64::new(0),
            longest_sequence: AtomicU64::new(0),
            time_to_first_token: Histogram::new(REQUEST_SECONDS),
            between_tokens: Histogram::new(TOKEN_SECONDS),
            request_time: Histogram::new(REQUEST_SECONDS),
            queue_time: Histogram::new(REQUEST_SECONDS),
            prefill_time: Histogram::new(REQUEST_SECONDS),
            decode_time: Histogram::new(REQUEST_SECONDS),
            prompt_lengths: Histogram::new(TOKEN_COUNTS),
            answer_lengths: Histogram::new(TOKEN_COUNTS),
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Task {
    /// Later ones are greater.
    pub(crate) id: u64,
    /// The model it is for.
    pub(crate) model: String,
    /// The lowest number that no other request of the model had when it began.
    pub(crate) slot: usize,
    pub(crate) prompt_tokens: usize,
    pub(crate) max_tokens: Option<usize>,
    pub(crate) generated: AtomicUsize,
}

/// Counts of all models, and what runs.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) started: SystemTime,
    models: Mutex<BTreeMap<String, Arc<ModelCounts>>>,
    /// Answers by dialect and status.
    answers: Mutex<BTreeMap<(&'static str, u16), u64>>,
    tasks: Mutex<BTreeMap<u64, Arc<Task>>>,
    next_task: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            started: SystemTime::now(),
            models: Mutex::default(),
            answers: Mutex::default(),
            tasks: Mutex::default(),
            next_task: AtomicU64::new(0),
        }
    }
}

/// What a thread that panicked left behind is still a sum.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Metrics {
    /// Counts an answer to a client.
    pub(crate) fn answered(&self, dialect: &'static str, status: u16) {
        *lock(&self.answers).entry((dialect, status)).or_default() += 1;
    }

    /// Answers by dialect and status.
    pub(crate) fn answers(&self) -> Vec<((&'static str, u16), u64)> {
        lock(&self.answers).iter().map(|(key, count)| (*key, *count)).collect()
    }

    /// The counts of every model that was ever asked.
    pub(crate) fn models(&self) -> Vec<(String, Arc<ModelCounts>)> {
        lock(&self.models).iter().map(|(name, counts)| (name.clone(), Arc::clone(counts))).collect()
    }

    /// What runs, oldest first.
    pub(crate) fn tasks(&self) -> Vec<Arc<Task>> {
        lock(&self.tasks).values().cloned().collect()
    }

    /// Begins to watch a request.
    pub(crate) fn watch(&'static self, model: &str, prompt_tokens: usize, max_tokens: Option<usize>) -> Watch {
        let counts = Arc::clone(lock(&self.models).entry(model.to_owned()).or_default());
        let id = self.next_task.fetch_add(1, Relaxed);
        let mut tasks = lock(&self.tasks);
        let taken: Vec<usize> = tasks.values().filter(|task| task.model == model).map(|task| task.slot).collect();
        let slot = (0..).find(|slot| !taken.contains(slot)).unwrap_or(0);
        let generated = AtomicUsize::new(0);
        let task = Arc::new(Task { id, model: model.to_owned(), slot, prompt_tokens, max_tokens, generated });
        tasks.insert(id, Arc::clone(&task));
        drop(tasks);
        Watch { metrics: self, task, counts, start: Instant::now(), latest: None, has_ended: false }
    }
}

/// Watches one request. Dropped before the end, it counts the request as given up.
#[derive(Debug)]
pub(crate) struct Watch {
    metrics: &'static Metrics,
    task: Arc<Task>,
    counts: Arc<ModelCounts>,
    start: Instant,
    latest: Option<Instant>,
    has_ended: bool,
}

impl Watch {
    /// The number under which `/slots` lists it.
    pub(crate) fn slot(&self) -> usize {
        self.task.slot
    }

    /// A token came.
    pub(crate) fn token(&mut self) {
        let now = Instant::now();
        match self.latest.replace(now) {
            None => self.counts.time_to_first_token.note_time(now - self.start),
            Some(latest) => self.counts.between_tokens.note_time(now - latest),
        }
        self.task.generated.fetch_add(1, Relaxed);
        self.counts.generated_tokens.fetch_add(1, Relaxed);
    }

    /// The engine told its times and counts.
    pub(crate) fn measured(&mut self, usage: &Usage, timings: &Timings) {
        self.counts.queue_time.note_time(timings.waiting);
        self.counts.prefill_time.note_time(timings.prefill);
        self.counts.decode_time.note_time(timings.decode);
        self.counts.guessed_tokens.fetch_add(usage.guessed_tokens as u64, Relaxed);
        self.counts.accepted_tokens.fetch_add(usage.accepted_tokens as u64, Relaxed);
        self.counts.cached_tokens.fetch_add(usage.cached_tokens as u64, Relaxed);
    }

    /// The answer ended; what comes later is not counted.
    pub(crate) fn ended(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        lock(&self.metrics.tasks).remove(&self.task.id);
        let (prompt, generated) = (self.task.prompt_tokens as u64, self.task.generated.load(Relaxed) as u64);
        self.counts.ended[outcome as usize].fetch_add(1, Relaxed);
        // A prompt that was given up before its first token may not have been computed.
        if self.latest.is_some() || outcome != Outcome::Abort {
            self.counts.prompt_tokens.fetch_add(prompt, Relaxed);
        }
        self.counts.longest_sequence.fetch_max(prompt + generated, Relaxed);
        self.counts.request_time.note_time(self.start.elapsed());
        self.counts.prompt_lengths.note(prompt as f64);
        self.counts.answer_lengths.note(generated as f64);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ended(Outcome::Abort);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> &'static Metrics {
        Box::leak(Box::default())
    }

    #[test]
    fn buckets_count_what_is_at_most_their_bound() {
        let histogram = Histogram::new(&[1.0, 10.0]);
        for value in [0.5, 1.0, 1.5, 10.0, 11.0] {
            histogram.note(value);
        }
        assert_eq!(histogram.read(), (vec![2, 4, 5], 24.0));
    }

    #[test]
    fn a_request_is_counted_once_however_it_ends() {
        let metrics = metrics();
        let mut watch = metrics.watch("tiny", 7, Some(3));
        assert_eq!(metrics.tasks().len(), 1);
        watch.token();
        watch.token();
        watch.ended(Outcome::Length);
        drop(watch);
        drop(metrics.watch("tiny", 5, None));
        let (_, counts) = metrics.models().remove(0);
        let ended: Vec<u64> = counts.ended.iter().map(|count| count.load(Relaxed)).collect();
        assert_eq!(ended, [0, 1, 1, 0]);
        assert_eq!((counts.prompt_tokens.load(Relaxed), counts.generated_tokens.load(Relaxed)), (7, 2));
        assert_eq!(counts.time_to_first_token.read().0.last(), Some(&1));
        assert_eq!(counts.between_tokens.read().0.last(), Some(&1));
        assert!(metrics.tasks().is_empty());
    }

    #[test]
    fn slots_are_the_lowest_free_numbers_of_a_model() {
        let metrics = metrics();
        let first = metrics.watch("a", 1, None);
        let second = metrics.watch("a", 1, None);
        let other = metrics.watch("b", 1, None);
        assert_eq!((first.slot(), second.slot(), other.slot()), (0, 1, 0));
        drop(first);
        assert_eq!(metrics.watch("a", 1, None).slot(), 0);
    }
}
