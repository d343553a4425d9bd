//! Events on their way to whoever takes them: how many, and since when too many.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// How far a request may run ahead of who takes its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowLimits {
    /// Events that lie ready at most, about: the request is paused when there are as many, and goes on at half of them.
    pub events_max: usize,
    /// A request that was paused for so long is ended.
    pub stall_max: Duration,
}

/// What is to be done about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    Pause,
    Resume,
    End,
}

/// The engine's end of a flow.
pub(crate) struct Flow {
    limits: FlowLimits,
    ready: Arc<AtomicUsize>,
    paused_since: Option<Instant>,
}

impl Flow {
    /// A flow, and the count that the other end lowers by each event it takes.
    pub(crate) fn new(limits: FlowLimits) -> (Flow, Arc<AtomicUsize>) {
        let ready = Arc::new(AtomicUsize::new(0));
        (Flow { limits, ready: Arc::clone(&ready), paused_since: None }, ready)
    }

    pub(crate) fn note_event(&self) {
        self.ready.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn stall_max(&self) -> Duration {
        self.limits.stall_max
    }

    /// What has to change, which is noted as done.
    pub(crate) fn change(&mut self) -> Change {
        let ready = self.ready.load(Ordering::Acquire);
        match self.paused_since {
            None if ready >= self.limits.events_max => {
                self.paused_since = Some(Instant::now());
                Change::Pause
            }
            Some(_) if ready <= self.limits.events_max / 2 => {
                self.paused_since = None;
                Change::Resume
            }
            Some(since) if since.elapsed() >= self.limits.stall_max => Change::End,
            _ => Change::None,
        }
    }
}
