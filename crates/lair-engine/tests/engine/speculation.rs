//! Guessing ahead: the same answers in fewer steps.

use lair_engine::{
    Constraint, ConstraintFailure, DraftOptions, Engine, EngineError, EngineOptions, Event, FinishReason, Request,
    Sampling, Speculation, TokenConstraint, TokenSet,
};

use crate::fake::{FakeRunner, alone, end_of, engine, run, tokens_of};

/// What is delivered for a request, log-probabilities as bits, and the steps it took.
#[derive(Debug, PartialEq)]
struct Delivered {
    tokens: Vec<(u32, Option<u32>, usize)>,
    end: String,
}

fn options(speculation: Speculation) -> EngineOptions {
    EngineOptions { speculation, ..EngineOptions::default() }
}

/// Runs requests together; returns what each got, and the engine.
fn deliver(mut engine: Engine<FakeRunner>, requests: &[Request]) -> (Vec<Delivered>, Engine<FakeRunner>) {
    let ids: Vec<_> = requests.iter().map(|request| engine.submit(request.clone()).unwrap()).collect();
    let events = run(&mut engine);
    let delivered = ids.into_iter().map(|id| {
        let token = |event: &Event| match event {
            Event::Token { id: of, token, logprob, top } if *of == id => {
                Some((*token, logprob.map(f32::to_bits), top.len()))
            }
            _ => None,
        };
        let end = match end_of(&events, id) {
            Event::Finished { reason, usage, .. } => format!("{reason:?} {}", usage.completion_tokens),
            other => format!("{other:?}"),
        };
        Delivered { tokens: events.iter().filter_map(token).collect(), end }
    });
    (delivered.collect(), engine)
}

fn with_draft(page_count: usize, draft: FakeRunner, draft_options: DraftOptions) -> Engine<FakeRunner> {
    let engine = engine(page_count, 0, options(Speculation::Draft));
    engine.with_draft(Box::new(draft), draft_options).expect("the draft model can be used")
}

/// Allows nothing but two tokens, the one and the other in turn after each third.
#[derive(Clone)]
struct Pattern(usize);

impl TokenConstraint for Pattern {
    fn restrict(&mut self, allowed: &mut TokenSet) -> Result<(), ConstraintFailure> {
        allowed.clear();
        allowed.insert([5, 6, 7, 5, 6, 8][self.0 % 6]);
        Ok(())
    }

    fn accept(&mut self, _: u32) -> Result<(), ConstraintFailure> {
        self.0 += 1;
        Ok(())
    }

    fn fork(&self) -> Box<dyn TokenConstraint> {
        Box::new(self.clone())
    }
}

/// Requests of every kind, most of which repeat themselves.
fn requests() -> Vec<Request> {
    let greedy = Sampling::greedy();
    let sampled = Sampling { seed: Some(11), temperature: 0.7, ..Sampling::default() };
    let penalised = Sampling { repeat_penalty: 1.2, presence_penalty: 0.3, frequency_penalty: 0.1, ..sampled.clone() };
    let request = |sampling: &Sampling, seed: u32| Request {
        tokens: (0..60).map(|i| i * seed % 17).collect(),
        max_tokens: Some(150),
        sampling: sampling.clone(),
        ..Request::default()
    };
    let stopped = alone(&request(&greedy, 3), false, 4096).0;
    vec![
        request(&greedy, 3),
        request(&sampled, 5),
        request(&penalised, 7),
        Request { logprobs: Some(3), ..request(&sampled, 2) },
        Request { stop_tokens: vec![stopped[100], 44], ..request(&greedy, 3) },
        Request { max_tokens: Some(1), ..request(&greedy, 3) },
        Request { max_tokens: Some(2), ..request(&greedy, 3) },
        Request { max_tokens: None, ..request(&greedy, 4) },
        Request { constraint: Some(Constraint::new(Pattern(0))), ..request(&sampled, 1) },
        Request { prompt_logprobs: true, ..request(&greedy, 6) },
    ]
}

#[test]
fn answers_are_the_same_in_fewer_steps() {
    let requests = requests();
    let perfect = || FakeRunner::new(512, 0);
    let flawed = || FakeRunner::with_flaw(512);
    let all = DraftOptions { probability_min: 0.0, ..DraftOptions::default() };
    // With all memory there is, and with so little that sequences lose theirs.
    for page_count in [512, 40] {
        let (expected, plain) = deliver(engine(page_count, 0, options(Speculation::Off)), &requests);
        assert_eq!((plain.stats().guessed_tokens, plain.stats().preemptions > 0), (0, page_count == 40));
        let engines = [
            ("lookup", engine(page_count, 0, options(Speculation::Lookup))),
            ("a perfect draft", with_draft(page_count, perfect(), all)),
            ("a flawed draft", with_draft(page_count, flawed(), all)),
            ("a doubting draft", with_draft(page_count, flawed(), DraftOptions { tokens_min: 2, ..all })),
            ("a draft without memory", with_draft(page_count, FakeRunner::new(8, 0), all)),
        ];
        for (name, engine) in engines {
            let (found, engine) = deliver(engine, &requests);
            assert_eq!(found, expected, "{name}, {page_count} pages");
            let stats = engine.stats();
            assert!(stats.accepted_tokens > 100 && stats.steps < plain.stats().steps, "{name}: {stats:?}");
            assert_eq!(stats.held_page_count, 0);
        }
    }
}

