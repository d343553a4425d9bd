//! Steps of many sequences: who shares a batch changes nothing.

mod runner;

use lair_compute::reference::Reference;
use lair_compute::{Backend, Batch, KvElement, PageId, SequenceRows, StateSlot};
use lair_gguf::GgufFile;
use lair_model::{LoadOptions, Memory, Model};
use lair_testkit::tiny_models::TinyModel;
use runner::Runner;

/// Logits of `tokens` alone, in one step.
fn alone(model: &TinyModel, tokens: &[u32]) -> Vec<f32> {
    let file = GgufFile::open(model.path()).expect("tiny models are valid");
    Runner::new(&file, Reference, tokens.len(), tokens.len()).step(tokens)
}

#[test]
fn sequences_that_share_steps_get_the_logits_they_get_alone() {
    // Windows, recurrent layers with their states, experts.
    for name in [
        "gemma3",
        "qwen35",
        "qwen3moe",
        "falcon-h1",
        "jamba",
        "lfm2moe",
        "nemotron_h",
        "plamo2",
        "qwen3next",
        "minimax-01",
        "rwkv6",
        "rwkv7",
    ] {
        let Some(tiny) = TinyModel::make(name) else { return };
        let file = GgufFile::open(tiny.path()).expect("tiny models are valid");
        let mut backend = Reference;
        let model = Model::load(&file, &backend, LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        let kv = backend.kv(&model.kv_layout(KvElement::F32, 8)).expect("room");
        let states = model.state_layout(3).map(|layout| backend.states(&layout).expect("room"));
        let mut memory = Memory { kv, states };
        let mut activations = model.activations(&mut backend, 64).expect("room");

        let (first, second) = (&tiny.tokens[..40], &tiny.tokens[60..75]);
        let first_pages = [PageId(6), PageId(0), PageId(3)];
        let second_pages = [PageId(7)];
        let width = model.vocabulary_size();
        // Steps of (rows of the first, rows of the second); only each sequence's last row is wanted.
        let mut done = (0, 0);
        let mut got = Vec::new();
        for (first_rows, second_rows) in [(17, 4), (1, 1), (22, 10)] {
            let tokens = [&first[done.0..done.0 + first_rows], &second[done.1..done.1 + second_rows]].concat();
            let sequence = |first_row, row_count, first_position, page_table, slot| SequenceRows {
                first_row,
                row_count,
                first_position,
                page_table,
                state_slot: memory.states.as_ref().map(|_| StateSlot(slot)),
                adapter_scales: &[],
            };
            let sequences = [
                sequence(0, first_rows, done.0, &first_pages[..], 2),
                sequence(first_rows, second_rows, done.1, &second_pages[..], 0),
            ];
            let batch = Batch { tokens: &tokens, sequences: &sequences };
            let rows_wanted = [first_rows - 1, first_rows + second_rows - 1];
            let mut logits = vec![0.0; 2 * width];
            model.forward(&mut backend, &mut activations, &mut memory, &batch, &rows_wanted, &mut logits);
            done = (done.0 + first_rows, done.1 + second_rows);
            got.push((done, logits));
        }
        let (expected_first, expected_second) = (alone(&tiny, first), alone(&tiny, second));
        let row = |logits: &[f32], count: usize| logits[(count - 1) * width..count * width].to_vec();
        for ((first_count, second_count), logits) in got {
            let expected = [row(&expected_first, first_count), row(&expected_second, second_count)].concat();
            assert!(logits == expected, "{name}: after {first_count} and {second_count} tokens");
        }
    }
}

#[test]
fn a_step_may_want_no_logits() {
    let Some(tiny) = TinyModel::make("llama") else { return };
    let file = GgufFile::open(tiny.path()).expect("tiny models are valid");
    let mut backend = Reference;
    let model = Model::load(&file, &backend, LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    let mut memory = Memory { kv: backend.kv(&model.kv_layout(KvElement::F32, 1)).expect("room"), states: None };
    let mut activations = model.activations(&mut backend, 4).expect("room");
    let rows = SequenceRows {
        first_row: 0,
        row_count: 3,
        first_position: 0,
        page_table: &[PageId(0)],
        state_slot: None,
        adapter_scales: &[],
    };
    let batch = Batch { tokens: &tiny.tokens[..3], sequences: &[rows] };
    model.forward(&mut backend, &mut activations, &mut memory, &batch, &[], &mut []);
}
