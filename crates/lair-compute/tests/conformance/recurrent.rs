//! Recurrent mixers and their states: equal to the reference, however prompts are cut, and after a restored checkpoint.

use lair_compute::reference::Reference;
use lair_compute::{
    Activation, Backend, Batch, Columns, Convolution, ConvolutionBuffers, DecayForm, DecayedAttention,
    DecayedAttentionBuffers, DeltaRule, DeltaRuleBuffers, KeyHeads, NormGroup, NormKind, Rwkv6, Rwkv6Buffers, Rwkv7,
    Rwkv7Buffers, ShiftHistory, ShiftedRows, StateDecay, StateLayerLayout, StateLayout, StateSlot, StateSpace,
    StateSpaceBuffers, TokenShift,
};

use crate::build::{Random, buffer, norm, page_tables, sequences, vector};
use crate::{assert_bits, assert_close, on_every_cpu, read};

/// A mixer with fixed weights.
trait Mixer {
    /// Widths of what it reads.
    const INPUTS: &'static [usize];
    /// Width of what it gives.
    const OUTPUT: usize;
    /// What a slot keeps.
    const STATE: StateLayerLayout;

    fn compute<B: Backend>(
        backend: &mut B,
        batch: &Batch<'_>,
        states: &mut B::States,
        inputs: &mut [B::Buffer],
        output: &mut B::Buffer,
    );
}

fn columns<B: Backend>(buffer: &B::Buffer, first: usize) -> Columns<'_, B> {
    Columns { buffer, first }
}

fn negative(random: &mut Random, count: usize) -> Vec<f32> {
    random.values(count).iter().map(|value| -value.abs()).collect()
}

/// The gated delta rule; with `DECAYS` of a head.
struct Delta<const DECAYS: usize>;

const KEY_HEADS: usize = 2;
const VALUE_HEADS: usize = 4;
const KEY_DIM: usize = 16;
const VALUE_DIM: usize = 43;

impl<const DECAYS: usize> Mixer for Delta<DECAYS> {
    const INPUTS: &'static [usize] = &[
        2 * KEY_HEADS * KEY_DIM + VALUE_HEADS * VALUE_DIM,
        VALUE_HEADS * DECAYS,
        VALUE_HEADS,
        VALUE_HEADS * VALUE_DIM,
    ];
    const OUTPUT: usize = VALUE_HEADS * VALUE_DIM;
    const STATE: StateLayerLayout =
        StateLayerLayout { conv_length: 0, recurrent_length: VALUE_HEADS * KEY_DIM * VALUE_DIM };

    fn compute<B: Backend>(
        backend: &mut B,
        batch: &Batch<'_>,
        states: &mut B::States,
        inputs: &mut [B::Buffer],
        output: &mut B::Buffer,
    ) {
        let mut random = Random(81);
        let is_plain = DECAYS == 1;
        let bounded = DecayForm::Bounded { bound: -5.0, slope: -1.0 };
        let layer = DeltaRule {
            state_layer: 1,
            key_head_count: KEY_HEADS,
            value_head_count: VALUE_HEADS,
            key_dim: KEY_DIM,
            value_dim: VALUE_DIM,
            key_heads: if is_plain { KeyHeads::InTurn } else { KeyHeads::Neighbours },
            decay_form: if is_plain { DecayForm::Softplus } else { bounded },
            decay_width: DECAYS,
            a: vector(backend, &negative(&mut random, VALUE_HEADS)),
            dt_bias: vector(backend, &random.values(VALUE_HEADS * DECAYS)),
            norm: norm(backend, NormKind::Rms, NormGroup::Run(VALUE_DIM), Some(&random.values(VALUE_DIM)), None),
            gate_activation: if is_plain { Activation::Silu } else { Activation::Sigmoid },
            // Large enough to show where it is added.
            unit_epsilon: 0.5,
        };
        let [qkv, alpha, beta, gate] = &*inputs else { unreachable!() };
        let keys = KEY_HEADS * KEY_DIM;
        let (q, k, v) = (columns(qkv, 0), columns(qkv, keys), columns(qkv, 2 * keys));
        backend.delta_rule(batch, &layer, states, DeltaRuleBuffers { q, k, v, alpha, beta, gate, output });
    }
}

