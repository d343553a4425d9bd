//! From a request to its end, one at a time and a few together.

use lair_engine::{EngineError, EngineOptions, Event, FinishReason, Refusal, Request, Sampling, SequenceError};

use crate::fake::{NAN_TOKEN, VOCABULARY_SIZE, alone, alone_from, end_of, engine, logits_after, run, tokens_of};

fn request(tokens: impl IntoIterator<Item = u32>, max_tokens: usize) -> Request {
    let sampling = Sampling { seed: Some(7), ..Sampling::default() };
    Request { tokens: tokens.into_iter().collect(), max_tokens: Some(max_tokens), sampling, ..Request::default() }
}

#[test]
fn one_sequence_gets_the_tokens_of_its_distribution() {
    for state_slot_count in [0, 20] {
        for prompt_length in [1, 2, 15, 16, 17, 33, 700] {
            let mut engine = engine(64, state_slot_count, EngineOptions::default());
            let request = request((0..prompt_length).map(|i| i * 7 % 45), 40);
            let id = engine.submit(request.clone()).unwrap();
            let events = run(&mut engine);
            let (tokens, reason) = alone(&request, state_slot_count > 0, 1025);
            assert_eq!(tokens_of(&events, id), tokens);
            let Event::Finished { reason: found, usage, .. } = end_of(&events, id) else { panic!("{events:?}") };
            assert_eq!(*found, reason);
            assert_eq!((usage.prompt_tokens, usage.completion_tokens), (prompt_length as usize, 40));
            assert_eq!(engine.stats().held_page_count, 0);
        }
    }
}

#[test]
fn ends_at_a_stop_token_and_counts_it() {
    let mut engine = engine(16, 0, EngineOptions::default());
    let (tokens, _) = alone(&request([1, 2, 3], 20), false, 256);
    let stop = tokens[9];
    let first = tokens.iter().position(|&token| token == stop).unwrap();
    let id = engine.submit(Request { stop_tokens: vec![stop], ..request([1, 2, 3], 20) }).unwrap();
    let events = run(&mut engine);
    assert_eq!(tokens_of(&events, id), tokens[..first]);
    let Event::Finished { reason, usage, .. } = end_of(&events, id) else { panic!("{events:?}") };
    assert_eq!(*reason, FinishReason::Stop { token: stop });
    assert_eq!(usage.completion_tokens, first + 1);
}

#[test]
fn ends_when_the_context_or_the_memory_for_it_is_full() {
    for (context_length, page_count, expected) in [(40, 64, 40), (4096, 3, 49)] {
        let options = EngineOptions { context_length, ..EngineOptions::default() };
        let mut engine = engine(page_count, 0, options);
        let id = engine.submit(Request { max_tokens: None, ..request(0..30, 0) }).unwrap();
        let events = run(&mut engine);
        assert_eq!(tokens_of(&events, id).len(), expected - 30);
        assert!(matches!(end_of(&events, id), Event::Finished { reason: FinishReason::ContextFull, .. }));
    }
}

#[test]
fn refuses_what_never_fits_with_both_numbers() {
    let options = EngineOptions { context_length: 100, ..EngineOptions::default() };
    let mut engine = engine(4, 0, options);
    let refused = engine.submit(request(std::iter::repeat_n(1, 100), 5)).unwrap_err();
    assert_eq!(refused, Refusal::ContextTooShort { prompt_tokens: 100, generated: 1, context_length: 100 });
    assert_eq!(
        refused.to_string(),
        "the prompt has 100 tokens, which with 1 to generate do not fit in the context of 100"
    );
    let refused = engine.submit(request(std::iter::repeat_n(1, 65), 5)).unwrap_err();
    assert_eq!(refused, Refusal::MemoryTooSmall { prompt_tokens: 65, memory_length: 64 });
    assert_eq!(engine.submit(request([], 5)).unwrap_err(), Refusal::EmptyPrompt);
    let outside = VOCABULARY_SIZE as u32;
    assert!(matches!(engine.submit(request([1, outside], 5)), Err(Refusal::UnknownToken { place: "prompt", .. })));
    let sampling = Sampling { top_p: f32::NAN, ..Sampling::default() };
    let refused = engine.submit(Request { sampling, ..request([1], 5) }).unwrap_err();
    assert_eq!(refused.to_string(), "top_p is NaN, a number from 0 to 1 expected");
    assert!(engine.is_idle());
    engine.submit(request(std::iter::repeat_n(1, 64), 1)).unwrap();
    run(&mut engine);
}

