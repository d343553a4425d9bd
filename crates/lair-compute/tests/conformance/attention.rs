//! The attention region.

use lair_compute::reference::Reference;
use lair_compute::{
    Attention, AttentionBuffers, Backend, Batch, GateFunction, GateSpan, KeyStorage, KvElement, KvLayerLayout,
    KvLayout, Mask, NormGroup, NormKind, NormOrder, OutputGate, RelativeBias, RopeStyle, RopeTable, Temperature,
};

use crate::build::{Random, buffer, norm, page_tables, sequences, vector};
use crate::{assert_bits, assert_close, on_every_cpu, read};

/// What varies between cases.
#[derive(Clone)]
struct Case {
    heads: usize,
    kv_heads: usize,
    key_dim: usize,
    value_dim: usize,
    mask: Mask,
    norm: Option<(NormGroup, NormOrder)>,
    rope: Option<(RopeStyle, usize)>,
    softcap: Option<f32>,
    has_sinks: bool,
    has_alibi: bool,
    has_constant: bool,
    has_gate: bool,
    gate: OutputGate,
    temperature: Option<Temperature>,
    clamp: Option<f32>,
    bias_reach: Option<usize>,
    element: KvElement,
}

const PLAIN: Case = Case {
    heads: 6,
    kv_heads: 2,
    key_dim: 16,
    value_dim: 16,
    mask: Mask::Causal,
    norm: None,
    rope: Some((RopeStyle::HalfSplit, 16)),
    softcap: None,
    has_sinks: false,
    has_alibi: false,
    has_constant: false,
    has_gate: false,
    gate: OutputGate::SIGMOID,
    temperature: None,
    clamp: None,
    bias_reach: None,
    element: KvElement::F32,
};

fn gate(function: GateFunction, span: GateSpan) -> OutputGate {
    OutputGate { function, span }
}

