//! Warm steps allocate nothing: everything they need was there when the engine was made and the request taken.
//!
//! What is not counted: an event of a request that asked for log-probabilities owns a list of them, and the channel of
//! [`lair_engine::EngineHandle`] takes its blocks of events from the heap, outside of the step.
#![allow(clippy::unwrap_used)] // A test that meets an error has failed.
#![allow(unsafe_code)] // An allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use lair_compute::KvElement;
use lair_compute::cpu::{Cpu, CpuOptions, IsaChoice};
use lair_engine::{Engine, EngineOptions, Event, MemoryOptions, ModelRunner, Request, Sampling};
use lair_gguf::GgufFile;
use lair_model::{LoadOptions, Model};
use lair_testkit::{shared_data, tiny_models::TinyModel};

/// The system's allocator, which counts what this thread asks for while it is told to.
///
/// Only this thread: a worker of the pool allocates while it starts, which may be during the first steps. Jobs are the
/// same on all workers, of which this thread is one, and it makes the others' room.
struct Counting;

thread_local! {
    static IS_COUNTING: Cell<bool> = const { Cell::new(false) };
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn note() {
    // A thread that ends has no such cells any more.
    if IS_COUNTING.try_with(Cell::get).unwrap_or(false) {
        COUNT.set(COUNT.get() + 1);
    }
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise is passed on; the same holds below.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(start, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size_bytes: usize) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.realloc(start, layout, size_bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type CpuEngine = Engine<ModelRunner<Cpu>>;

fn engine(path: &Path) -> CpuEngine {
    let backend = Cpu::new(CpuOptions { threads: Some(2), isa: IsaChoice::Auto }).unwrap();
    let file = GgufFile::open(path).unwrap();
    let model = Arc::new(Model::load(&file, &backend, LoadOptions::default()).unwrap());
    let memory = MemoryOptions { kv_element: KvElement::F16, page_count: 64, state_slot_count: 12, rows_max: 64 };
    let context_length = model.context_length();
    let runner = ModelRunner::new(model, backend, context_length, memory).unwrap();
    let options = EngineOptions {
        context_length: 200,
        rows_max: 64,
        prefill_rows_while_decoding: 64,
        sequences_max: 6,
        ..EngineOptions::default()
    };
    Engine::new(runner, options).unwrap()
}

/// A prompt of its own for each `seed`.
fn request(engine: &CpuEngine, seed: usize, length: usize, sampling: Sampling) -> Request {
    let vocabulary_size = engine.limits().vocabulary_size;
    let token = |position: usize| ((seed * 7919 + position * 104_729) % vocabulary_size) as u32;
    Request { tokens: (0..length).map(token).collect(), sampling, ..Request::default() }
}

fn rich_sampling() -> Sampling {
    Sampling {
        seed: Some(3),
        temperature: 0.8,
        top_k: 40,
        top_p: 0.95,
        min_p: 0.01,
        repeat_penalty: 1.1,
        frequency_penalty: 0.1,
        logit_bias: vec![(1, 2.0)],
        ..Sampling::default()
    }
}

/// Runs so many steps and returns how many allocations there were in them; each step gives a token of each sequence, or
/// more where a guess came true.
fn allocations(engine: &mut CpuEngine, events: &mut Vec<Event>, steps: usize, tokens_a_step: usize) -> usize {
    let mut tokens = 0;
    COUNT.set(0);
    for _ in 0..steps {
        events.clear();
        IS_COUNTING.set(true);
        engine.step(events);
        IS_COUNTING.set(false);
        tokens += events.iter().filter(|event| matches!(event, Event::Token { .. })).count();
    }
    assert!(tokens >= steps * tokens_a_step, "{tokens} tokens: the steps did not do what the test is about");
    COUNT.get()
}

fn check(path: &Path, name: &str) {
    let mut engine = engine(path);
    let is_recurrent = engine.runner().model().state_layout(1).is_some();
    let mut events = Vec::with_capacity(64);
    let submit = |engine: &mut CpuEngine, seed: usize, length: usize, sampling: Sampling| {
        let request = request(engine, seed, length, sampling);
        engine.submit(request).unwrap()
    };
    // One stream: its prompt's step warms up what a backend makes at its first step.
    submit(&mut engine, 1, 20, Sampling::greedy());
    engine.step(&mut events);
    assert_eq!(allocations(&mut engine, &mut events, 40, 1), 0, "{name}: one greedy stream");
    // Four streams, three of them with filters and penalties.
    for seed in 2..5 {
        submit(&mut engine, seed, 5, rich_sampling());
    }
    engine.step(&mut events);
    assert_eq!(allocations(&mut engine, &mut events, 20, 4), 0, "{name}: four streams");
    // A chunk of a prompt beside them, the first step with so many rows included; what is left of it is one token, after
    // the place where a recurrent model puts its state aside.
    submit(&mut engine, 9, 49, rich_sampling());
    let rows_before = engine.stats().rows;
    assert_eq!(allocations(&mut engine, &mut events, 1, 4 + usize::from(!is_recurrent)), 0, "{name}: a prompt");
    assert!(engine.stats().rows - rows_before >= 4 + 48, "{name}: the prompt came in pieces");
    if is_recurrent {
        assert_eq!(allocations(&mut engine, &mut events, 1, 5), 0, "{name}: the end of a prompt");
    }
    assert_eq!(allocations(&mut engine, &mut events, 10, 5), 0, "{name}: five streams");
}

#[test]
fn warm_steps_allocate_nothing() {
    if let Some(path) = shared_data("models/stories260K-f32.gguf") {
        check(&path, "stories260K");
    }
    for name in ["llama", "qwen3moe", "gpt-oss", "qwen35"] {
        if let Some(model) = TinyModel::make(name) {
            check(&model.path(), name);
        }
    }
}
