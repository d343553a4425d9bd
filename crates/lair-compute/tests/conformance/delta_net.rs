//! The gated delta rule and its state.

use lair_compute::reference::Reference;
use lair_compute::{Backend, Batch, GatedDeltaNet, NormGroup, NormKind, StateLayerLayout, StateLayout, StateSlot};

use crate::build::{Random, buffer, norm, page_tables, sequences, vector};
use crate::{assert_bits, assert_close, on_every_cpu, read};

const KEY_HEADS: usize = 2;
const VALUE_HEADS: usize = 4;
const DIM: usize = 16;
const CHANNELS: usize = 2 * KEY_HEADS * DIM + VALUE_HEADS * DIM;
const TAPS: usize = 4;

fn layer<B: Backend>(backend: &B) -> GatedDeltaNet<B> {
    let mut random = Random(81);
    let negative: Vec<f32> = random.values(VALUE_HEADS).iter().map(|value| -value.abs()).collect();
    GatedDeltaNet {
        state_layer: 1,
        key_head_count: KEY_HEADS,
        value_head_count: VALUE_HEADS,
        key_dim: DIM,
        value_dim: DIM,
        conv_length: TAPS,
        conv_weight: vector(backend, &random.values(CHANNELS * TAPS)),
        a: vector(backend, &negative),
        dt_bias: vector(backend, &random.values(VALUE_HEADS)),
        norm: norm(backend, NormKind::Rms, NormGroup::Run(DIM), Some(&random.values(DIM)), None),
    }
}

/// Runs steps of one or more sequences after each other; with `restore`, the state after the first step is taken as a
/// checkpoint, spoilt by a run of the second, restored, and the second run again.
fn run<B: Backend>(backend: &mut B, steps: &[Vec<(usize, usize)>], restore: bool) -> Vec<f32> {
    let state = StateLayerLayout { conv_length: (TAPS - 1) * CHANNELS, recurrent_length: VALUE_HEADS * DIM * DIM };
    let mut states = backend.states(&StateLayout { layers: vec![state; 2], slot_count: 4 }).expect("states");
    let layer = layer(backend);
    let tables = page_tables(4, 8);
    for slot in 0..4 {
        backend.clear_state(&mut states, StateSlot(slot));
    }
    let mut outputs = Vec::new();
    for (index, shape) in steps.iter().enumerate() {
        if restore && index == 1 {
            backend.copy_state(&mut states, StateSlot(0), StateSlot(3));
            step(backend, &layer, &mut states, shape, &tables);
            backend.copy_state(&mut states, StateSlot(3), StateSlot(0));
        }
        outputs.extend(step(backend, &layer, &mut states, shape, &tables));
    }
    outputs
}

/// One step. The inputs of a row depend on its sequence and position only.
fn step<B: Backend>(
    backend: &mut B,
    layer: &GatedDeltaNet<B>,
    states: &mut B::States,
    shape: &[(usize, usize)],
    tables: &[Vec<lair_compute::PageId>],
) -> Vec<f32> {
    let rows: usize = shape.iter().map(|(_, rows)| rows).sum();
    backend.reserve(rows, CHANNELS).expect("scratch");
    let mut inputs = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for (sequence, &(first, count)) in shape.iter().enumerate() {
        for position in first..first + count {
            let mut random = Random((sequence * 1000 + position) as u64);
            for (values, width) in inputs.iter_mut().zip([CHANNELS, VALUE_HEADS, VALUE_HEADS, VALUE_HEADS * DIM]) {
                values.extend(random.values(width));
            }
        }
    }
    let [qkv, alpha, beta, gate] = inputs;
    let qkv = buffer(backend, rows, CHANNELS, &qkv);
    let alpha = buffer(backend, rows, VALUE_HEADS, &alpha);
    let beta = buffer(backend, rows, VALUE_HEADS, &beta);
    let gate = buffer(backend, rows, VALUE_HEADS * DIM, &gate);
    let mut output = backend.buffer(rows, VALUE_HEADS * DIM).expect("a buffer");
    let sequences = sequences(shape, tables);
    let batch = Batch { tokens: &vec![0; rows], sequences: &sequences };
    backend.gated_delta_net(&batch, layer, states, &qkv, &alpha, &beta, &gate, &mut output);
    read(backend, rows, VALUE_HEADS * DIM, &output)
}

#[test]
fn the_delta_rule_agrees_with_the_reference() {
    let steps = [vec![(0, 40), (0, 1), (0, 7)], vec![(40, 1), (1, 3), (7, 20)]];
    let expected = run(&mut Reference, &steps, false);
    let actual = on_every_cpu("delta rule", |cpu| run(cpu, &steps, false));
    assert_close("delta rule", &actual, &expected, 1e-9);
}

#[test]
fn the_delta_rule_does_not_depend_on_how_a_prompt_is_cut() {
    let whole = on_every_cpu("whole", |cpu| run(cpu, &[vec![(0, 50)]], false));
    for cuts in [vec![vec![(0, 1)], vec![(1, 1)], vec![(2, 48)]], vec![vec![(0, 17)], vec![(17, 33)]]] {
        let actual = on_every_cpu("cut", |cpu| run(cpu, &cuts, false));
        assert_bits(&format!("cut {cuts:?}"), &actual, &whole);
    }
}

#[test]
fn a_restored_checkpoint_continues_as_before() {
    let steps = [vec![(0, 12)], vec![(12, 5)]];
    let plain = on_every_cpu("plain", |cpu| run(cpu, &steps, false));
    let restored = on_every_cpu("restored", |cpu| run(cpu, &steps, true));
    assert_bits("restored", &restored, &plain);
}