fn cases() -> Vec<(&'static str, Case)> {
    let row_norm = Some((NormGroup::Row, NormOrder::AfterRope));
    let head_norm = Some((NormGroup::Run(16), NormOrder::BeforeRope));
    vec![
        ("plain", PLAIN),
        ("interleaved rope", Case { rope: Some((RopeStyle::Interleaved, 16)), ..PLAIN }),
        (
            "partial rope, unequal dims",
            Case { key_dim: 24, value_dim: 8, rope: Some((RopeStyle::HalfSplit, 8)), ..PLAIN },
        ),
        ("no rope, one head each", Case { heads: 3, kv_heads: 3, rope: None, ..PLAIN }),
        ("one kv head", Case { heads: 5, kv_heads: 1, ..PLAIN }),
        ("head norm", Case { norm: head_norm, ..PLAIN }),
        ("row norm after rope", Case { norm: row_norm, ..PLAIN }),
        ("window", Case { mask: Mask::Window(5), ..PLAIN }),
        ("window wider than a page", Case { mask: Mask::Window(21), ..PLAIN }),
        ("chunk", Case { mask: Mask::Chunk(24), ..PLAIN }),
        ("both directions", Case { mask: Mask::Bidirectional, ..PLAIN }),
        ("around", Case { mask: Mask::Around(7), ..PLAIN }),
        ("around, wider than a page", Case { mask: Mask::Around(19), ..PLAIN }),
        ("alibi in both directions", Case { mask: Mask::Bidirectional, has_alibi: true, rope: None, ..PLAIN }),
        ("softcap", Case { softcap: Some(2.0), ..PLAIN }),
        ("sinks", Case { has_sinks: true, ..PLAIN }),
        ("alibi", Case { has_alibi: true, rope: None, ..PLAIN }),
        ("gate", Case { has_gate: true, ..PLAIN }),
        ("softplus gate", Case { has_gate: true, gate: gate(GateFunction::Softplus, GateSpan::Element), ..PLAIN }),
        ("gate of heads", Case { has_gate: true, gate: gate(GateFunction::Sigmoid, GateSpan::Head), ..PLAIN }),
        (
            "softplus gate of heads",
            Case { has_gate: true, gate: gate(GateFunction::Softplus, GateSpan::Head), ..PLAIN },
        ),
        ("temperature", Case { temperature: Some(Temperature { length: 7, scale: 0.3, offset: 1 }), ..PLAIN }),
        ("biases by distance", Case { bias_reach: Some(9), ..PLAIN }),
        ("biases by distance on both sides", Case { bias_reach: Some(9), mask: Mask::Bidirectional, ..PLAIN }),
        ("q8 biases by distance", Case { element: KvElement::Q8_0, bias_reach: Some(9), ..PLAIN }),
        ("clamped", Case { clamp: Some(0.5), norm: head_norm, ..PLAIN }),
        ("large heads", Case { heads: 4, kv_heads: 2, key_dim: 128, value_dim: 128, ..PLAIN }),
        ("odd dims", Case { key_dim: 20, value_dim: 12, rope: None, ..PLAIN }),
        ("f16", Case { element: KvElement::F16, ..PLAIN }),
        ("f16 window", Case { element: KvElement::F16, mask: Mask::Window(18), key_dim: 64, value_dim: 64, ..PLAIN }),
        ("q8", Case { element: KvElement::Q8_0, ..PLAIN }),
        (
            "q8, heads of 64",
            Case { element: KvElement::Q8_0, heads: 8, kv_heads: 1, key_dim: 64, value_dim: 64, ..PLAIN },
        ),
        ("q8, heads of 100 and 72", Case { element: KvElement::Q8_0, key_dim: 100, value_dim: 72, ..PLAIN }),
        ("q8 window", Case { element: KvElement::Q8_0, mask: Mask::Window(18), ..PLAIN }),
        ("q8 sinks", Case { element: KvElement::Q8_0, has_sinks: true, ..PLAIN }),
        ("q8 softcap and gate", Case { element: KvElement::Q8_0, softcap: Some(2.0), has_gate: true, ..PLAIN }),
        ("q8 constant", Case { element: KvElement::Q8_0, has_constant: true, rope: None, ..PLAIN }),
        ("q4 constant", Case { element: KvElement::Q4_0, has_constant: true, rope: None, ..PLAIN }),
        ("f16 constant", Case { element: KvElement::F16, has_constant: true, rope: None, ..PLAIN }),
        ("q8 alibi", Case { element: KvElement::Q8_0, has_alibi: true, rope: None, ..PLAIN }),
        ("q8 around", Case { element: KvElement::Q8_0, mask: Mask::Around(18), ..PLAIN }),
        ("q8 both directions", Case { element: KvElement::Q8_0, mask: Mask::Bidirectional, ..PLAIN }),
        ("q4", Case { element: KvElement::Q4_0, ..PLAIN }),
        (
            "q4, heads of 128",
            Case { element: KvElement::Q4_0, heads: 7, kv_heads: 1, key_dim: 128, value_dim: 128, ..PLAIN },
        ),
        ("q4, heads of 100 and 72", Case { element: KvElement::Q4_0, key_dim: 100, value_dim: 72, ..PLAIN }),
        ("q4 chunk", Case { element: KvElement::Q4_0, mask: Mask::Chunk(24), ..PLAIN }),
        ("q4, odd dims", Case { element: KvElement::Q4_0, key_dim: 21, value_dim: 13, rope: None, ..PLAIN }),
        ("q8, odd dims", Case { element: KvElement::Q8_0, key_dim: 21, value_dim: 13, rope: None, ..PLAIN }),
        (
            "q8, heads of 576 and 512",
            Case { element: KvElement::Q8_0, heads: 5, kv_heads: 1, key_dim: 576, value_dim: 512, ..PLAIN },
        ),
    ]
}

/// The error that a type of keys and values may have against the reference, which keeps F32: normalised mean squared.
/// Codes of uniform random numbers are off by 1/sqrt(12) of a step, a step being 1/127 or 1/8 of the largest.
fn limit(element: KvElement) -> f64 {
    match element {
        KvElement::F32 => 1e-10,
        KvElement::F16 => 1e-6,
        KvElement::Q8_0 => 2e-4,
        KvElement::Q4_0 => 5e-2,
    }
}

/// The activations of one step: rows of q, k, v and gate.
struct Step {
    shape: Vec<(usize, usize)>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    gate: Vec<f32>,
}

impl Step {
    fn random(case: &Case, shape: &[(usize, usize)], seed: u64) -> Step {
        let rows: usize = shape.iter().map(|(_, rows)| rows).sum();
        let mut random = Random(seed);
        let mut step = Step {
            shape: shape.to_vec(),
            q: random.values(rows * case.heads * case.key_dim),
            k: random.values(rows * case.kv_heads * case.key_dim),
            v: random.values(rows * case.kv_heads * case.value_dim),
            gate: random.values(rows * case.gate.width(case.heads, case.value_dim)),
        };
        if case.has_constant {
            step.k.iter_mut().zip(key_constant(case).iter().cycle()).for_each(|(key, constant)| *key += constant);
        }
        step
    }