/// A convolution with everything before and after it.
struct Convolved;

const CHANNELS: usize = 75;
const TAPS: usize = 4;

impl Mixer for Convolved {
    const INPUTS: &'static [usize] = &[CHANNELS, CHANNELS, CHANNELS];
    const OUTPUT: usize = CHANNELS;
    const STATE: StateLayerLayout = StateLayerLayout { conv_length: (TAPS - 1) * CHANNELS, recurrent_length: 0 };

    fn compute<B: Backend>(
        backend: &mut B,
        batch: &Batch<'_>,
        states: &mut B::States,
        inputs: &mut [B::Buffer],
        output: &mut B::Buffer,
    ) {
        let mut random = Random(82);
        let layer = Convolution {
            state_layer: 1,
            length: TAPS,
            weight: vector(backend, &random.values(CHANNELS * TAPS)),
            bias: Some(vector(backend, &random.values(CHANNELS))),
            activation: Some(Activation::Silu),
        };
        let [input, before, after] = &*inputs else { unreachable!() };
        let (input_factor, output_factor) = (Some(before), Some(after));
        backend.convolve(batch, &layer, states, ConvolutionBuffers { input, input_factor, output_factor, output });
    }
}

/// A state space of `HEADS` heads in two groups; heads of one element have a decay for each element of the state.
struct Space<const HEADS: usize, const DIM: usize>;

const STATE_SIZE: usize = 12;
const GROUPS: usize = 2;

impl<const HEADS: usize, const DIM: usize> Mixer for Space<HEADS, DIM> {
    const INPUTS: &'static [usize] = &[HEADS * DIM + 2 * GROUPS * STATE_SIZE, HEADS, HEADS * DIM];
    const OUTPUT: usize = HEADS * DIM;
    const STATE: StateLayerLayout = StateLayerLayout { conv_length: 0, recurrent_length: HEADS * DIM * STATE_SIZE };

    fn compute<B: Backend>(
        backend: &mut B,
        batch: &Batch<'_>,
        states: &mut B::States,
        inputs: &mut [B::Buffer],
        output: &mut B::Buffer,
    ) {
        let mut random = Random(83);
        let factors = negative(&mut random, HEADS * STATE_SIZE);
        let is_plain = DIM == 1;
        let weight = random.values(HEADS * DIM);
        let layer = StateSpace {
            state_layer: 1,
            head_count: HEADS,
            head_dim: DIM,
            group_count: GROUPS,
            state_size: STATE_SIZE,
            decay: match is_plain {
                true => StateDecay::Element(vector(backend, &factors)),
                false => StateDecay::Head(vector(backend, &factors[..HEADS])),
            },
            time_step_bias: (!is_plain).then(|| vector(backend, &random.values(HEADS))),
            skip: vector(backend, &random.values(HEADS)),
            norm: (!is_plain)
                .then(|| norm(backend, NormKind::Rms, NormGroup::Part(HEADS * DIM / GROUPS), Some(&weight), None)),
        };
        let [xbc, time_step, gate] = &*inputs else { unreachable!() };
        let (x, width) = (columns(xbc, 0), HEADS * DIM);
        let (b, c) = (columns(xbc, width), columns(xbc, width + GROUPS * STATE_SIZE));
        backend.state_space(batch, &layer, states, StateSpaceBuffers { x, b, c, time_step, gate, output });
    }
}

/// Linear attention with a constant decay.
struct Decayed;

const HEADS: usize = 3;
const HEAD_DIM: usize = 44;
const WIDTH: usize = HEADS * HEAD_DIM;

impl Mixer for Decayed {
    const INPUTS: &'static [usize] = &[WIDTH; 4];
    const OUTPUT: usize = WIDTH;
    const STATE: StateLayerLayout = StateLayerLayout { conv_length: 0, recurrent_length: WIDTH * HEAD_DIM };