#[test]
fn refuses_more_requests_than_may_be_open() {
    let mut engine = engine(4, 0, EngineOptions { requests_max: 2, ..EngineOptions::default() });
    let first = engine.submit(request([1], 3)).unwrap();
    engine.submit(request([1], 3)).unwrap();
    assert_eq!(engine.submit(request([1], 3)).unwrap_err(), Refusal::QueueFull { requests_max: 2 });
    assert!(engine.cancel(first));
    assert!(!engine.cancel(first));
    engine.submit(request([1], 3)).unwrap();
    run(&mut engine);
}

#[test]
fn refuses_options_that_cannot_work() {
    let check = |options: EngineOptions, expected: &str| {
        let error = lair_engine::Engine::new(crate::fake::FakeRunner::new(4, 3), options).err().unwrap();
        assert_eq!(error.to_string(), expected);
        error
    };
    let options = EngineOptions::default();
    check(EngineOptions { rows_max: 0, ..options.clone() }, "rows_max is 0, at least 1 expected");
    let error = check(options.clone(), "16 sequences at a time need as many state slots, there are 3");
    assert_eq!(error, EngineError::TooFewSlots { slot_count: 3, sequences_max: 16 });
    let few = EngineOptions { rows_max: 8, ..options.clone() };
    check(few, "16 sequences at a time need as many rows, but a step has 8");
    let many = EngineOptions { rows_max: 513, ..options };
    check(many, "steps of 513 rows are asked for, the runner has room for 512");
}

#[test]
fn logits_that_are_not_numbers_end_only_their_sequence() {
    let mut engine = engine(32, 0, EngineOptions::default());
    let good = request([1, 2, 3], 30);
    let before = engine.submit(good.clone()).unwrap();
    let bad = engine.submit(Request { prompt_logprobs: true, ..request([1, NAN_TOKEN, 5, 6], 30) }).unwrap();
    let worse = engine.submit(request([1, 5, NAN_TOKEN], 30)).unwrap();
    let after = engine.submit(good.clone()).unwrap();
    let events = run(&mut engine);
    for (id, position) in [(bad, 2), (worse, 3)] {
        let Event::Failed { error: SequenceError::NonFiniteLogits { position: found, cause }, .. } =
            end_of(&events, id)
        else {
            panic!("{events:?}")
        };
        assert_eq!((*found, cause.to_string().as_str()), (position, "logit 3 is not finite"));
    }
    let (expected, _) = alone(&good, false, 512);
    assert_eq!(tokens_of(&events, before), expected);
    assert_eq!(tokens_of(&events, after), expected);
}

#[test]
fn delivers_log_probabilities_of_the_models_own_distribution() {
    let mut engine = engine(16, 0, EngineOptions::default());
    let sampling = Sampling {
        temperature: 0.3,
        top_k: 5,
        repeat_penalty: 1.5,
        logit_bias: vec![(3, 4.0)],
        seed: Some(1),
        ..Sampling::default()
    };
    let request = Request { sampling, logprobs: Some(4), ..request([5, 6, 7], 12) };
    engine.submit(request.clone()).unwrap();
    let mut tokens = request.tokens;
    for event in run(&mut engine) {
        let Event::Token { token, logprob, top, .. } = event else { continue };
        let exact = exact_logprobs(&logits_after(&tokens, false));
        assert!((f64::from(logprob.unwrap()) - exact[token as usize]).abs() < 1e-5);
        let mut order: Vec<usize> = (0..VOCABULARY_SIZE).collect();
        order.sort_by(|&left, &right| exact[right].total_cmp(&exact[left]));
        assert_eq!(top.iter().map(|entry| entry.token as usize).collect::<Vec<_>>(), order[..4]);
        assert!(top.iter().all(|entry| (f64::from(entry.logprob) - exact[entry.token as usize]).abs() < 1e-5));
        tokens.push(token);
    }
    assert_eq!(tokens.len(), 15);
}

fn exact_logprobs(logits: &[f32]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
    logits.iter().map(|&logit| f64::from(logit) - sum.ln()).collect()
}