    /// Rows `range` of a step of one sequence.
    fn part(&self, case: &Case, range: std::ops::Range<usize>) -> Step {
        let cut = |values: &[f32], width: usize| values[range.start * width..range.end * width].to_vec();
        Step {
            shape: vec![(self.shape[0].0 + range.start, range.len())],
            q: cut(&self.q, case.heads * case.key_dim),
            k: cut(&self.k, case.kv_heads * case.key_dim),
            v: cut(&self.v, case.kv_heads * case.value_dim),
            gate: cut(&self.gate, case.gate.width(case.heads, case.value_dim)),
        }
    }
}

/// What all keys have in common: far more than what tells them apart.
fn key_constant(case: &Case) -> Vec<f32> {
    Random(54).values(case.kv_heads * case.key_dim).iter().map(|x| 40.0 * x).collect()
}

fn layer<B: Backend>(backend: &B, case: &Case) -> Attention<B> {
    let make_norm = |heads: usize, seed| {
        case.norm.map(|(group, _)| {
            let length = if let NormGroup::Run(length) = group { length } else { heads * case.key_dim };
            norm(backend, NormKind::Rms, group, Some(&Random(seed).values(length)), None)
        })
    };
    Attention {
        kv_layer: 1,
        head_count: case.heads,
        kv_head_count: case.kv_heads,
        key_dim: case.key_dim,
        value_dim: case.value_dim,
        clamp: case.clamp,
        q_norm: make_norm(case.heads, 51),
        k_norm: make_norm(case.kv_heads, 52),
        v_norm: None,
        norm_order: case.norm.map_or(NormOrder::BeforeRope, |(_, order)| order),
        rope: case.rope.map(|(style, dims)| RopeTable {
            style,
            frequencies: (0..dims / 2).map(|index| 10000f32.powf(-2.0 * index as f32 / dims as f32)).collect(),
            magnitude: 1.25,
            first: 0,
        }),
        scale: 1.0 / (case.key_dim as f32).sqrt() * 4.0,
        softcap: case.softcap,
        mask: case.mask,
        sinks: case.has_sinks.then(|| vector(backend, &Random(53).values(case.heads))),
        key_constant: case.has_constant.then(|| key_constant(case)),
        relative_bias: case
            .bias_reach
            .map(|reach| RelativeBias { reach, values: Random(55).values(case.heads * (2 * reach + 1)) }),
        alibi_slopes: case.has_alibi.then(|| (0..case.heads).map(|head| 0.5f32.powi(head as i32)).collect()),
        key_storage: KeyStorage::Whole,
        temperature: case.temperature,
        gate: case.gate,
    }
}

/// Runs steps after each other on one cache and gives the output of the last, or of all.
fn run<B: Backend>(backend: &mut B, case: &Case, steps: &[Step]) -> Vec<f32> {
    let sequence_count = steps.iter().map(|step| step.shape.len()).max().unwrap_or(1);
    let end = |step: &Step| step.shape.iter().map(|(first, rows)| first + rows).max().unwrap_or(1);
    let pages = steps.iter().map(end).max().unwrap_or(1).div_ceil(lair_compute::PAGE_LENGTH);
    let tables = page_tables(sequence_count, pages);
    let layer = layer(backend, case);
    let kv_layout = KvLayerLayout { kv_head_count: case.kv_heads, key_dim: case.key_dim, value_dim: case.value_dim };
    let layout = KvLayout { layers: vec![kv_layout; 2], element: case.element, page_count: sequence_count * pages };
    let mut kv = backend.kv(&layout).expect("a cache");
    let mut outputs = Vec::new();
    for step in steps {
        let rows: usize = step.shape.iter().map(|(_, rows)| rows).sum();
        backend.reserve(rows, case.heads * case.key_dim.max(case.value_dim)).expect("scratch");
        let mut q = buffer(backend, rows, case.heads * case.key_dim, &step.q);
        let mut k = buffer(backend, rows, case.kv_heads * case.key_dim, &step.k);
        let mut v = buffer(backend, rows, case.kv_heads * case.value_dim, &step.v);
        let gate = buffer(backend, rows, case.gate.width(case.heads, case.value_dim), &step.gate);
        let mut output = backend.buffer(rows, case.heads * case.value_dim).expect("a buffer");
        let sequences = sequences(&step.shape, &tables);
        let batch = Batch { tokens: &vec![0; rows], sequences: &sequences };
        let buffers = AttentionBuffers {
            q: &mut q,
            kv: Some((&mut k, &mut v)),
            gate: case.has_gate.then_some(&gate),
            chosen: None,
            output: &mut output,
        };
        backend.attention(&batch, &layer, &mut kv, buffers);
        outputs.extend(read(backend, rows, case.heads * case.value_dim, &output));
    }
    outputs
}

