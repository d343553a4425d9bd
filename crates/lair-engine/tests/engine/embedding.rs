//! Texts to be embedded, alone and beside sequences that generate.

use std::collections::HashMap;
use std::sync::mpsc;

use lair_engine::{
    EmbedRequest, Embedded, Engine, EngineHandle, EngineOptions, Pooling, Refusal, Runner, Sampling, SequenceError,
};

use crate::fake::{FakeRunner, HIDDEN_SIZE, NAN_TOKEN, PANIC_TOKEN, alone, engine, hidden_states_of, run, tokens_of};
use crate::simulation::{Dice, random_request};

const POOLINGS: [Pooling; 5] = [Pooling::None, Pooling::Mean, Pooling::First, Pooling::Last, Pooling::Rank];

fn request(inputs: &[&[u32]], pooling: Pooling) -> EmbedRequest {
    EmbedRequest { inputs: inputs.iter().map(|tokens| tokens.to_vec()).collect(), pooling, adapter_scales: Vec::new() }
}

/// What a text gives by itself.
fn vector_of(tokens: &[u32], pooling: Pooling, has_state: bool) -> Vec<f32> {
    let states = hidden_states_of(tokens, has_state);
    match pooling {
        Pooling::None => states.concat(),
        Pooling::First => states[0].to_vec(),
        Pooling::Last => states[states.len() - 1].to_vec(),
        Pooling::Rank => vec![states[states.len() - 1].iter().sum()],
        Pooling::Mean => {
            let sum = |index: usize| states.iter().map(|row| f64::from(row[index])).sum::<f64>();
            (0..HIDDEN_SIZE).map(|index| (sum(index) / states.len() as f64) as f32).collect()
        }
    }
}

fn expected(request: &EmbedRequest, has_state: bool) -> Embedded {
    let vectors = request.inputs.iter().map(|tokens| vector_of(tokens, request.pooling, has_state)).collect();
    let width = if request.pooling == Pooling::Rank { 1 } else { HIDDEN_SIZE };
    Embedded { vectors, width, token_count: request.inputs.iter().map(Vec::len).sum() }
}

fn random_embedding(dice: &mut Dice, length_max: usize) -> EmbedRequest {
    let count = dice.roll(1, 12);
    let text = |dice: &mut Dice| {
        let length = if dice.chance(5) { dice.roll(1, length_max) } else { dice.roll(1, length_max.min(20)) };
        (0..length).map(|_| dice.roll(0, 44) as u32).collect()
    };
    EmbedRequest {
        inputs: (0..count).map(|_| text(dice)).collect(),
        pooling: POOLINGS[dice.roll(0, 4)],
        adapter_scales: Vec::new(),
    }
}

/// Random requests for embeddings among random generations, with little memory and cancels: every one gets what it
/// would get alone, and all memory comes back.
fn simulate(seed: u64) {
    let dice = &mut Dice(seed, 0);
    let has_state = dice.chance(3);
    let needs_whole_sequences = !has_state && dice.chance(3);
    let sequences_max = dice.roll(1, 6);
    let options = EngineOptions {
        context_length: 200,
        rows_max: dice.roll(sequences_max.max(8), 64),
        prefill_rows_while_decoding: dice.roll(1, 16),
        sequences_max,
        prefix_cache: dice.chance(2),
        ..EngineOptions::default()
    };
    let slots = if has_state { sequences_max + dice.roll(0, 2) } else { 0 };
    let mut runner = FakeRunner::new(dice.roll(3, 16), slots);
    runner.needs_whole_sequences = needs_whole_sequences;
    let mut engine = Engine::new(runner, options).unwrap();
    let limits = engine.limits();
    let (mut embeddings, mut sequences) = (HashMap::new(), HashMap::new());
    let (mut events, mut steps, mut seen) = (Vec::new(), 0, 0);
    let arrivals = dice.roll(1, 30);
    let mut arrived = 0;
    while arrived < arrivals || !engine.is_idle() {
        if arrived < arrivals && dice.chance(2) {
            arrived += 1;
            if dice.chance(2) {
                let request = random_embedding(dice, limits.input_length);
                embeddings.insert(engine.submit_embedding(request.clone()).unwrap(), request);
            } else {
                let request = random_request(dice, limits.memory_length.min(limits.context_length));
                if let Ok(id) = engine.submit(request.clone()) {
                    sequences.insert(id, request);
                }
            }
        }
        if dice.chance(20)
            && let Some(&id) = embeddings.keys().min()
        {
            assert!(engine.cancel(id));
            embeddings.remove(&id);
        }
        engine.step(&mut events);
        engine.check_integrity();
        for (id, outcome) in engine.take_embedded() {
            let request = embeddings.remove(&id).expect("it was open");
            assert_eq!(outcome.unwrap(), expected(&request, has_state), "seed {seed}");
            seen += 1;
        }
        steps += 1;
        assert!(steps < 100_000, "seed {seed} does not come to an end");
    }
    assert!(embeddings.is_empty() && seen <= arrivals);
    let length_max = limits.context_length.min(limits.memory_length + 1);
    for (id, request) in sequences {
        assert_eq!(tokens_of(&events, id), alone(&request, has_state, length_max).0, "seed {seed}");
    }
    assert_eq!(engine.stats().held_page_count, 0);
}

