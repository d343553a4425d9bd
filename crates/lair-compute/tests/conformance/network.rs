//! Feed-forward networks and mixtures of experts.

use lair_compute::cpu::{ActivationType, Cpu, CpuOptions, InputTaps};
use lair_compute::reference::Reference;
use lair_compute::{
    Activation, Adjugates, Backend, ExpertGroups, Experts, ExpertsInput, FeedForward, FeedForwardInput, Gating,
    MatrixBytes, NormGroup, NormKind, Router, Weighing,
};
use lair_quant::TensorType;

use crate::build::{Random, buffer, linear, norm, random_matrix, stack, vector};
use crate::{assert_bits, assert_close, on_every_cpu, read};

const HIDDEN: usize = 64;
const WIDE: usize = 96;

/// As in `project.rs`, over two products and what lies between.
fn limit(tensor_type: TensorType) -> f64 {
    if tensor_type == TensorType::F32 { 1e-9 } else { 1e-2 }
}

/// The weights of a feed-forward network as plain data.
struct Weights {
    gate: Option<MatrixBytes>,
    up: MatrixBytes,
    down: MatrixBytes,
}

impl Weights {
    fn random(tensor_type: TensorType, has_gate: bool, seed: u64) -> Weights {
        let mut random = Random(seed);
        Weights {
            gate: has_gate.then(|| random_matrix(&mut random, tensor_type, WIDE, HIDDEN)),
            up: random_matrix(&mut random, tensor_type, WIDE, HIDDEN),
            down: random_matrix(&mut random, tensor_type, HIDDEN, WIDE),
        }
    }

    fn network<B: Backend>(&self, backend: &B, activation: Activation, post: bool) -> FeedForward<B> {
        let rms = |seed| norm(backend, NormKind::Rms, NormGroup::Row, Some(&Random(seed).values(HIDDEN)), None);
        FeedForward {
            norm: Some(rms(61)),
            gate: self.gate.as_ref().map(|gate| linear(backend, gate, Some(&Random(62).values(WIDE)))),
            up: linear(backend, &self.up, None),
            down: linear(backend, &self.down, Some(&Random(63).values(HIDDEN))),
            activation,
            inner_divisor: None,
            inner_norm: None,
            post_norm: post.then(|| rms(64)),
            residual_scale: 0.75,
        }
    }
}

fn run_network<B: Backend>(
    backend: &mut B,
    weights: &Weights,
    activation: Activation,
    other_input: bool,
    rows: usize,
) -> Vec<f32> {
    backend.reserve(rows, WIDE).expect("scratch");
    let network = weights.network(backend, activation, !other_input);
    let mut random = Random(65);
    let other = buffer(backend, rows, HIDDEN, &random.values(rows * HIDDEN));
    let mut residual = buffer(backend, rows, HIDDEN, &random.values(rows * HIDDEN));
    let input = if other_input { FeedForwardInput::Buffer(&other) } else { FeedForwardInput::Residual };
    backend.feed_forward(rows, &network, input, &mut residual);
    read(backend, rows, HIDDEN, &residual)
}

/// The same network in its basic operations.
fn run_apart<B: Backend>(
    backend: &mut B,
    weights: &Weights,
    activation: Activation,
    other_input: bool,
    rows: usize,
) -> Vec<f32> {
    backend.reserve(rows, WIDE).expect("scratch");
    let network = weights.network(backend, activation, !other_input);
    let mut random = Random(65);
    let other = buffer(backend, rows, HIDDEN, &random.values(rows * HIDDEN));
    let mut residual = buffer(backend, rows, HIDDEN, &random.values(rows * HIDDEN));
    let room = |backend: &mut B, width| buffer(backend, rows, width, &vec![0.0; rows * width]);
    let (mut normed, mut product) = (room(backend, HIDDEN), room(backend, HIDDEN));
    let (mut gate, mut wide) = (room(backend, WIDE), room(backend, WIDE));
    let input = if other_input { &other } else { &residual };
    backend.norm(rows, network.norm.as_ref().expect("it has one"), input, &mut normed);
    if let Some(linear) = &network.gate {
        backend.project(rows, None, &normed, &mut [(linear, &mut gate)]);
    }
    backend.project(rows, None, &normed, &mut [(&network.up, &mut wide)]);
    backend.activate(rows, activation, network.gate.as_ref().map(|_| &gate), &mut wide);
    backend.project(rows, None, &wide, &mut [(&network.down, &mut product)]);
    if let Some(norm) = &network.post_norm {
        backend.norm(rows, norm, &product, &mut normed);
        backend.copy(rows, &normed, &mut product);
    }
    backend.add(rows, &product, network.residual_scale, &mut residual);
    read(backend, rows, HIDDEN, &residual)
}