#[test]
fn attention_agrees_with_the_reference() {
    for (name, case) in cases() {
        let steps = [
            Step::random(&case, &[(0, 1), (0, 37), (0, 16), (0, 17)], 1),
            Step::random(&case, &[(1, 1), (37, 1), (16, 33), (17, 2)], 2),
        ];
        let expected = run(&mut Reference, &case, &steps);
        let actual = on_every_cpu(name, |cpu| run(cpu, &case, &steps));
        assert_close(name, &actual, &expected, limit(case.element));
    }
}

#[test]
fn attention_does_not_depend_on_how_a_prompt_is_cut() {
    for (name, case) in cases() {
        if case.mask.sees_what_follows() {
            continue; // What a row sees depends on the step there, by definition.
        }
        let whole = Step::random(&case, &[(0, 90)], 3);
        let expected = on_every_cpu(name, |cpu| run(cpu, &case, &[whole.part(&case, 0..90)]));
        for cuts in [vec![0, 1, 2, 90], vec![0, 16, 32, 48, 90], vec![0, 15, 33, 89, 90]] {
            let steps: Vec<Step> = cuts.windows(2).map(|cut| whole.part(&case, cut[0]..cut[1])).collect();
            let actual = on_every_cpu(name, |cpu| run(cpu, &case, &steps));
            assert_bits(&format!("{name}, cut at {cuts:?}"), &actual, &expected);
        }
    }
}

/// Lengths about the ends of pages, spans and rounds of spans; several spans on several threads.
#[test]
fn long_sequences_agree_with_the_reference_however_they_are_cut() {
    let wide = Case { heads: 4, kv_heads: 1, rope: None, ..PLAIN };
    for (name, case) in [
        ("f32", wide.clone()),
        ("f16, window", Case { element: KvElement::F16, mask: Mask::Window(300), ..wide.clone() }),
        ("q8", Case { element: KvElement::Q8_0, key_dim: 64, value_dim: 64, ..wide.clone() }),
        ("q8, window", Case { element: KvElement::Q8_0, mask: Mask::Window(257), ..wide.clone() }),
        (
            "q8, chunk and sinks",
            Case { element: KvElement::Q8_0, mask: Mask::Chunk(400), has_sinks: true, ..wide.clone() },
        ),
        ("q4, one head each", Case { element: KvElement::Q4_0, heads: 2, kv_heads: 2, ..wide }),
    ] {
        let whole = Step::random(&case, &[(0, 771)], 5);
        let expected = on_every_cpu(name, |cpu| run(cpu, &case, &[whole.part(&case, 0..771)]));
        for cuts in [vec![0, 255, 256, 257, 770, 771], vec![0, 1, 16, 511, 513, 768, 769, 771]] {
            let steps: Vec<Step> = cuts.windows(2).map(|cut| whole.part(&case, cut[0]..cut[1])).collect();
            let actual = on_every_cpu(name, |cpu| run(cpu, &case, &steps));
            assert_bits(&format!("{name}, cut at {cuts:?}"), &actual, &expected);
        }
        let reference = run(&mut Reference, &case, &[whole.part(&case, 0..771)]);
        assert_close(name, &expected, &reference, limit(case.element));
    }
}

/// A fault reaches the rows that see it, and no other, whatever shares their pages and strips.
#[test]
fn faults_are_seen_where_they_are_and_nowhere_else() {
    let at = 21;
    for element in [KvElement::F32, KvElement::F16, KvElement::Q8_0, KvElement::Q4_0] {
        for heads in [2, 6] {
            let case = Case { element, heads, key_dim: 64, value_dim: 64, rope: None, ..PLAIN };
            let clean = Step::random(&case, &[(0, 40)], 12);
            let width = case.heads * case.value_dim;
            let expected = on_every_cpu("clean", |cpu| run(cpu, &case, &[clean.part(&case, 0..40)]));
            for (fault, in_keys) in [(f32::NAN, true), (f32::NAN, false), (f32::INFINITY, false)] {
                let mut step = clean.part(&case, 0..40);
                let (values, dim) = if in_keys { (&mut step.k, case.key_dim) } else { (&mut step.v, case.value_dim) };
                values[at * case.kv_heads * dim + 3] = fault;
                for (form, mut cpu) in crate::cpus() {
                    let what = format!("{element:?}, {heads} heads, {fault} in keys: {in_keys}, {form}");
                    let actual = run(&mut cpu, &case, &[step.part(&case, 0..40)]);
                    assert_bits(&what, &actual[..at * width], &expected[..at * width]);
                    for row in actual[at * width..].chunks_exact(width) {
                        assert!(row[..width / 2].iter().any(|value| !value.is_finite()), "{what}: a fault is hidden");
                        assert!(row[width / 2..].iter().all(|value| value.is_finite()), "{what}: the other head's");
                    }
                }
            }
        }
    }
}

