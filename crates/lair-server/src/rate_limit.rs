//! How much a key may ask: requests and tokens in a minute, requests at the same time; and how often a key may be guessed.
//!
//! Requests and tokens are buckets that fill up evenly: a minute's worth may be used at once, then as much as comes back.
//! Tokens of a prompt are taken when it starts and those of the answer as they come, so an answer that has begun is never
//! cut; what it took too much is owed, and the next request waits until it has come back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{ApiError, ErrorKind};
use crate::keys::KeyRules;

/// Wrong keys of one address in a second before its next wrong ones are answered late.
const FAILURES_MAX: u32 = 10;
/// How late.
pub(crate) const FAILURE_DELAY: Duration = Duration::from_secs(1);
/// Addresses whose failures are counted at a time.
const ADDRESSES_MAX: usize = 4096;

/// What is left of a minute's worth.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    per_minute: f64,
    /// Negative if more was taken than there was.
    level: f64,
    at: Instant,
}

impl Bucket {
    fn full(per_minute: u32, now: Instant) -> Bucket {
        let per_minute = f64::from(per_minute);
        Bucket { per_minute, level: per_minute, at: now }
    }

    fn fill(&mut self, now: Instant) {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * self.per_minute / 60.0;
        self.level = (self.level + earned).min(self.per_minute);
        self.at = now;
    }

    /// How long until it holds so much.
    fn wait_for(&self, amount: f64) -> Duration {
        let missing = (amount - self.level).max(0.0);
        // A limit of zero never fills up; a day is as good as for ever.
        Duration::try_from_secs_f64(missing * 60.0 / self.per_minute).unwrap_or(Duration::from_secs(86_400))
    }
}

#[derive(Debug, Default)]
struct Buckets {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

/// The limits of one key.
#[derive(Debug)]
pub(crate) struct Limiter {
    buckets: Mutex<Buckets>,
    has_buckets: bool,
    places: Option<(Arc<Semaphore>, u32)>,
}

impl Limiter {
    /// The limits that these rules name, nothing taken yet.
    pub(crate) fn of(rules: &KeyRules) -> Limiter {
        let now = Instant::now();
        let full = |per_minute: Option<u32>| per_minute.map(|count| Bucket::full(count, now));
        let buckets = Buckets { requests: full(rules.requests_per_minute), tokens: full(rules.tokens_per_minute) };
        let places = rules.concurrent_requests.map(|count| (Arc::new(Semaphore::new(count as usize)), count));
        Limiter { has_buckets: buckets.requests.is_some() || buckets.tokens.is_some(), places, buckets: buckets.into() }
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request. The permit is kept as long as it is answered.
    pub(crate) fn admit(&self, now: Instant) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        let permit = match &self.places {
            Some((places, most)) => Some(Arc::clone(places).try_acquire_owned().map_err(|_| {
                let cause = format!("{most} requests of this key are open, which is as many as it may have");
                refusal(cause, Duration::from_secs(1))
            })?),
            None => None,
        };
        if self.has_buckets {
            let buckets = &mut *self.buckets();
            if let Some(tokens) = &mut buckets.tokens {
                tokens.fill(now);
                if tokens.level < 1.0 {
                    return Err(used_up("tokens", tokens, 1.0));
                }
            }
            if let Some(requests) = &mut buckets.requests {
                requests.fill(now);
                if requests.level < 1.0 {
                    return Err(used_up("requests", requests, 1.0));
                }
                requests.level -= 1.0;
            }
        }
        Ok(permit)
    }

    /// Takes the tokens of a prompt. One that is larger than a minute's worth is taken when nothing else was.
    pub(crate) fn take_prompt(&self, count: usize, now: Instant) -> Result<(), ApiError> {
        if !self.has_buckets {
            return Ok(());
        }
        let buckets = &mut *self.buckets();
        let Some(tokens) = &mut buckets.tokens else { return Ok(()) };
        tokens.fill(now);
        let needed = (count as f64).min(tokens.per_minute);
        if tokens.level < needed {
            return Err(used_up("tokens", tokens, needed));
        }
        tokens.level -= count as f64;
        Ok(())
    }

    /// Takes a token of an answer.
    pub(crate) fn take_token(&self, now: Instant) {
        if self.has_buckets
            && let Some(tokens) = &mut self.buckets().tokens
        {
            tokens.fill(now);
            tokens.level -= 1.0;
        }
    }

    /// What clients of OpenAI read of it, by the names of headers.
    pub(crate) fn headers(&self, now: Instant) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if !self.has_buckets {
            return headers;
        }
        let buckets = &mut *self.buckets();
        for (bucket, limit, remaining, reset) in [
            (
                &mut buckets.requests,
                "x-ratelimit-limit-requests",
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-requests",
            ),
            (
                &mut buckets.tokens,
                "x-ratelimit-limit-tokens",
                "x-ratelimit-remaining-tokens",
                "x-ratelimit-reset-tokens",
            ),
        ] {
            let Some(bucket) = bucket else { continue };
            bucket.fill(now);
            headers.push((limit, bucket.per_minute.to_string()));
            headers.push((remaining, bucket.level.max(0.0).floor().to_string()));
            headers.push((reset, span(bucket.wait_for(bucket.per_minute))));
        }
        headers
    }
}

fn used_up(what: &str, bucket: &Bucket, needed: f64) -> ApiError {
    refusal(format!("this key may use {} {what} a minute, and has", bucket.per_minute), bucket.wait_for(needed))
}

