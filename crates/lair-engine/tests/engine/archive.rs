//! Prompts that outlive their engine.

use std::sync::atomic::Ordering;

use lair_engine::{
    Engine, EngineHandle, EngineOptions, Event, PrefixScope, Request, Sampling, SequenceId, Speculation,
};

use crate::fake::{FakeRunner, MemoryArchive, alone, end_of, run, tokens_of};

fn request(length: u32, user: u8) -> Request {
    let sampling = Sampling { seed: Some(3), ..Sampling::default() };
    let tokens = (0..length).map(|i| i * 13 % 45).collect();
    Request { tokens, max_tokens: Some(12), sampling, scope: PrefixScope([user; 32]), ..Request::default() }
}

fn engine(archive: &MemoryArchive) -> Engine<FakeRunner> {
    engine_with_slots(archive, 0)
}

/// The same; with slots, of a model with recurrent layers.
fn engine_with_slots(archive: &MemoryArchive, slot_count: usize) -> Engine<FakeRunner> {
    let options = EngineOptions { speculation: Speculation::Off, ..EngineOptions::default() };
    let engine = Engine::new(FakeRunner::new(128, slot_count), options).unwrap();
    engine.with_archive(Box::new(archive.clone()))
}

fn cached(events: &[Event], id: SequenceId) -> usize {
    let Event::Finished { usage, .. } = end_of(events, id) else { panic!("it failed") };
    usage.cached_tokens
}

/// Runs one request on an engine of its own; returns the rows computed and the tokens that came from somewhere else.
fn after_restart(archive: &MemoryArchive, request: &Request) -> (usize, usize) {
    after_restart_with_slots(archive, request, 0)
}

fn after_restart_with_slots(archive: &MemoryArchive, request: &Request, slot_count: usize) -> (usize, usize) {
    let mut engine = engine_with_slots(archive, slot_count);
    let id = engine.submit(request.clone()).unwrap();
    let events = run(&mut engine);
    assert_eq!(tokens_of(&events, id), alone(request, slot_count > 0, 2049).0);
    while engine.has_pages_to_keep() {
        engine.keep_pages();
    }
    (engine.runner().rows - 11, cached(&events, id))
}

#[test]
fn a_prompt_is_not_computed_again_after_a_restart() {
    let archive = MemoryArchive::default();
    assert_eq!(after_restart(&archive, &request(1000, 1)), (1000, 0));
    assert_eq!(archive.page_count(), 62);
    assert_eq!(after_restart(&archive, &request(1000, 1)), (8, 992));
    // Another user has other pages, a longer prompt all that it shares.
    assert_eq!(after_restart(&archive, &request(1000, 2)), (1000, 0));
    assert_eq!(after_restart(&archive, &request(1200, 1)), (208, 992));
    assert_eq!(after_restart(&archive, &request(1200, 1)), (16, 1184));
    // The last token is computed even if its page is kept.
    assert_eq!(after_restart(&archive, &request(160, 1)), (16, 144));
    assert_eq!(archive.page_count(), 62 + 62 + 13);
}

#[test]
fn what_is_missing_is_computed() {
    let archive = MemoryArchive::default();
    after_restart(&archive, &request(640, 1));
    archive.lose_one();
    let (rows, found) = after_restart(&archive, &request(640, 1));
    assert!(rows > 16 && rows + found == 640, "{rows} rows, {found} found");
    assert_eq!(after_restart(&archive, &request(640, 1)), (16, 624), "what was missing is kept again");
}

#[test]
fn what_is_in_memory_is_not_read() {
    let archive = MemoryArchive::default();
    let mut engine = engine(&archive);
    for expected in [0, 0] {
        let ids: Vec<_> = (0..4).map(|_| engine.submit(request(500, 1)).unwrap()).collect();
        let events = run(&mut engine);
        assert!(ids.into_iter().all(|id| tokens_of(&events, id) == alone(&request(500, 1), false, 2049).0));
        assert_eq!(archive.loads.load(Ordering::Relaxed), expected);
    }
    drop(engine);
    // Of several that come at once, one reads.
    let mut engine = self::engine(&archive);
    for _ in 0..4 {
        engine.submit(request(500, 1)).unwrap();
    }
    run(&mut engine);
    assert_eq!(archive.loads.load(Ordering::Relaxed), 31);
}

#[test]
fn prompts_whose_log_probabilities_are_asked_for_are_computed() {
    let archive = MemoryArchive::default();
    after_restart(&archive, &request(320, 1));
    let asked = Request { prompt_logprobs: true, ..request(320, 1) };
    assert_eq!(after_restart(&archive, &asked), (320, 0));
}

#[test]
fn an_engine_that_stops_hands_in_what_it_has() {
    let archive = MemoryArchive::default();
    let handle = EngineHandle::spawn("fake engine", engine(&archive)).unwrap();
    assert_eq!(handle.submit(request(800, 1)).unwrap().count(), 13);
    handle.stop();
    assert_eq!(archive.page_count(), 50);
}

#[test]
fn recurrent_models_go_on_where_their_state_was_put_aside() {
    let archive = MemoryArchive::default();
    let after_restart = |request: &Request| after_restart_with_slots(&archive, request, 24);
    assert_eq!(after_restart(&request(1000, 1)), (1000, 0));
    // Pages, and the state behind the last full one.
    assert_eq!(archive.page_count(), 62 + 1);
    assert_eq!(after_restart(&request(1000, 1)), (8, 992));
    // A longer prompt goes on from there; its own end is kept as well.
    assert_eq!(after_restart(&request(1200, 1)), (208, 992));
    assert_eq!(after_restart(&request(1200, 1)), (16, 1184));
    // A shorter one finds pages, but no state.
    assert_eq!(after_restart(&request(640, 1)), (640, 0));
    assert_eq!(after_restart(&request(640, 1)), (16, 624));
}

#[test]
fn recurrent_models_compute_what_is_missing() {
    for lost in 0..42 {
        let archive = MemoryArchive::default();
        let after_restart = |request: &Request| after_restart_with_slots(&archive, request, 24);
        after_restart(&request(640, 1));
        archive.lose_nth(lost);
        let (rows, found) = after_restart(&request(640, 1));
        assert_eq!(rows + found, 640, "without part {lost}: {rows} rows, {found} found");
        let again = after_restart(&request(640, 1));
        assert_eq!(again, (16, 624), "what was missing is kept again, part {lost}");
    }
}