#[test]
fn every_text_gets_the_vector_it_would_get_alone() {
    for seed in 0..1500 {
        simulate(seed);
    }
}

#[test]
fn texts_share_steps_in_turn_over_the_requests() {
    let mut engine = engine(64, 0, EngineOptions { rows_max: 16, ..EngineOptions::default() });
    let text: &[u32] = &[1, 2, 3, 4];
    let large = engine.submit_embedding(request(&[text; 100], Pooling::Mean)).unwrap();
    let small = engine.submit_embedding(request(&[&[7, 8]], Pooling::Mean)).unwrap();
    engine.step(&mut Vec::new());
    let ended: Vec<_> = engine.take_embedded().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ended, [small], "a request of one text does not wait for one of a hundred");
    let mut steps = 1;
    while !engine.is_idle() {
        engine.step(&mut Vec::new());
        steps += 1;
    }
    assert_eq!(engine.take_embedded().len(), 1);
    assert!(steps <= 27, "{steps} steps of 16 rows for 402 tokens");
    assert!(!engine.cancel(large), "it has ended");
}

#[test]
fn what_cannot_be_embedded_is_refused_with_the_numbers() {
    let mut runner = FakeRunner::new(64, 0);
    runner.needs_whole_sequences = true;
    let mut engine = Engine::new(runner, EngineOptions { rows_max: 16, ..EngineOptions::default() }).unwrap();
    let mut refused = |inputs: &[&[u32]]| engine.submit_embedding(request(inputs, Pooling::Mean)).unwrap_err();
    assert_eq!(refused(&[]), Refusal::InputCount { found: 0 });
    assert_eq!(refused(&[&[1], &[]]), Refusal::EmptyInput { input: 1 });
    assert_eq!(refused(&[&[1; 17]]), Refusal::InputTooLong { input: 0, token_count: 17, length_max: 16 });
    assert!(matches!(refused(&[&[48]]), Refusal::UnknownToken { token: 48, place: "input", .. }));
}

#[test]
fn a_vector_that_is_no_number_ends_its_request_only() {
    let mut engine = engine(64, 0, EngineOptions::default());
    let broken = engine.submit_embedding(request(&[&[1], &[2, NAN_TOKEN], &[3]], Pooling::Mean)).unwrap();
    let whole = engine.submit_embedding(request(&[&[4, 5]], Pooling::Last)).unwrap();
    run(&mut engine);
    let outcomes: HashMap<_, _> = engine.take_embedded().into_iter().collect();
    assert_eq!(outcomes[&broken], Err(SequenceError::NonFiniteEmbedding { input: 1, place: 0 }));
    assert_eq!(outcomes[&whole], Ok(expected(&request(&[&[4, 5]], Pooling::Last), false)));
    assert_eq!(engine.stats().held_page_count, 0);
}