#[test]
fn a_network_in_its_basic_operations_has_the_same_bits() {
    for (has_gate, activation) in [(true, Activation::Silu), (false, Activation::GeluTanh)] {
        for tensor_type in [TensorType::F32, TensorType::F16, TensorType::Q4_0] {
            for (rows, other_input) in [(1, false), (7, true), (300, false)] {
                let weights = Weights::random(tensor_type, has_gate, 60);
                let what = format!("{activation:?} {tensor_type} gate {has_gate}, {rows} rows");
                let whole = on_every_cpu(&what, |cpu| run_network(cpu, &weights, activation, other_input, rows));
                let apart = on_every_cpu(&what, |cpu| run_apart(cpu, &weights, activation, other_input, rows));
                assert_bits(&what, &apart, &whole);
                let expected = run_apart(&mut Reference, &weights, activation, other_input, rows);
                assert_close(&what, &apart, &expected, limit(tensor_type));
            }
        }
    }
}

#[test]
fn what_stands_between_the_products_is_the_same_as_numbers_and_as_blocks() {
    for activations in [ActivationType::Bytes, ActivationType::Words] {
        for rows in [9, 257] {
            let weights = Weights::random(TensorType::Q4_0, true, 66);
            let make = || Cpu::new(CpuOptions::default()).expect("a CPU backend").with_activations(activations);
            // What adds up its input has it as numbers.
            let taps = InputTaps::default();
            let mut with_numbers = make().with_input_taps(&taps);
            let numbers = run_network(&mut with_numbers, &weights, Activation::Silu, false, rows);
            assert!(taps.sums().iter().any(|sums| sums.columns == WIDE && sums.counts == [rows as u64]));
            let blocks = run_network(&mut make(), &weights, Activation::Silu, false, rows);
            let what = format!("{activations:?}, {rows} rows");
            assert_bits(&what, &blocks, &numbers);
            let alone = run_apart(&mut make(), &weights, Activation::Silu, false, rows);
            assert_bits(&what, &blocks, &alone);
        }
    }
}

#[test]
fn rows_are_scaled_each_by_its_own_factor() {
    let values = [1.0, f32::NAN, f32::INFINITY, -2.0, 0.5, 3.0, 7.0, 8.0];
    let scaled = |values: Vec<f32>| {
        assert_eq!(values[..2], [0.0, 0.0], "a factor of 0 gives zeros of anything");
        assert_eq!(values[2..], [f32::INFINITY, -2.0, -0.25, -1.5, 7.0, 8.0]);
    };
    fn run<B: Backend>(backend: &mut B, values: &[f32]) -> Vec<f32> {
        let mut rows = buffer(backend, 4, 2, values);
        backend.scale_rows(&[0.0, 1.0, -0.5], &mut rows);
        read(backend, 4, 2, &rows)
    }
    scaled(run(&mut Reference, &values));
    scaled(on_every_cpu("scaled rows", |cpu| run(cpu, &values)));
}

#[test]
fn feed_forward_networks_agree_with_the_reference() {
    let gated = [
        Activation::Silu,
        Activation::GeluTanh,
        Activation::GeluErf,
        Activation::ClampedSwiglu { alpha: 1.702, limit: 0.5, shift: 1.0 },
        Activation::ClampedSilu { limit: 0.25 },
        Activation::Situ { beta: 0.5, linear_beta: 2.0 },
        Activation::Situ { beta: 4.0, linear_beta: 0.0 },
    ];
    let plain = [
        Activation::GeluTanh,
        Activation::GeluErf,
        Activation::Relu,
        Activation::ReluSquared,
        Activation::GeluQuick,
        Activation::Silu,
        Activation::Tanh,
    ];
    for (has_gate, activations) in [(true, gated), (false, plain)] {
        for activation in activations {
            for tensor_type in [TensorType::F32, TensorType::Q4_0, TensorType::Q8_0] {
                for (rows, other_input) in [(1, false), (7, true)] {
                    let weights = Weights::random(tensor_type, has_gate, 60);
                    let what = format!("{activation:?} {tensor_type} gate {has_gate}, {rows} rows");
                    let expected = run_network(&mut Reference, &weights, activation, other_input, rows);
                    let actual = on_every_cpu(&what, |cpu| run_network(cpu, &weights, activation, other_input, rows));
                    assert_close(&what, &actual, &expected, limit(tensor_type));
                }
            }
        }
    }
}