fn refusal(cause: String, wait: Duration) -> ApiError {
    // The header has whole seconds; a client that comes a moment early would be refused again.
    let retry_after_s = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let retry_after_s = retry_after_s.max(1);
    ApiError::new(ErrorKind::RateLimited { retry_after_s }, cause)
        .with_hint(format!("try again in {}", span(Duration::from_secs(retry_after_s))))
}

/// A time as these headers have it: `120ms`, `7s`, `6m0s`.
fn span(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{}ms", time.as_millis()),
        seconds if seconds < 60 => format!("{}s", time.as_secs_f64().ceil()),
        seconds => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}

/// Wrong keys by address.
#[derive(Debug, Default)]
pub(crate) struct WrongKeys(Mutex<HashMap<IpAddr, (Instant, u32)>>);

impl WrongKeys {
    /// Counts one; whether there were so many in this second that it is to be answered late.
    pub(crate) fn note(&self, address: IpAddr, now: Instant) -> bool {
        let mut addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |since: Instant| now.saturating_duration_since(since) >= Duration::from_secs(1);
        if addresses.len() >= ADDRESSES_MAX && !addresses.contains_key(&address) {
            addresses.retain(|_, (since, _)| !is_old(*since));
            if addresses.len() >= ADDRESSES_MAX {
                // Guesses come from everywhere: all of them wait.
                return true;
            }
        }
        let (since, count) = addresses.entry(address).or_insert((now, 0));
        if is_old(*since) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count > FAILURES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(requests: Option<u32>, tokens: Option<u32>, concurrent: Option<u32>) -> (Limiter, Instant) {
        let limits = KeyRules {
            requests_per_minute: requests,
            tokens_per_minute: tokens,
            concurrent_requests: concurrent,
            ..KeyRules::unlimited()
        };
        let limiter = Limiter::of(&limits);
        (limiter, Instant::now())
    }

    fn retry_after_s(refused: Result<Option<OwnedSemaphorePermit>, ApiError>) -> u64 {
        match refused.expect_err("refused").kind {
            ErrorKind::RateLimited { retry_after_s } => retry_after_s,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_minute_s_worth_at_once_then_as_it_comes_back() {
        let (limiter, start) = limiter(Some(3), None, None);
        for _ in 0..3 {
            assert!(limiter.admit(start).is_ok());
        }
        assert_eq!(retry_after_s(limiter.admit(start)), 20);
        let headers = limiter.headers(start);
        assert!(headers.contains(&("x-ratelimit-limit-requests", "3".to_owned())), "{headers:?}");
        assert!(headers.contains(&("x-ratelimit-remaining-requests", "0".to_owned())), "{headers:?}");
        assert!(headers.contains(&("x-ratelimit-reset-requests", "1m0s".to_owned())), "{headers:?}");
        let later = start + Duration::from_millis(20_500);
        assert!(limiter.admit(later).is_ok());
        assert!(limiter.admit(later).is_err());
        let much_later = start + Duration::from_secs(3600);
        assert_eq!((0..9).filter(|_| limiter.admit(much_later).is_ok()).count(), 3, "it does not pile up");
    }

    #[test]
    fn tokens_of_answers_are_owed() {
        let (limiter, start) = limiter(None, Some(60), None);
        assert!(limiter.admit(start).is_ok() && limiter.take_prompt(50, start).is_ok());
        (0..30).for_each(|_| limiter.take_token(start));
        assert_eq!(retry_after_s(limiter.admit(start)), 21, "20 are owed, and one is needed");
        let later = start + Duration::from_secs(25);
        assert!(limiter.admit(later).is_ok());
        let refused = limiter.take_prompt(50, later).expect_err("5 are there");
        assert!(refused.message.contains("60 tokens a minute"), "{refused}");
        let full = start + Duration::from_secs(600);
        assert!(limiter.take_prompt(500, full).is_ok(), "a long prompt waits for a full minute, not for ever");
        assert!(limiter.take_prompt(1, full).is_err());
        assert!(Limiter::of(&KeyRules::unlimited()).headers(start).is_empty());
    }

    #[test]
    fn places_are_given_back() {
        let (limiter, start) = limiter(None, None, Some(1));
        let permit = limiter.admit(start).expect("a place");
        assert_eq!(retry_after_s(limiter.admit(start)), 1);
        drop(permit);
        assert!(limiter.admit(start).is_ok());
    }

    #[test]
    fn guessing_is_slowed_by_address() {
        let (wrong, start) = (WrongKeys::default(), Instant::now());
        let address = |last: u8| IpAddr::from([127, 0, 0, last]);
        assert!((0..FAILURES_MAX).all(|_| !wrong.note(address(1), start)));
        assert!(wrong.note(address(1), start) && !wrong.note(address(2), start));
        assert!(!wrong.note(address(1), start + Duration::from_secs(1)));
        for index in 0..2 * ADDRESSES_MAX as u32 {
            wrong.note(IpAddr::from(index.to_be_bytes()), start);
        }
        assert!(wrong.0.lock().expect("not poisoned").len() <= ADDRESSES_MAX);
    }

    #[test]
    fn spans_are_written_as_openai_writes_them() {
        for (ms, text) in [(0, "0ms"), (120, "120ms"), (7_000, "7s"), (7_001, "8s"), (360_000, "6m0s")] {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
    }
}
