//! An engine on a thread of its own, and the channels to it.
//!
//! A request is checked and counted in the caller's thread, so a refusal is known at once, and then waits in a channel
//! that has room for as many as may be open. Its events come back through a channel of its own, which holds at most one
//! event for each token and one for the end. Cancelling is dropping that receiver; the engine sees it at the next step.

mod embedding;

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    Engine, EngineStats, Event, Limits, Refusal, Request, Runner, SequenceError, SequenceId, constraint::panic_text,
};

use embedding::{EmbedDeliveries, EmbedSubmission};
pub use embedding::{EmbedSink, PendingEmbeddings};

/// A handle to an engine that runs on its own thread. Clones speak to the same engine.
///
/// When the last handle is gone the thread ends after the requests that are still open.
#[derive(Clone)]
pub struct EngineHandle {
    commands: SyncSender<Command>,
    shared: Arc<Shared>,
}

struct Shared {
    limits: Limits,
    /// Requests that were taken and have not ended.
    open_count: AtomicUsize,
    has_stopped: AtomicBool,
    stats: Mutex<EngineStats>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Command {
    Submit(Box<Submission>),
    Embed(Box<EmbedSubmission>),
    Stop,
}

struct Submission {
    request: Request,
    delivery: Delivery,
}

/// Takes the events of a request, on the engine's thread: it must not block.
pub type EventSink = Box<dyn FnMut(Event) + Send>;

/// Where the events of a request go.
struct Delivery {
    sink: EventSink,
    is_cancelled: Arc<AtomicBool>,
    /// Counts the request as open until it is dropped, on whatever path.
    _open: OpenRequest,
}

struct OpenRequest(Arc<Shared>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open_count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The events of one request. Dropping it cancels the request.
///
/// The last event is [`Event::Finished`] or [`Event::Failed`]; nothing follows it.
pub struct EventStream {
    events: Receiver<Event>,
    #[allow(dead_code, reason = "kept for what its drop does")]
    guard: RequestGuard,
    has_ended: bool,
}

impl EventStream {
    /// Waits for the next event; `None` after the last one.
    pub fn next_event(&mut self) -> Option<Event> {
        if self.has_ended {
            return None;
        }
        let received = self.events.recv().ok();
        Some(self.note(received))
    }

    /// Waits for the next event no longer than `timeout`: a caller that must also look whether its own client is still
    /// there. `Err` if nothing came, `Ok(None)` after the last event.
    pub fn next_event_within(&mut self, timeout: Duration) -> Result<Option<Event>, NothingYet> {
        if self.has_ended {
            return Ok(None);
        }
        match self.events.recv_timeout(timeout) {
            Ok(event) => Ok(Some(self.note(Some(event)))),
            Err(RecvTimeoutError::Disconnected) => Ok(Some(self.note(None))),
            Err(RecvTimeoutError::Timeout) => Err(NothingYet),
        }
    }

    fn note(&mut self, received: Option<Event>) -> Event {
        // The engine says how each request ends, unless its thread is gone.
        let event = received.unwrap_or_else(|| Event::Failed {
            id: SequenceId(0),
            error: SequenceError::EngineStopped { cause: "its thread is gone".to_owned() },
        });
        self.has_ended = event.is_last();
        event
    }
}

/// A request whose events go to an [`EventSink`]. Dropping it cancels the request.
#[derive(Debug)]
pub struct RequestGuard {
    is_cancelled: Arc<AtomicBool>,
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.is_cancelled.store(true, Ordering::Release);
    }
}

/// No event came within the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NothingYet;

impl Iterator for EventStream {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.next_event()
    }
}

impl EngineHandle {
    /// Moves an engine to a new thread of this name.
    pub fn spawn<R: Runner + 'static>(name: &str, engine: Engine<R>) -> std::io::Result<Self> {
        let limits = engine.limits();
        // One place more than requests, for the command to stop.
        let (sender, receiver) = mpsc::sync_channel(limits.requests_max + 1);
        let shared = Arc::new(Shared {
            limits,
            open_count: AtomicUsize::new(0),
            has_stopped: AtomicBool::new(false),
            stats: Mutex::new(engine.stats()),
            thread: Mutex::new(None),
        });
        let of_thread = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name(name.to_owned()).spawn(move || serve(engine, &receiver, &of_thread))?;
        *shared.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(Self { commands: sender, shared })
    }

    /// What requests are checked against.
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// Requests that were taken and have not ended.
    pub fn open_count(&self) -> usize {
        self.shared.open_count.load(Ordering::Acquire)
    }

    /// The engine after its latest step.
    pub fn stats(&self) -> EngineStats {
        *self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the engine has ended, by [`EngineHandle::stop`] or by a panic.
    pub fn has_stopped(&self) -> bool {
        self.shared.has_stopped.load(Ordering::Acquire)
    }

    /// Hands in a request, or says why it is not taken. Never waits.
    pub fn submit(&self, request: Request) -> Result<EventStream, Refusal> {
        let (sender, events) = mpsc::channel();
        // A receiver that is gone has cancelled.
        let sink = move |event| drop(sender.send(event));
        let guard = self.submit_to(request, Box::new(sink))?;
        Ok(EventStream { events, guard, has_ended: false })
    }

    /// As [`EngineHandle::submit`], with the events handed to `sink` on the engine's thread: for callers that wait in
    /// another way than by blocking a thread. The last event is [`Event::Finished`] or [`Event::Failed`], unless the
    /// engine's thread is gone, which drops the sink without one.
    pub fn submit_to(&self, request: Request, sink: EventSink) -> Result<RequestGuard, Refusal> {
        if self.has_stopped() {
            return Err(Refusal::EngineStopped);
        }
        request.check(&self.shared.limits)?;
        let open = self.open_request()?;
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let delivery = Delivery { sink, is_cancelled: Arc::clone(&is_cancelled), _open: open };
        self.send(Command::Submit(Box::new(Submission { request, delivery })))?;
        Ok(RequestGuard { is_cancelled })
    }

    /// Counts one more open request, if there may be one.
    fn open_request(&self) -> Result<OpenRequest, Refusal> {
        if self.has_stopped() {
            return Err(Refusal::EngineStopped);
        }
        let requests_max = self.shared.limits.requests_max;
        let count = |open: usize| (open < requests_max).then_some(open + 1);
        match self.shared.open_count.fetch_update(Ordering::AcqRel, Ordering::Acquire, count) {
            Ok(_) => Ok(OpenRequest(Arc::clone(&self.shared))),
            Err(_) => Err(Refusal::QueueFull { requests_max }),
        }
    }

    fn send(&self, command: Command) -> Result<(), Refusal> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::QueueFull { requests_max: self.shared.limits.requests_max },
            TrySendError::Disconnected(_) => Refusal::EngineStopped,
        })
    }

    /// Ends all open requests with an error and the engine with them; returns when its memory is free.
    pub fn stop(&self) {
        self.shared.has_stopped.store(true, Ordering::Release);
        // If the channel is full or the thread gone, the flag alone is seen.
        let _ = self.commands.try_send(Command::Stop);
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic was already reported to the requests it ended.
            let _ = thread.join();
        }
    }
}