#[test]
fn what_stands_between_the_products_is_divided_and_normed() {
    fn run<B: Backend>(backend: &mut B, weights: &Weights, rows: usize, has_both: bool) -> Vec<f32> {
        backend.reserve(rows, WIDE).expect("scratch");
        let factors: Vec<f32> = Random(81).values(WIDE).iter().map(|x| 1.5 + x).collect();
        let inner_norm = norm(backend, NormKind::Rms, NormGroup::Row, Some(&Random(82).values(WIDE)), None);
        let network = FeedForward {
            inner_divisor: has_both.then(|| vector(backend, &factors)),
            inner_norm: Some(inner_norm),
            ..weights.network(backend, Activation::Silu, true)
        };
        let mut residual = buffer(backend, rows, HIDDEN, &Random(83).values(rows * HIDDEN));
        backend.feed_forward(rows, &network, FeedForwardInput::Residual, &mut residual);
        read(backend, rows, HIDDEN, &residual)
    }
    for tensor_type in [TensorType::F32, TensorType::Q8_0] {
        for (rows, has_gate, has_both) in [(1, true, true), (7, true, false), (300, false, true)] {
            let weights = Weights::random(tensor_type, has_gate, 80);
            let what = format!("{tensor_type}, {rows} rows, gate {has_gate}, divisor {has_both}");
            let expected = run(&mut Reference, &weights, rows, has_both);
            let actual = on_every_cpu(&what, |cpu| run(cpu, &weights, rows, has_both));
            assert_close(&what, &actual, &expected, limit(tensor_type));
        }
    }
}

/// The weights of a mixture of experts as plain data.
struct Mixture {
    router: MatrixBytes,
    gate: MatrixBytes,
    up: MatrixBytes,
    down: MatrixBytes,
    shared: Option<(Weights, MatrixBytes)>,
    gating: Gating,
    normalise: bool,
    has_bias: bool,
    groups: Option<ExpertGroups>,
    weighing: Weighing,
    /// Whether the router reads another buffer.
    reads_apart: bool,
    /// Whether tokens have their experts in a table.
    has_table: bool,
    adjugates: Option<[MatrixBytes; 3]>,
}

const EXPERTS: usize = 6;
const VOCABULARY: u32 = 13;

/// The two experts of a token, which may be one.
fn table_row(token: u32) -> [u32; 2] {
    [token * 7 % EXPERTS as u32, token * token % EXPERTS as u32]
}

impl Mixture {
    fn random(tensor_type: TensorType, gating: Gating, normalise: bool, has_bias: bool, has_shared: bool) -> Mixture {
        let mut random = Random(70);
        Mixture {
            router: random_matrix(&mut random, TensorType::F32, EXPERTS, HIDDEN),
            gate: stack(&mut random, tensor_type, EXPERTS, WIDE, HIDDEN),
            up: stack(&mut random, tensor_type, EXPERTS, WIDE, HIDDEN),
            down: stack(&mut random, tensor_type, EXPERTS, HIDDEN, WIDE),
            shared: has_shared.then(|| {
                (Weights::random(tensor_type, true, 71), random_matrix(&mut random, TensorType::F32, 1, HIDDEN))
            }),
            gating,
            normalise,
            has_bias,
            groups: None,
            weighing: Weighing::Output,
            reads_apart: false,
            has_table: false,
            adjugates: None,
        }
    }

    fn experts<B: Backend>(&self, backend: &B) -> Experts<B> {
        let bias = |count: usize, seed| self.has_bias.then(|| Random(seed).values(count));
        Experts {
            norm: Some(norm(backend, NormKind::Rms, NormGroup::Row, Some(&Random(72).values(HIDDEN)), None)),
            router: Router {
                linear: linear(backend, &self.router, None),
                gating: self.gating,
                expert_used_count: 2,
                selection_bias: bias(EXPERTS, 73).map(|values| vector(backend, &values)),
                normalise: self.normalise,
                scale: 1.5,
                groups: self.groups,
                expert_scales: self.reads_apart.then(|| vector(backend, &Random(80).values(EXPERTS))),
                table: self.has_table.then(|| (0..VOCABULARY).flat_map(table_row).collect()),
            },
            gate: Some(linear(backend, &self.gate, bias(EXPERTS * WIDE, 74).as_deref())),
            up: linear(backend, &self.up, bias(EXPERTS * WIDE, 75).as_deref()),
            down: linear(backend, &self.down, bias(EXPERTS * HIDDEN, 76).as_deref()),
            activation: Activation::Silu,
            weighing: self.weighing,
            adjugates: self.adjugates.as_ref().map(|[gate, up, down]| Adjugates {
                gate: linear(backend, gate, None),
                up: linear(backend, up, None),
                down: linear(backend, down, None),
                group_size: 2,
                scale: 0.5,
            }),
            shared: self.shared.as_ref().map(|(weights, _)| FeedForward {
                norm: None,
                post_norm: None,
                ..weights.network(backend, Activation::Silu, false)
            }),
            shared_gate: self.shared.as_ref().map(|(_, gate)| linear(backend, gate, None)),
            sum_scale: 0.5,
            post_norm: None,
            residual_scale: 1.0,
        }
    }
}