    fn compute<B: Backend>(
        backend: &mut B,
        batch: &Batch<'_>,
        states: &mut B::States,
        inputs: &mut [B::Buffer],
        output: &mut B::Buffer,
    ) {
        let layer = DecayedAttention {
            state_layer: 1,
            head_count: HEADS,
            head_dim: HEAD_DIM,
            decays: vec![0.9, 0.5, 0.99],
            activation: Some(Activation::Silu),
            norm: norm(backend, NormKind::Rms, NormGroup::Row, Some(&Random(84).values(WIDTH)), None),
        };
        let [q, k, v, gate] = inputs else { unreachable!() };
        backend.decayed_attention(batch, &layer, states, DecayedAttentionBuffers { q, k, v, gate, output });
    }
}

/// Two token shifts of one layer, the second with an offset that depends on the first.
struct Shifted;

impl Mixer for Shifted {
    const INPUTS: &'static [usize] = &[CHANNELS];
    const OUTPUT: usize = CHANNELS;
    const STATE: StateLayerLayout = StateLayerLayout { conv_length: CHANNELS, recurrent_length: 0 };

    fn compute<B: Backend>(
        backend: &mut B,
        batch: &Batch<'_>,
        states: &mut B::States,
        inputs: &mut [B::Buffer],
        output: &mut B::Buffer,
    ) {
        let mut random = Random(85);
        let mut shift = |history, count: usize| TokenShift {
            state_layer: 1,
            weights: (0..count).map(|_| vector(backend, &random.values(CHANNELS))).collect(),
            history,
        };
        let (first, second) = (shift(ShiftHistory::Kept, 1), shift(ShiftHistory::Moved, 2));
        let mut buffers = [0; 2].map(|_| backend.buffer(batch.row_count(), CHANNELS).expect("a buffer"));
        let [offset, other] = &mut buffers;
        backend.token_shift(batch, &first, states, &inputs[0], &mut [ShiftedRows { offset: None, output: offset }]);
        let mut outputs = [ShiftedRows { offset: None, output: other }, ShiftedRows { offset: Some(offset), output }];
        backend.token_shift(batch, &second, states, &inputs[0], &mut outputs);
        backend.blend(batch.row_count(), offset, other, output);
    }
}

/// RWKV's time mixing of a generation.
struct Time<const GENERATION: usize>;

impl<const GENERATION: usize> Mixer for Time<GENERATION> {
    const INPUTS: &'static [usize] = &[WIDTH; 6];
    const OUTPUT: usize = WIDTH;
    const STATE: StateLayerLayout = StateLayerLayout { conv_length: 0, recurrent_length: WIDTH * HEAD_DIM };

    fn compute<B: Backend>(
        backend: &mut B,
        batch: &Batch<'_>,
        states: &mut B::States,
        inputs: &mut [B::Buffer],
        output: &mut B::Buffer,
    ) {
        let mut random = Random(86);
        let (weight, bias) = (random.values(WIDTH), random.values(WIDTH));
        let heads = norm(backend, NormKind::Layer, NormGroup::Part(HEAD_DIM), Some(&weight), Some(&bias));
        let [first, key_scale, key_rate] = [0; 3].map(|_| vector(backend, &random.values(WIDTH)));
        let (head_count, head_dim, state_layer) = (HEADS, HEAD_DIM, 1);
        let [r, k, v, decay, gate, rate] = &*inputs else { unreachable!() };
        if GENERATION == 6 {
            let layer = Rwkv6 { state_layer, head_count, head_dim, first, norm: heads };
            backend.rwkv6(batch, &layer, states, Rwkv6Buffers { r, k, v, decay, gate, output });
        } else {
            let (bonus, norm) = (first, Some(heads));
            let layer = Rwkv7 { state_layer, head_count, head_dim, key_scale, key_rate, bonus, norm };
            let gate = Some(gate);
            backend.rwkv7(batch, &layer, states, Rwkv7Buffers { r, k, v, decay, rate, gate, output });
        }
    }
}

