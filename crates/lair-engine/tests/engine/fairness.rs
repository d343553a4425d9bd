//! Whose turn it is, and how long steps are.

use std::time::Duration;

use lair_engine::{EngineOptions, Event, PrefixScope, Request, Sampling, SequenceId};

use crate::fake::{alone, end_of, engine, run, tokens_of};

fn request(user: u8, length: u32, max_tokens: usize) -> Request {
    let sampling = Sampling { seed: Some(u64::from(user)), ..Sampling::default() };
    let tokens = (0..length).map(|i| (i * 7 + u32::from(user)) % 45).collect();
    Request { tokens, max_tokens: Some(max_tokens), sampling, scope: PrefixScope([user; 32]), ..Request::default() }
}

/// Sequences in the order in which they ended.
fn ends(events: &[Event]) -> Vec<SequenceId> {
    events.iter().filter(|event| event.is_last()).map(Event::id).collect()
}

#[test]
fn a_user_with_one_request_does_not_wait_for_one_with_many() {
    let mut engine = engine(256, 0, EngineOptions { sequences_max: 2, ..EngineOptions::default() });
    let many: Vec<_> = (0..40).map(|_| engine.submit(request(1, 20, 10)).unwrap()).collect();
    let one = engine.submit(request(2, 20, 10)).unwrap();
    let events = run(&mut engine);
    let order = ends(&events);
    let place = order.iter().position(|&id| id == one).unwrap();
    assert!(place <= 3, "the one request ended as the {place}th");
    assert_eq!(tokens_of(&events, one), alone(&request(2, 20, 10), false, 4096).0);
    // Of one user the first comes first.
    let of_many: Vec<_> = order.into_iter().filter(|&id| id != one).collect();
    assert!(of_many.is_sorted() && of_many.len() == many.len());
}

#[test]
fn users_get_the_same_number_of_tokens() {
    let mut engine = engine(256, 0, EngineOptions { sequences_max: 4, ..EngineOptions::default() });
    // One asks for much at a time, one for little; both ask for more than there is time for.
    for _ in 0..40 {
        engine.submit(request(1, 100, 60)).unwrap();
    }
    for _ in 0..400 {
        engine.submit(request(2, 10, 6)).unwrap();
    }
    let (mut events, mut steps) = (Vec::new(), 0);
    while steps < 400 {
        engine.step(&mut events);
        steps += 1;
    }
    let served = |is_first: bool| {
        let finished = events.iter().filter_map(|event| match event {
            Event::Finished { id, usage, .. } if (id.0 <= 40) == is_first => Some(usage),
            _ => None,
        });
        finished.map(|usage| usage.prompt_tokens - usage.cached_tokens + usage.completion_tokens).sum::<usize>() as f64
    };
    let (first, second) = (served(true), served(false));
    assert!(first > 500.0 && (first / second - 1.0).abs() < 0.25, "{first} tokens beside {second}");
}

#[test]
fn prompts_of_one_user_do_not_crowd_out_another_s() {
    let options = EngineOptions { rows_max: 64, prefill_rows_while_decoding: 64, ..EngineOptions::default() };
    let mut engine = engine(2048, 0, options);
    for index in 0..15u32 {
        let tokens = (0..1000).map(|i| (i * 5 + index) % 45).collect();
        engine.submit(Request { tokens, ..request(1, 1, 2) }).unwrap();
    }
    let mut events = Vec::new();
    engine.step(&mut events);
    let other = engine.submit(request(2, 120, 1)).unwrap();
    // Half of the rows are the other user's, whatever the number of sequences.
    for _ in 0..4 {
        engine.step(&mut events);
    }
    assert!(matches!(end_of(&events, other), Event::Finished { .. }));
}

#[test]
fn steps_that_would_take_long_are_short() {
    let options = EngineOptions { step_time_max: Some(Duration::from_nanos(1)), ..EngineOptions::default() };
    let mut engine = engine(256, 0, options);
    let asked = request(1, 700, 5);
    let id = engine.submit(asked.clone()).unwrap();
    let mut events = Vec::new();
    let mut rows_max = 0;
    while !engine.is_idle() {
        let before = engine.stats().rows;
        engine.step(&mut events);
        rows_max = rows_max.max(engine.stats().rows - before);
    }
    assert!(rows_max <= 32, "a step of {rows_max} rows");
    assert_eq!(tokens_of(&events, id), alone(&asked, false, 4096).0);
}