fn run_experts<B: Backend>(backend: &mut B, mixture: &Mixture, rows: std::ops::Range<usize>) -> Vec<f32> {
    let count = rows.len();
    backend.reserve(count, WIDE).expect("scratch");
    let experts = mixture.experts(backend);
    let values = Random(77).values(100 * HIDDEN);
    let mut residual = buffer(backend, count, HIDDEN, &values[rows.start * HIDDEN..rows.end * HIDDEN]);
    let routed = Random(78).values(100 * HIDDEN);
    let routed = buffer(backend, count, HIDDEN, &routed[rows.start * HIDDEN..rows.end * HIDDEN]);
    let router = mixture.reads_apart.then_some(&routed);
    let tokens: Vec<u32> = rows.map(|row| row as u32 * 5 % VOCABULARY).collect();
    let input = ExpertsInput { router, tokens: &tokens, ..ExpertsInput::RESIDUAL };
    backend.experts(count, &experts, input, &mut residual);
    read(backend, count, HIDDEN, &residual)
}

#[test]
fn experts_that_a_table_chooses_agree_with_the_reference_and_ignore_the_batch() {
    for tensor_type in [TensorType::F32, TensorType::Q8_0] {
        let mut mixture = Mixture::random(tensor_type, Gating::SqrtSoftplus, true, false, true);
        let by_scores = run_experts(&mut Reference, &mixture, 0..33);
        mixture.has_table = true;
        let what = format!("{tensor_type}, by a table");
        let expected = run_experts(&mut Reference, &mixture, 0..33);
        assert_ne!(expected, by_scores);
        let together = on_every_cpu(&what, |cpu| run_experts(cpu, &mixture, 0..33));
        assert_close(&what, &together, &expected, limit(tensor_type));
        for row in [0, 32] {
            let alone = on_every_cpu(&what, |cpu| run_experts(cpu, &mixture, row..row + 1));
            assert_bits(&format!("{what}, row {row}"), &alone, &together[row * HIDDEN..(row + 1) * HIDDEN]);
        }
    }
}

#[test]
fn experts_agree_with_the_reference_and_ignore_the_batch() {
    for tensor_type in [TensorType::F32, TensorType::Q4_1, TensorType::Q8_0] {
        for (gating, normalise, has_bias, has_shared) in [
            (Gating::Softmax, true, false, false),
            (Gating::Softmax, false, false, true),
            (Gating::Sigmoid, true, true, false),
            (Gating::SoftmaxOfChosen, false, true, false),
            (Gating::SqrtSoftplus, true, true, true),
        ] {
            let mut mixture = Mixture::random(tensor_type, gating, normalise, has_bias, has_shared);
            // Two of three groups of two experts for some, weighted inputs for others.
            mixture.groups = normalise.then_some(ExpertGroups { count: 3, used_count: 2 });
            mixture.weighing = if has_bias { Weighing::Input } else { Weighing::Output };
            mixture.reads_apart = gating == Gating::SqrtSoftplus;
            let (mut random, count) = (Random(79), EXPERTS / 2);
            let (wide, narrow) = ((count, WIDE, HIDDEN), (count, HIDDEN, WIDE));
            mixture.adjugates = (gating == Gating::Softmax).then(|| {
                [wide, wide, narrow].map(|(count, rows, columns)| stack(&mut random, tensor_type, count, rows, columns))
            });
            let what = format!("{tensor_type} {gating:?} shared {has_shared}");
            let expected = run_experts(&mut Reference, &mixture, 0..33);
            let together = on_every_cpu(&what, |cpu| run_experts(cpu, &mixture, 0..33));
            assert_close(&what, &together, &expected, limit(tensor_type));
            for row in [0, 16, 32] {
                let alone = on_every_cpu(&what, |cpu| run_experts(cpu, &mixture, row..row + 1));
                assert_bits(&format!("{what}, row {row}"), &alone, &together[row * HIDDEN..(row + 1) * HIDDEN]);
            }
        }
    }
}