/// Runs steps of one or more sequences after each other; with `restore`, the state after the first step is taken as a
/// checkpoint, spoilt by a run of the second, restored, and the second run again.
fn run<M: Mixer, B: Backend>(backend: &mut B, steps: &[Vec<(usize, usize)>], restore: bool) -> Vec<f32> {
    let mut states = backend.states(&StateLayout { layers: vec![M::STATE; 2], slot_count: 4 }).expect("states");
    let tables = page_tables(4, 8);
    for slot in 0..4 {
        backend.clear_state(&mut states, StateSlot(slot));
    }
    let mut outputs = Vec::new();
    for (index, shape) in steps.iter().enumerate() {
        if restore && index == 1 {
            backend.copy_state(&mut states, StateSlot(0), StateSlot(3));
            step::<M, B>(backend, &mut states, shape, &tables);
            backend.copy_state(&mut states, StateSlot(3), StateSlot(0));
        }
        outputs.extend(step::<M, B>(backend, &mut states, shape, &tables));
    }
    outputs
}

/// One step. The inputs of a row depend on its sequence and position only.
fn step<M: Mixer, B: Backend>(
    backend: &mut B,
    states: &mut B::States,
    shape: &[(usize, usize)],
    tables: &[Vec<lair_compute::PageId>],
) -> Vec<f32> {
    let rows: usize = shape.iter().map(|(_, rows)| rows).sum();
    let mut inputs = vec![Vec::new(); M::INPUTS.len()];
    for (sequence, &(first, count)) in shape.iter().enumerate() {
        for position in first..first + count {
            let mut random = Random((sequence * 1000 + position) as u64);
            for (values, width) in inputs.iter_mut().zip(M::INPUTS) {
                values.extend(random.values(*width));
            }
        }
    }
    let mut inputs: Vec<B::Buffer> =
        inputs.iter().zip(M::INPUTS).map(|(values, width)| buffer(backend, rows, *width, values)).collect();
    let mut output = backend.buffer(rows, M::OUTPUT).expect("a buffer");
    let sequences = sequences(shape, tables);
    let batch = Batch { tokens: &vec![0; rows], sequences: &sequences };
    M::compute(backend, &batch, states, &mut inputs, &mut output);
    read(backend, rows, M::OUTPUT, &output)
}

fn check<M: Mixer>(what: &str) {
    let steps = [vec![(0, 40), (0, 1), (0, 7)], vec![(40, 1), (1, 3), (7, 20)]];
    let expected = run::<M, _>(&mut Reference, &steps, false);
    let actual = on_every_cpu(what, |cpu| run::<M, _>(cpu, &steps, false));
    assert_close(what, &actual, &expected, 1e-9);

    let whole = on_every_cpu(what, |cpu| run::<M, _>(cpu, &[vec![(0, 50)]], false));
    for cuts in [vec![vec![(0, 1)], vec![(1, 1)], vec![(2, 48)]], vec![vec![(0, 17)], vec![(17, 33)]]] {
        let cut = on_every_cpu(what, |cpu| run::<M, _>(cpu, &cuts, false));
        assert_bits(&format!("{what} cut {cuts:?}"), &cut, &whole);
    }

    let steps = [vec![(0, 12)], vec![(12, 5)]];
    let plain = on_every_cpu(what, |cpu| run::<M, _>(cpu, &steps, false));
    let restored = on_every_cpu(what, |cpu| run::<M, _>(cpu, &steps, true));
    assert_bits(&format!("{what} restored"), &restored, &plain);
}

#[test]
fn the_delta_rule_with_a_decay_a_head() {
    check::<Delta<1>>("delta rule");
}

#[test]
fn the_delta_rule_with_a_decay_a_key_element() {
    check::<Delta<KEY_DIM>>("delta rule by elements");
}

#[test]
fn convolutions() {
    check::<Convolved>("convolution");
}

#[test]
fn state_spaces_with_a_decay_a_head() {
    check::<Space<6, 24>>("state space");
}

#[test]
fn state_spaces_with_a_decay_an_element() {
    check::<Space<90, 1>>("state space by elements");
}

#[test]
fn linear_attention_with_a_constant_decay() {
    check::<Decayed>("decayed attention");
}

#[test]
fn token_shifts_and_blends() {
    check::<Shifted>("token shift");
}

#[test]
fn the_time_mixing_of_rwkv_6() {
    check::<Time<6>>("rwkv6");
}

#[test]
fn the_time_mixing_of_rwkv_7() {
    check::<Time<7>>("rwkv7");
}