/// The engine's thread: takes commands between steps, and waits for one when there is nothing to do.
fn serve<R: Runner>(mut engine: Engine<R>, commands: &Receiver<Command>, shared: &Shared) {
    let (mut deliveries, mut embeddings) = (HashMap::new(), EmbedDeliveries::default());
    let outcome =
        catch_unwind(AssertUnwindSafe(|| run(&mut engine, commands, shared, (&mut deliveries, &mut embeddings))));
    shared.has_stopped.store(true, Ordering::Release);
    let cause = match outcome {
        Ok(()) => "it was asked to".to_owned(),
        Err(panic) => format!("a step panicked: {}", panic_text(&*panic)),
    };
    let fail = |id: SequenceId, mut delivery: Delivery| {
        let error = SequenceError::EngineStopped { cause: cause.clone() };
        (delivery.sink)(Event::Failed { id, error });
    };
    deliveries.drain().for_each(|(id, delivery)| fail(id, delivery));
    let error = SequenceError::EngineStopped { cause: cause.clone() };
    embeddings.fail_all(&error);
    while let Ok(command) = commands.try_recv() {
        match command {
            Command::Submit(submission) => fail(SequenceId(0), submission.delivery),
            Command::Embed(submission) => submission.delivery.end(Err(error.clone())),
            Command::Stop => {}
        }
    }
}

fn run<R: Runner>(
    engine: &mut Engine<R>,
    commands: &Receiver<Command>,
    shared: &Shared,
    (deliveries, embeddings): (&mut HashMap<SequenceId, Delivery>, &mut EmbedDeliveries),
) {
    let mut events = Vec::new();
    loop {
        loop {
            let command = if engine.is_idle() {
                // All handles are gone, and all requests are done.
                let Ok(command) = commands.recv() else { return };
                command
            } else {
                match commands.try_recv() {
                    Ok(command) => command,
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            };
            match command {
                Command::Submit(submission) => take(engine, *submission, deliveries),
                Command::Embed(submission) => embeddings.take(engine, *submission),
                Command::Stop => return,
            }
        }
        if shared.has_stopped.load(Ordering::Acquire) {
            return;
        }
        deliveries.retain(|&id, delivery| {
            let is_open = !delivery.is_cancelled.load(Ordering::Acquire);
            if !is_open {
                engine.cancel(id);
            }
            is_open
        });
        embeddings.drop_cancelled(engine);
        engine.step(&mut events);
        *shared.stats.lock().unwrap_or_else(PoisonError::into_inner) = engine.stats();
        for event in events.drain(..) {
            deliver(event, deliveries);
        }
        embeddings.deliver(engine);
    }
}

fn take<R: Runner>(engine: &mut Engine<R>, submission: Submission, deliveries: &mut HashMap<SequenceId, Delivery>) {
    let Submission { request, mut delivery } = submission;
    if delivery.is_cancelled.load(Ordering::Acquire) {
        return;
    }
    match engine.submit(request) {
        Ok(id) => {
            deliveries.insert(id, delivery);
        }
        Err(refusal) => {
            // The handle makes the same checks and counts at least as many requests.
            let error = SequenceError::EngineStopped { cause: refusal.to_string() };
            (delivery.sink)(Event::Failed { id: SequenceId(0), error });
        }
    }
}

fn deliver(event: Event, deliveries: &mut HashMap<SequenceId, Delivery>) {
    let id = event.id();
    if event.is_last() {
        // The request no longer counts as open when its end is seen.
        if let Some(Delivery { mut sink, _open: open, .. }) = deliveries.remove(&id) {
            drop(open);
            sink(event);
        }
    } else if let Some(delivery) = deliveries.get_mut(&id) {
        (delivery.sink)(event);
    }
}