/// Scales of zero, and the largest and smallest of what blocks hold.
#[test]
fn heads_of_zeros_and_of_extremes_agree_with_the_reference() {
    for element in [KvElement::F32, KvElement::F16, KvElement::Q8_0, KvElement::Q4_0] {
        for factor in [0.0, 1e-30, 1e-3, 1e4] {
            let case = Case { element, rope: None, ..PLAIN };
            let mut step = Step::random(&case, &[(0, 20)], 14);
            step.v.iter_mut().for_each(|value| *value *= factor);
            step.k[..16 * 32].fill(0.0);
            let expected = run(&mut Reference, &case, &[step.part(&case, 0..20)]);
            let actual = on_every_cpu("extremes", |cpu| run(cpu, &case, &[step.part(&case, 0..20)]));
            let largest = expected.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            for (a, b) in actual.iter().zip(&expected) {
                // Below the smallest step of half precision, values are zero.
                assert!((a - b).abs() <= 0.35 * largest + 1e-6, "{element:?}, {factor}: {a} and {b}");
            }
            if factor >= 1e-3 {
                assert_close("extremes", &actual, &expected, limit(element).max(1e-6));
            }
        }
    }
}

#[test]
fn copied_pages_hold_the_same_keys_and_values() {
    fn run_with_copy<B: Backend>(backend: &mut B, case: &Case, copy: bool) -> Vec<f32> {
        use lair_compute::PageId;
        let layer = layer(backend, case);
        let kv_layout =
            KvLayerLayout { kv_head_count: case.kv_heads, key_dim: case.key_dim, value_dim: case.value_dim };
        let layout = KvLayout { layers: vec![kv_layout; 2], element: case.element, page_count: 4 };
        let mut kv = backend.kv(&layout).expect("a cache");
        backend.reserve(20, case.heads * case.key_dim).expect("scratch");
        let first = Step::random(case, &[(0, 20)], 8);
        let second = Step::random(case, &[(20, 1)], 9);
        let mut result = Vec::new();
        for (step, table) in
            [(&first, [PageId(0), PageId(1)]), (&second, [PageId(0), PageId(if copy { 3 } else { 1 })])]
        {
            let rows = step.shape[0].1;
            let mut q = buffer(backend, rows, case.heads * case.key_dim, &step.q);
            let mut k = buffer(backend, rows, case.kv_heads * case.key_dim, &step.k);
            let mut v = buffer(backend, rows, case.kv_heads * case.value_dim, &step.v);
            let mut output = backend.buffer(rows, case.heads * case.value_dim).expect("a buffer");
            let tables = [table.to_vec()];
            let sequences = sequences(&step.shape, &tables);
            let batch = Batch { tokens: &vec![0; rows], sequences: &sequences };
            let buffers = AttentionBuffers {
                q: &mut q,
                kv: Some((&mut k, &mut v)),
                gate: None,
                chosen: None,
                output: &mut output,
            };
            backend.attention(&batch, &layer, &mut kv, buffers);
            result = read(backend, rows, case.heads * case.value_dim, &output);
            backend.copy_page(&mut kv, PageId(1), PageId(3));
        }
        result
    }
    for element in [KvElement::F32, KvElement::F16, KvElement::Q8_0, KvElement::Q4_0] {
        let case = Case { element, ..PLAIN };
        let plain = on_every_cpu("plain", |cpu| run_with_copy(cpu, &case, false));
        let copied = on_every_cpu("copied", |cpu| run_with_copy(cpu, &case, true));
        assert_bits("a copied page", &copied, &plain);
        let expected = run_with_copy(&mut Reference, &case, true);
        assert_close("a copied page", &copied, &expected, limit(element));
    }
}
