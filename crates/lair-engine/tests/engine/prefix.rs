//! What the prefix cache saves, and what it must not share.

use lair_engine::{EngineOptions, Event, PrefixScope, Request, Sampling, SequenceId};

use crate::fake::{alone, end_of, engine, run, tokens_of};

fn request(shared: u32, own: &[u32], max_tokens: usize) -> Request {
    let sampling = Sampling { seed: Some(3), ..Sampling::default() };
    let tokens = (0..shared).map(|i| i * 13 % 45).chain(own.iter().copied()).collect();
    Request { tokens, max_tokens: Some(max_tokens), sampling, ..Request::default() }
}

fn cached(events: &[Event], id: SequenceId) -> usize {
    match end_of(events, id) {
        Event::Finished { usage, .. } => usage.cached_tokens,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_prefix_that_arrives_many_times_at_once_is_computed_once() {
    for state_slot_count in [0, 24] {
        let mut engine = engine(256, state_slot_count, EngineOptions::default());
        let requests: Vec<Request> = (0..64).map(|own| request(320, &[own % 45, own / 45, 1], 4)).collect();
        let ids: Vec<SequenceId> = requests.iter().map(|request| engine.submit(request.clone()).unwrap()).collect();
        let events = run(&mut engine);
        for (request, id) in requests.iter().zip(ids) {
            assert_eq!(tokens_of(&events, id), alone(request, state_slot_count > 0, 4096).0);
        }
        // The shared pages once; for each request its own 3 tokens, and 3 of the 4 it generates.
        assert_eq!(engine.runner().rows, 320 + 64 * 6, "{state_slot_count} slots");
    }
}

#[test]
fn the_next_turn_of_a_conversation_continues_where_the_prompt_ended() {
    for state_slot_count in [0, 24] {
        let mut engine = engine(64, state_slot_count, EngineOptions::default());
        let first = request(100, &[], 20);
        let id = engine.submit(first.clone()).unwrap();
        let answer = tokens_of(&run(&mut engine), id);
        let turn = Request { tokens: [&first.tokens[..], &answer, &[1, 2, 3]].concat(), ..first };
        let id = engine.submit(turn.clone()).unwrap();
        let events = run(&mut engine);
        // Pages of the answer are known too; recurrent state was put aside at the end of the prompt.
        assert_eq!(cached(&events, id), if state_slot_count > 0 { 96 } else { 112 });
        assert_eq!(tokens_of(&events, id), alone(&turn, state_slot_count > 0, 4096).0);
    }
}

#[test]
fn a_place_where_prompts_part_is_remembered() {
    let mut engine = engine(64, 24, EngineOptions::default());
    let mut found = Vec::new();
    for own in 0..3 {
        let request = request(64, &[own; 40], 2);
        let id = engine.submit(request).unwrap();
        found.push(cached(&run(&mut engine), id));
    }
    assert_eq!(found, [0, 0, 64]);
}

#[test]
fn the_last_token_is_computed_even_if_all_are_known() {
    let mut engine = engine(64, 0, EngineOptions::default());
    for expected in [0, 48] {
        let id = engine.submit(request(64, &[], 1)).unwrap();
        assert_eq!(cached(&run(&mut engine), id), expected);
    }
}

#[test]
fn scopes_do_not_share() {
    let mut engine = engine(64, 0, EngineOptions::default());
    let scoped = |byte: u8| Request { scope: PrefixScope([byte; 32]), ..request(64, &[1], 1) };
    for (request, expected) in [(scoped(1), 0), (scoped(2), 0), (scoped(1), 64), (request(64, &[1], 1), 0)] {
        let id = engine.submit(request).unwrap();
        assert_eq!(cached(&run(&mut engine), id), expected);
    }
}

#[test]
fn nothing_is_kept_without_the_cache() {
    let mut engine = engine(64, 24, EngineOptions { prefix_cache: false, ..EngineOptions::default() });
    for _ in 0..2 {
        let id = engine.submit(request(64, &[1], 1)).unwrap();
        assert_eq!(cached(&run(&mut engine), id), 0);
        assert_eq!(engine.stats().cached_page_count, 0);
        assert_eq!(engine.stats().checkpoint_count, 0);
    }
}

#[test]
fn the_prefix_used_longest_ago_is_evicted_first() {
    let mut engine = engine(12, 0, EngineOptions::default());
    // Each takes 5 pages and leaves 4 of them known. The third one's last page is had for the second one's last known.
    let prompt = |own: u32| request(0, &[own; 65], 1);
    let mut found = Vec::new();
    for own in [1, 2, 1, 3, 1, 2] {
        let id = engine.submit(prompt(own)).unwrap();
        found.push(cached(&run(&mut engine), id));
    }
    assert_eq!(found, [0, 0, 64, 0, 64, 48]);
}

#[test]
fn a_long_answer_is_not_computed_again_by_the_next_turn() {
    let mut engine = engine(64, 20, EngineOptions { sequences_max: 16, ..EngineOptions::default() });
    let first = request(20, &[], 300);
    let id = engine.submit(first.clone()).unwrap();
    let answer = tokens_of(&run(&mut engine), id);
    // One at the end of the prompt, one that moved along.
    assert_eq!(engine.stats().checkpoint_count, 2);
    let turn = Request { tokens: [&first.tokens[..], &answer, &[1, 2, 3]].concat(), max_tokens: Some(5), ..first };
    let id = engine.submit(turn.clone()).unwrap();
    let events = run(&mut engine);
    // 319 tokens were computed.
    assert_eq!(cached(&events, id), 256);
    assert_eq!(tokens_of(&events, id), alone(&turn, true, 1025).0);
}