#[test]
fn delivers_log_probabilities_of_a_prompt_whatever_is_cached() {
    for (rows_max, max_tokens) in [(1, 3), (7, 0), (256, 3)] {
        let options = EngineOptions { rows_max, sequences_max: 1, ..EngineOptions::default() };
        let mut engine = engine(16, 3, options);
        let plain = request((0..70).map(|i| i * 11 % 45), max_tokens);
        let asking = Request { prompt_logprobs: true, logprobs: Some(1), ..plain.clone() };
        for request in [plain.clone(), asking.clone(), asking, plain.clone()] {
            let id = engine.submit(request.clone()).unwrap();
            let events = run(&mut engine);
            assert_eq!(tokens_of(&events, id), alone(&plain, true, 4096).0);
            let found = events.iter().find_map(|event| match event {
                Event::PromptLogprobs { logprobs, top, .. } => Some((logprobs, top)),
                _ => None,
            });
            let Some((logprobs, top)) = found else {
                assert!(!request.prompt_logprobs);
                continue;
            };
            assert_eq!((logprobs.len(), top.len()), (69, 69));
            for (index, logprob) in logprobs.iter().enumerate() {
                let exact = exact_logprobs(&logits_after(&plain.tokens[..=index], true));
                assert!((f64::from(*logprob) - exact[plain.tokens[index + 1] as usize]).abs() < 1e-5);
                assert_eq!(top[index].len(), 1);
            }
        }
    }
}

#[test]
fn a_short_prompt_does_not_wait_for_a_long_one() {
    let options = EngineOptions { rows_max: 32, prefill_rows_while_decoding: 32, ..EngineOptions::default() };
    let mut engine = engine(256, 0, options);
    let long = engine.submit(request((0..2000).map(|i| i % 45), 4)).unwrap();
    let mut events = Vec::new();
    engine.step(&mut events);
    let short = engine.submit(request((0..20).map(|i| i * 3 % 45), 4)).unwrap();
    for _ in 0..6 {
        engine.step(&mut events);
    }
    assert!(matches!(end_of(&events, short), Event::Finished { .. }));
    assert!(tokens_of(&events, long).is_empty());
    events.extend(run(&mut engine));
    assert!(matches!(end_of(&events, long), Event::Finished { .. }));
}

#[test]
fn a_fork_shares_pages_and_goes_its_own_way() {
    for state_slot_count in [0, 20] {
        for prefix_cache in [false, true] {
            let options = EngineOptions { prefix_cache, ..EngineOptions::default() };
            let mut engine = engine(8, state_slot_count, options);
            let request = request((0..37).map(|i| i * 5 % 45), 20);
            let id = engine.submit(request.clone()).unwrap();
            let mut events = Vec::new();
            while tokens_of(&events, id).len() < 4 {
                engine.step(&mut events);
            }
            let held = engine.stats().held_page_count;
            let sampling = Sampling { seed: Some(99), ..Sampling::default() };
            let fork = engine.fork(id, sampling.clone()).unwrap();
            assert_eq!(engine.stats().held_page_count, held, "a fork takes no page by itself");
            events.extend(run(&mut engine));
            assert_eq!(engine.runner().page_copies, 1);
            let (tokens, _) = alone(&request, state_slot_count > 0, 256);
            assert_eq!(tokens_of(&events, id), tokens);
            let (continued, _) = alone_from(&Request { sampling, ..request }, &tokens[..4], state_slot_count > 0, 256);
            assert_eq!(tokens_of(&events, fork), continued[4..]);
            assert_ne!(continued, tokens);
        }
    }
}

#[test]
fn a_fork_of_a_waiting_sequence_waits_too() {
    let mut engine = engine(8, 0, EngineOptions { sequences_max: 1, ..EngineOptions::default() });
    let first = engine.submit(request([1, 2, 3], 5)).unwrap();
    let fork = engine.fork(first, Sampling { seed: Some(7), ..Sampling::default() }).unwrap();
    let events = run(&mut engine);
    assert_eq!(tokens_of(&events, first), tokens_of(&events, fork));
    assert!(matches!(engine.fork(first, Sampling::default()), Err(Refusal::UnknownSequence { .. })));
}

#[test]
fn a_sequence_that_waits_for_memory_does_not_starve() {
    let mut engine = engine(10, 0, EngineOptions::default());
    let mut events = Vec::new();
    engine.submit(request((0..60).map(|i| i % 45), 30)).unwrap();
    engine.step(&mut events);
    let large = engine.submit(request((0..130).map(|i| i * 2 % 45), 5)).unwrap();
    let mut small = Vec::new();
    while !events.iter().any(|event| event.is_last() && event.id() == large) {
        small.push(engine.submit(request([small.len() as u32 % 45], 3)).unwrap());
        engine.step(&mut events);
        assert!(small.len() < 100, "the large sequence starves");
    }
    events.extend(run(&mut engine));
    assert!(small.iter().all(|&id| tokens_of(&events, id).len() == 3));
}