#[test]
fn usage_says_how_many_guesses_came_true() {
    let request = requests().remove(0);
    let mut engine = engine(64, 0, options(Speculation::Lookup));
    let id = engine.submit(request).unwrap();
    let events = run(&mut engine);
    let Event::Finished { usage, reason, .. } = end_of(&events, id) else { panic!("{events:?}") };
    let stats = engine.stats();
    assert_eq!(*reason, FinishReason::MaxTokens);
    assert_eq!(
        (usage.guessed_tokens as u64, usage.accepted_tokens as u64),
        (stats.guessed_tokens, stats.accepted_tokens)
    );
    assert!(usage.accepted_tokens > 10 && usage.guessed_tokens >= usage.accepted_tokens);
    // Each step gives one token, and one for each right guess.
    let decode_steps = usage.completion_tokens - usage.accepted_tokens;
    assert_eq!(stats.steps as usize, decode_steps);
}

#[test]
fn a_draft_model_that_agrees_is_never_wrong_whatever_happened_before() {
    // Sequences share prefixes, lose their memory and come back; guesses of pages out of step would be wrong.
    let request = |seed: u32| Request {
        tokens: (0..50).map(|i| if i < 32 { i } else { (i * seed) % 45 }).collect(),
        max_tokens: Some(200),
        sampling: Sampling::greedy(),
        ..Request::default()
    };
    let requests: Vec<Request> = (1..5).map(request).collect();
    let options = DraftOptions { probability_min: 0.0, step_cost: 0.0, ..DraftOptions::default() };
    let (_, engine) = deliver(with_draft(30, FakeRunner::new(512, 0), options), &requests);
    let stats = engine.stats();
    assert!(stats.preemptions > 0 && stats.reused_tokens > 0 && stats.guessed_tokens > 300, "{stats:?}");
    // The few are lookup's, in the beginning.
    assert!(stats.accepted_tokens * 15 > stats.guessed_tokens * 14, "{stats:?}");
}

#[test]
fn guessing_stops_where_guesses_are_wrong() {
    // Every token is as likely as every other one: what followed before tells nothing.
    let request = Request {
        tokens: (0..200).map(|i| i * i % 43).collect(),
        max_tokens: Some(600),
        sampling: Sampling { seed: Some(5), temperature: 50.0, ..Sampling::default() },
        ..Request::default()
    };
    let (_, engine) = deliver(engine(256, 0, options(Speculation::Lookup)), std::slice::from_ref(&request));
    let stats = engine.stats();
    assert!(stats.guessed_tokens < 60, "{stats:?}");
    let draft = FakeRunner::new(512, 0);
    let rows = draft.rows_computed();
    let draft_options = DraftOptions { probability_min: 0.0, ..DraftOptions::default() };
    let (_, engine) = deliver(with_draft(256, draft, draft_options), &[request]);
    let stats = engine.stats();
    assert!(stats.guessed_tokens < 100, "{stats:?}");
    // Its prompt, and what it caught up with when it was tried again.
    let rows = rows.load(std::sync::atomic::Ordering::Relaxed);
    assert!((200..950).contains(&rows), "{rows} rows of the draft model");
}

#[test]
fn recurrent_models_get_no_guesses() {
    let (expected, _) = deliver(engine(512, 20, options(Speculation::Off)), &requests());
    let (found, engine) = deliver(engine(512, 20, options(Speculation::Lookup)), &requests());
    assert_eq!(found, expected);
    assert_eq!(engine.stats().guessed_tokens, 0);
}

#[test]
fn refuses_a_draft_model_that_cannot_be_used() {
    let check = |slots: usize, draft_slots: usize, expected: EngineError| {
        let engine = engine(16, slots, options(Speculation::Draft));
        let draft = Box::new(FakeRunner::new(16, draft_slots));
        assert_eq!(engine.with_draft(draft, DraftOptions::default()).err(), Some(expected));
    };
    check(20, 0, EngineError::RecurrentLayers { which: "model" });
    check(0, 20, EngineError::RecurrentLayers { which: "draft model" });
}

#[test]
fn a_fork_with_guesses_goes_its_own_way() {
    let request = requests().remove(0);
    let all = DraftOptions { probability_min: 0.0, ..DraftOptions::default() };
    for mut engine in [engine(64, 0, options(Speculation::Lookup)), with_draft(64, FakeRunner::new(64, 0), all)] {
        let id = engine.submit(request.clone()).unwrap();
        let mut events = Vec::new();
        while tokens_of(&events, id).len() < 40 {
            engine.step(&mut events);
            engine.check_integrity();
        }
        let sampling = Sampling { seed: Some(3), temperature: 0.5, ..Sampling::default() };
        let known = tokens_of(&events, id);
        let fork = engine.fork(id, sampling.clone()).unwrap();
        events.extend(run(&mut engine));
        assert_eq!(tokens_of(&events, id), alone(&request, false, 4096).0);
        let forked = Request { sampling, ..request.clone() };
        let expected = crate::fake::alone_from(&forked, &known, false, 4096).0;
        assert_eq!(tokens_of(&events, fork), expected[known.len()..]);
        assert!(engine.stats().accepted_tokens > 50);
    }
}