#[test]
fn a_model_without_logits_is_not_asked_to_generate() {
    struct Encoder(FakeRunner);
    impl Runner for Encoder {
        fn vocabulary_size(&self) -> usize {
            self.0.vocabulary_size()
        }
        fn context_length(&self) -> usize {
            64
        }
        fn page_count(&self) -> usize {
            self.0.page_count()
        }
        fn state_slot_count(&self) -> usize {
            0
        }
        fn rows_max(&self) -> usize {
            64
        }
        fn step(&mut self, _: &lair_compute::Batch<'_>, _: &[usize], _: &mut [f32]) {
            unreachable!("an encoder has no logits");
        }
        fn generates(&self) -> bool {
            false
        }
        fn copy_page(&mut self, from: lair_compute::PageId, to: lair_compute::PageId) {
            self.0.copy_page(from, to);
        }
        fn page_bytes(&self) -> usize {
            self.0.page_bytes()
        }
        fn read_page(&self, page: lair_compute::PageId, bytes: &mut [u8]) {
            self.0.read_page(page, bytes);
        }
        fn write_page(&mut self, page: lair_compute::PageId, bytes: &[u8]) {
            self.0.write_page(page, bytes);
        }
        fn state_bytes(&self) -> usize {
            self.0.state_bytes()
        }
        fn read_state(&self, slot: lair_compute::StateSlot, bytes: &mut [u8]) {
            self.0.read_state(slot, bytes);
        }
        fn write_state(&mut self, slot: lair_compute::StateSlot, bytes: &[u8]) {
            self.0.write_state(slot, bytes);
        }
        fn clear_state(&mut self, slot: lair_compute::StateSlot) {
            self.0.clear_state(slot);
        }
        fn copy_state(&mut self, from: lair_compute::StateSlot, to: lair_compute::StateSlot) {
            self.0.copy_state(from, to);
        }
    }
    let options = EngineOptions { rows_max: 64, ..EngineOptions::default() };
    let mut engine = Engine::new(Encoder(FakeRunner::new(8, 0)), options).unwrap();
    let prompt = lair_engine::Request { tokens: vec![1], sampling: Sampling::default(), ..Default::default() };
    assert_eq!(engine.submit(prompt).unwrap_err(), Refusal::NoGeneration);
    assert_eq!(engine.submit_embedding(request(&[&[1]], Pooling::Mean)).unwrap_err(), Refusal::NoEmbeddings);
}

fn gated(requests_max: usize) -> (EngineHandle, mpsc::Sender<()>, FakeRows) {
    let (sender, gate) = mpsc::channel();
    let mut runner = FakeRunner::new(64, 0);
    runner.gate = Some(gate);
    let rows = runner.rows_computed();
    let options = EngineOptions { requests_max, rows_max: 16, ..EngineOptions::default() };
    (EngineHandle::spawn("embeddings", Engine::new(runner, options).unwrap()).unwrap(), sender, rows)
}

type FakeRows = std::sync::Arc<std::sync::atomic::AtomicUsize>;

#[test]
fn a_handle_bounds_its_queue_and_forgets_what_nobody_waits_for() {
    let (handle, gate, rows) = gated(2);
    let text: &[u32] = &[1; 16];
    let first = handle.embed(request(&[text; 50], Pooling::Mean)).unwrap();
    let second = handle.embed(request(&[&[5, 6]], Pooling::Last)).unwrap();
    assert_eq!(handle.embed(request(&[&[5]], Pooling::Mean)).err(), Some(Refusal::QueueFull { requests_max: 2 }));
    drop(first);
    drop(gate);
    assert_eq!(second.wait().unwrap().vectors, [vector_of(&[5, 6], Pooling::Last, false)]);
    while handle.open_count() > 0 {
        std::thread::yield_now();
    }
    let computed = rows.load(std::sync::atomic::Ordering::Relaxed);
    assert!(computed < 50 * 16, "{computed} rows were computed of a request that was given up");
}

#[test]
fn a_panic_ends_embeddings_with_an_error() {
    let handle = EngineHandle::spawn("embeddings", engine(64, 0, EngineOptions::default())).unwrap();
    let outcome = handle.embed(request(&[&[PANIC_TOKEN]], Pooling::Mean)).unwrap().wait();
    assert!(matches!(outcome, Err(SequenceError::EngineStopped { .. })));
    assert_eq!(handle.embed(request(&[&[1]], Pooling::Mean)).err(), Some(Refusal::EngineStopped));
}
