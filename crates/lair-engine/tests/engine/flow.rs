//! Requests whose tokens nobody takes.

use std::sync::mpsc;
use std::time::Duration;

use lair_engine::{
    Engine, EngineHandle, EngineOptions, Event, FlowLimits, Request, RequestGuard, Sampling, SequenceError,
};

use crate::fake::{FakeRunner, alone, engine, run, tokens_of};

fn request(seed: u32, max_tokens: usize) -> Request {
    let sampling = Sampling { seed: Some(u64::from(seed)), ..Sampling::default() };
    Request { tokens: vec![seed, 2, 3], max_tokens: Some(max_tokens), sampling, ..Request::default() }
}

#[test]
fn a_paused_sequence_gives_its_place_and_goes_on_later() {
    for state_slot_count in [0, 24] {
        let options = EngineOptions { sequences_max: 1, ..EngineOptions::default() };
        let mut engine = engine(64, state_slot_count, options);
        let (slow, other) = (request(1, 120), request(2, 30));
        let slow_id = engine.submit(slow.clone()).unwrap();
        let mut events = Vec::new();
        while tokens_of(&events, slow_id).len() < 50 {
            engine.step(&mut events);
        }
        assert!(engine.pause(slow_id));
        assert!(!engine.has_work() && !engine.is_idle());
        assert_eq!((engine.stats().paused_count, engine.stats().held_page_count), (1, 0));
        let other_id = engine.submit(other.clone()).unwrap();
        while engine.has_work() {
            engine.step(&mut events);
            engine.check_integrity();
        }
        assert_eq!(tokens_of(&events, other_id), alone(&other, state_slot_count > 0, 4096).0);
        let rows = engine.stats().rows;
        assert!(engine.resume(slow_id));
        events.extend(run(&mut engine));
        assert_eq!(tokens_of(&events, slow_id), alone(&slow, state_slot_count > 0, 4096).0);
        assert!(engine.stats().rows - rows < 120 + 17, "what was known is computed again");
        assert!(!engine.pause(slow_id) && !engine.resume(slow_id));
    }
}

fn submit(handle: &EngineHandle, request: Request, limits: FlowLimits) -> (RequestGuard, mpsc::Receiver<Event>) {
    let (sender, receiver) = mpsc::channel();
    let sink = Box::new(move |event| drop(sender.send(event)));
    (handle.submit_flowing(request, sink, limits).unwrap(), receiver)
}

fn spawn() -> EngineHandle {
    let options = EngineOptions { sequences_max: 1, ..EngineOptions::default() };
    EngineHandle::spawn("fake engine", Engine::new(FakeRunner::new(256, 0), options).unwrap()).unwrap()
}

#[test]
fn a_slow_taker_holds_few_events_and_no_place() {
    let handle = spawn();
    let limits = FlowLimits { events_max: 40, stall_max: Duration::from_secs(3600) };
    let (guard, slow) = submit(&handle, request(1, 1000), limits);
    // There is one place, so these end only if the slow one gave it up.
    for seed in 2..6 {
        let stream = handle.submit(request(seed, 50)).unwrap();
        let tokens = stream.filter(|event| matches!(event, Event::Token { .. })).count();
        assert_eq!(tokens, 50);
    }
    while handle.stats().paused_count == 0 {
        std::thread::yield_now();
    }
    // A step gives several tokens where guesses come true.
    let lying = slow.try_iter().count();
    assert!((40..80).contains(&lying), "{lying} events lie ready");
    (0..lying).for_each(|_| guard.note_taken());
    let mut count = lying;
    for event in &slow {
        guard.note_taken();
        count += usize::from(matches!(event, Event::Token { .. }));
    }
    assert_eq!(count, 1000);
}

#[test]
fn who_takes_nothing_at_all_is_given_up() {
    let handle = spawn();
    let limits = FlowLimits { events_max: 8, stall_max: Duration::from_millis(20) };
    let (_guard, events) = submit(&handle, request(1, 1000), limits);
    let last = events.iter().last().unwrap();
    assert!(matches!(last, Event::Failed { error: SequenceError::NotTaken { .. }, .. }), "{last:?}");
    assert_eq!(handle.submit(request(2, 5)).unwrap().count(), 6);
    assert_eq!(handle.stats().held_page_count, 0);
}
