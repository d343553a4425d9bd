//! The engine on its own thread.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};

use lair_engine::{Engine, EngineHandle, EngineOptions, Event, Refusal, Request, Sampling, SequenceError};

use crate::fake::{FakeRunner, PANIC_TOKEN, alone, engine};

fn request(first: u32, max_tokens: usize) -> Request {
    let sampling = Sampling { seed: Some(u64::from(first)), ..Sampling::default() };
    Request { tokens: vec![first, 2, 3], max_tokens: Some(max_tokens), sampling, ..Request::default() }
}

fn spawn(options: EngineOptions) -> EngineHandle {
    EngineHandle::spawn("fake engine", engine(64, 0, options)).unwrap()
}

/// An engine whose steps wait until something is sent, or the sender dropped.
fn spawn_gated(options: EngineOptions) -> (EngineHandle, Sender<()>) {
    let (sender, gate) = mpsc::channel();
    let mut runner = FakeRunner::new(64, 0);
    runner.gate = Some(gate);
    (EngineHandle::spawn("gated engine", Engine::new(runner, options).unwrap()).unwrap(), sender)
}

fn tokens(events: impl Iterator<Item = Event>) -> Vec<u32> {
    events
        .filter_map(|event| match event {
            Event::Token { token, .. } => Some(token),
            Event::Failed { error, .. } => panic!("{error}"),
            _ => None,
        })
        .collect()
}

#[test]
fn many_threads_get_their_own_tokens() {
    let handle = spawn(EngineOptions::default());
    std::thread::scope(|scope| {
        for first in 0..16 {
            let handle = handle.clone();
            scope.spawn(move || {
                let stream = handle.submit(request(first, 30)).unwrap();
                assert_eq!(tokens(stream), alone(&request(first, 30), false, 1025).0);
            });
        }
    });
    assert_eq!(handle.open_count(), 0);
    assert_eq!(handle.stats().generated_tokens, 16 * 30);
}

#[test]
fn dropping_the_stream_cancels_the_request() {
    let handle = spawn(EngineOptions { requests_max: 1, context_length: 4096, ..EngineOptions::default() });
    for _ in 0..20 {
        let mut stream = handle.submit(request(1, 900)).unwrap();
        assert!(matches!(stream.next_event(), Some(Event::Token { .. })));
        drop(stream);
        // A place is free again after at most a step.
        while handle.open_count() > 0 {
            std::thread::yield_now();
        }
    }
    assert_eq!(tokens(handle.submit(request(2, 5)).unwrap()).len(), 5);
    assert_eq!(handle.stats().held_page_count, 0);
}

/// In whatever it is, decoding, in the middle of its prompt or waiting for its place: after the step that runs nothing of it is
/// computed any more. A step of a small model takes milliseconds, so its place is free well within 250 ms.
#[test]
fn a_request_that_is_dropped_costs_the_step_that_runs_and_no_other() {
    const STEP_ROWS_MAX: usize = 512;
    for prompt_length in [3, 5 * STEP_ROWS_MAX] {
        let (sender, gate) = mpsc::channel();
        let mut runner = FakeRunner::new(512, 0);
        runner.gate = Some(gate);
        let rows = runner.rows_computed();
        let options = EngineOptions { sequences_max: 1, context_length: 4096, ..EngineOptions::default() };
        let handle = EngineHandle::spawn("gated engine", Engine::new(runner, options).unwrap()).unwrap();
        let long = Request { tokens: vec![1; prompt_length], ..request(1, 900) };
        let (running, waiting) = (handle.submit(long.clone()).unwrap(), handle.submit(long).unwrap());
        sender.send(()).unwrap();
        while rows.load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        let before = rows.load(Ordering::Acquire);
        assert!(before <= STEP_ROWS_MAX);
        drop((running, waiting));
        // From here on nothing holds the steps up.
        drop(sender);
        while handle.open_count() > 0 {
            std::thread::yield_now();
        }
        let after = rows.load(Ordering::Acquire);
        assert!(
            after - before <= STEP_ROWS_MAX,
            "{} rows after {before}, of a prompt of {prompt_length}",
            after - before
        );
        assert_eq!(tokens(handle.submit(request(2, 5)).unwrap()).len(), 5);
    }
}

#[test]
fn refuses_at_once() {
    let (handle, _gate) = spawn_gated(EngineOptions { requests_max: 1, ..EngineOptions::default() });
    assert_eq!(handle.submit(Request::default()).err(), Some(Refusal::EmptyPrompt));
    let _open = handle.submit(request(1, 1000)).unwrap();
    assert_eq!(handle.submit(request(2, 5)).err(), Some(Refusal::QueueFull { requests_max: 1 }));
}

#[test]
fn a_panic_ends_the_open_requests_with_an_error() {
    let (handle, gate) = spawn_gated(EngineOptions::default());
    let mut open = handle.submit(request(1, 1000)).unwrap();
    gate.send(()).unwrap();
    assert!(matches!(open.next_event(), Some(Event::Token { .. })));
    let bad = handle.submit(Request { tokens: vec![PANIC_TOKEN], ..Request::default() }).unwrap();
    drop(gate);
    for stream in [open, bad] {
        let last = stream.last().unwrap();
        let Event::Failed { error: SequenceError::EngineStopped { cause }, .. } = last else { panic!("{last:?}") };
        assert_eq!(cause, "a step panicked: the runner was asked to panic");
    }
    handle.stop();
    assert_eq!(handle.submit(request(1, 1)).err(), Some(Refusal::EngineStopped));
    assert_eq!(handle.open_count(), 0);
}

#[test]
fn stopping_ends_the_open_requests_and_the_thread() {
    let (handle, gate) = spawn_gated(EngineOptions { sequences_max: 1, ..EngineOptions::default() });
    let streams: Vec<_> = (0..3).map(|first| handle.submit(request(first, 1000)).unwrap()).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| handle.stop());
        while !handle.has_stopped() {
            std::thread::yield_now();
        }
        drop(gate);
    });
    for stream in streams {
        assert!(matches!(stream.last(), Some(Event::Failed { error: SequenceError::EngineStopped { .. }, .. })));
    }
    assert_eq!(handle.submit(request(1, 1)).err(), Some(Refusal::EngineStopped));
    assert_eq!(handle.open_count(), 0);
}

#[test]
fn requests_outlive_their_handle() {
    let (sender, receiver) = mpsc::channel();
    {
        let handle = spawn(EngineOptions::default());
        sender.send(handle.submit(request(5, 20)).unwrap()).unwrap();
    }
    assert_eq!(tokens(receiver.recv().unwrap()), alone(&request(5, 20), false, 1025).0);
}
