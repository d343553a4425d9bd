//! Too fast and too slow: the bandwidth limit that all connections share, and the notion of a connection that stands
//! still.

use std::io::{self, Read};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::sources::http::is_timeout;

/// A connection that brings less than this is as good as dead.
const BYTES_PER_SECOND_MIN: f64 = 1024.0;

/// A bandwidth limit.
pub(crate) struct Pace {
    bytes_per_second_max: Option<u64>,
    /// When the bytes so far would have arrived at the limit.
    due: Mutex<Instant>,
}

impl Pace {
    pub(crate) fn new(bytes_per_second_max: Option<u64>) -> Pace {
        Pace { bytes_per_second_max, due: Mutex::new(Instant::now()) }
    }

    /// Returns when `bytes` more may have arrived.
    pub(crate) fn take(&self, bytes: usize) {
        let Some(limit) = self.bytes_per_second_max else { return };
        let cost = Duration::from_secs_f64(bytes as f64 / limit as f64);
        let due = {
            let mut due = self.due.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            *due = (*due).max(Instant::now()) + cost;
            *due
        };
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// Why reading ended.
#[derive(Debug)]
pub(crate) enum ReadFault {
    /// Nothing came for the longest time that is waited.
    Silence,
    /// So few bytes came in that time that waiting on makes no sense.
    Slow { bytes: u64 },
    /// Anything else.
    Broken(io::Error),
}

impl ReadFault {
    /// What happened, for a message that goes on with for how long.
    pub(crate) fn words(&self) -> String {
        match self {
            ReadFault::Silence => "nothing arrived".to_string(),
            ReadFault::Slow { bytes } => format!("only {bytes} bytes arrived"),
            ReadFault::Broken(error) => error.to_string(),
        }
    }
}

/// A body that is watched while it arrives. Only the time inside of reads counts: a slow disk or a bandwidth limit is
/// not the server's fault.
pub(crate) struct Watched<R> {
    reader: R,
    stall_timeout: Duration,
    waited: Duration,
    window_bytes: u64,
}

impl<R: Read> Watched<R> {
    pub(crate) fn new(reader: R, stall_timeout: Duration) -> Watched<R> {
        Watched { reader, stall_timeout, waited: Duration::ZERO, window_bytes: 0 }
    }

    /// Reads until `buffer` is full or the body ends; returns how much that is, and why it is not more.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> (usize, Result<(), ReadFault>) {
        let mut filled = 0;
        while filled < buffer.len() {
            let start = Instant::now();
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => {
                    filled += count;
                    if let Err(fault) = self.watch(start.elapsed(), count as u64) {
                        return (filled, Err(fault));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return (filled, Err(ReadFault::Silence)),
                Err(error) => return (filled, Err(ReadFault::Broken(error))),
            }
        }
        (filled, Ok(()))
    }

    fn watch(&mut self, waited: Duration, bytes: u64) -> Result<(), ReadFault> {
        self.waited += waited;
        self.window_bytes += bytes;
        if self.waited < self.stall_timeout {
            return Ok(());
        }
        let bytes = self.window_bytes;
        let is_slow = (bytes as f64) < BYTES_PER_SECOND_MIN * self.waited.as_secs_f64();
        (self.waited, self.window_bytes) = (Duration::ZERO, 0);
        if is_slow { Err(ReadFault::Slow { bytes }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_is_a_stall() {
        let mut watched = Watched::new(io::empty(), Duration::from_secs(30));
        for _ in 0..29 {
            watched.watch(Duration::from_secs(1), 100).expect("not yet");
        }
        let fault = watched.watch(Duration::from_secs(1), 100).expect_err("too slow");
        assert!(matches!(fault, ReadFault::Slow { bytes: 3000 }));
        for _ in 0..100 {
            watched.watch(Duration::from_secs(1), 2000).expect("slow, but it moves");
        }
    }

    #[test]
    fn a_limit_holds_over_all_who_share_it() {
        let pace = Pace::new(Some(1_000_000));
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10).for_each(|_| pace.take(1000)));
            }
        });
        assert!(start.elapsed() >= Duration::from_millis(40), "40,000 bytes cannot take less");
    }
}
