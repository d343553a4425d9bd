//! An engine on a thread of its own, and the channels to it.
//!
//! A request is checked and counted in the caller's thread, so a refusal is known at once, and then waits in a channel
//! that has room for as many as may be open. Its events come back through a channel of its own, which holds at most one
//! event for each token and one for the end, or fewer ([`FlowLimits`]): the request then waits, without its place and its
//! memory, until they are taken. Cancelling is dropping that receiver; the engine sees it at the next step.

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
    time::{Duration, Instant},
};

use crate::{
    Engine, EngineStats, Event, FlowLimits, Limits, PrefixDone, PrefixWork, Refusal, Request, Runner, SequenceError,
    SequenceId,
    constraint::panic_text,
    flow::{Change, Flow},
};

use embedding::{EmbedDeliveries, EmbedSubmission};
pub use embedding::{EmbedSink, PendingEmbeddings};
/// How often it is looked whether a paused request can go on, where nothing else is to do.
const PAUSED_LOOK: Duration = Duration::from_millis(10);
/// How often the archive is asked whether it takes more pages, where nothing else is to do.
const ARCHIVE_LOOK: Duration = Duration::from_millis(2);
/// How long an engine that was asked to stop goes on handing pages to its archive.
const LAST_PAGES_TIME_MAX: Duration = Duration::from_secs(5);

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
    Prefix(Box<PrefixSubmission>),
    Stop,
}

struct PrefixSubmission {
    work: PrefixWork,
    done: SyncSender<PrefixDone>,
    /// Counts as an open request, so that these are bounded too.
    _open: OpenRequest,
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
    flow: Option<Flow>,
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
    ready: Option<Arc<AtomicUsize>>,
}

impl RequestGuard {
    /// Notes that an event was taken: to be called for each event of [`EngineHandle::submit_flowing`].
    pub fn note_taken(&self) {
        if let Some(ready) = &self.ready {
            ready.fetch_sub(1, Ordering::AcqRel);
        }
    }
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
        self.deliver_to(request, sink, None)
    }

    /// As [`EngineHandle::submit_to`], for takers that may be slow: the request runs ahead of
    /// [`RequestGuard::note_taken`] only so far.
    pub fn submit_flowing(
        &self,
        request: Request,
        sink: EventSink,
        limits: FlowLimits,
    ) -> Result<RequestGuard, Refusal> {
        self.deliver_to(request, sink, Some(limits))
    }

    fn deliver_to(
        &self,
        request: Request,
        sink: EventSink,
        limits: Option<FlowLimits>,
    ) -> Result<RequestGuard, Refusal> {
        if self.has_stopped() {
            return Err(Refusal::EngineStopped);
        }
        request.check(&self.shared.limits)?;
        let open = self.open_request()?;
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let (flow, ready) = limits.map(Flow::new).unzip();
        let delivery = Delivery { sink, is_cancelled: Arc::clone(&is_cancelled), flow, _open: open };
        self.send(Command::Submit(Box::new(Submission { request, delivery })))?;
        Ok(RequestGuard { is_cancelled, ready })
    }

    /// Reads, writes or lets go of the pages of a prefix, between two steps; waits until it is done.
    ///
    /// # Errors
    /// If as many requests are open as may be, or the engine has ended.
    pub fn work_on_prefix(&self, work: PrefixWork) -> Result<PrefixDone, Refusal> {
        let open = self.open_request()?;
        let (done, receiver) = mpsc::sync_channel(1);
        self.send(Command::Prefix(Box::new(PrefixSubmission { work, done, _open: open })))?;
        receiver.recv().map_err(|_| Refusal::EngineStopped)
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
        Ok(()) => {
            keep_last_pages(&mut engine);
            "it was asked to".to_owned()
        }
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
            // Whoever waits for it sees that nobody is left to answer.
            Command::Prefix(_) | Command::Stop => {}
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
            let command = match next_command(engine, commands) {
                Ok(Some(command)) => command,
                Ok(None) => break,
                // All handles are gone, and all requests are done.
                Err(AllGone) => return,
            };
            match command {
                Command::Submit(submission) => take(engine, *submission, deliveries),
                Command::Embed(submission) => embeddings.take(engine, *submission),
                Command::Prefix(submission) => {
                    let PrefixSubmission { work, done, _open: open } = *submission;
                    let outcome = engine.work_on_prefix(&work);
                    drop(open);
                    // One who has gone meanwhile needs no answer.
                    let _ = done.send(outcome);
                }
                Command::Stop => return,
            }
        }
        if shared.has_stopped.load(Ordering::Acquire) {
            return;
        }
        deliveries.retain(|&id, delivery| {
            let is_open = !delivery.is_cancelled.load(Ordering::Acquire) && follow_flow(engine, id, delivery);
            if !is_open {
                engine.cancel(id);
            }
            is_open
        });
        embeddings.drop_cancelled(engine);
        if engine.has_work() {
            engine.step(&mut events);
        } else {
            engine.keep_pages();
        }
        *shared.stats.lock().unwrap_or_else(PoisonError::into_inner) = engine.stats();
        for event in events.drain(..) {
            deliver(event, deliveries);
        }
        embeddings.deliver(engine);
    }
}

struct AllGone;

/// The next command; waits for one as long as there is nothing else to do.
fn next_command<R: Runner>(engine: &Engine<R>, commands: &Receiver<Command>) -> Result<Option<Command>, AllGone> {
    let timeout = if engine.has_work() {
        return match commands.try_recv() {
            Ok(command) => Ok(Some(command)),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Ok(None),
        };
    } else if engine.has_pages_to_keep() {
        ARCHIVE_LOOK
    } else if !engine.is_idle() {
        PAUSED_LOOK
    } else {
        return commands.recv().map(Some).map_err(|_| AllGone);
    };
    match commands.recv_timeout(timeout) {
        Ok(command) => Ok(Some(command)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        // What is open is still to be done, and what is to be kept is kept as after a stop.
        Err(RecvTimeoutError::Disconnected) if engine.is_idle() => Err(AllGone),
        Err(RecvTimeoutError::Disconnected) => {
            std::thread::sleep(timeout);
            Ok(None)
        }
    }
}

/// Pauses a request whose events nobody takes, and lets it go on when they are. `false` if it is to end.
fn follow_flow<R: Runner>(engine: &mut Engine<R>, id: SequenceId, delivery: &mut Delivery) -> bool {
    let Some(flow) = &mut delivery.flow else { return true };
    match flow.change() {
        Change::None => {}
        Change::Pause => drop(engine.pause(id)),
        Change::Resume => drop(engine.resume(id)),
        Change::End => {
            let seconds = flow.stall_max().as_secs();
            (delivery.sink)(Event::Failed { id, error: SequenceError::NotTaken { seconds } });
            return false;
        }
    }
    true
}

/// What an engine that ends still has for its archive.
fn keep_last_pages<R: Runner>(engine: &mut Engine<R>) {
    let start = Instant::now();
    while engine.has_pages_to_keep() && start.elapsed() < LAST_PAGES_TIME_MAX {
        engine.keep_pages();
        std::thread::sleep(ARCHIVE_LOOK);
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
        delivery.flow.iter().for_each(Flow::note_event);
        (delivery.sink)(event);
    }
}
