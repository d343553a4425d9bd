//! Attention over compressed keys and values.

use lair_compute::reference::Reference;
use lair_compute::{
    Attention, Backend, Batch, GateFunction, GateSpan, KeyStorage, KvElement, KvLayerLayout, KvLayout, LatentAttention,
    LatentBuffers, Mask, NormGroup, NormKind, NormOrder, OutputGate, PAGE_LENGTH, RopeStyle, RopeTable,
};
use lair_quant::TensorType;

use crate::build::{Random, buffer, linear, norm, page_tables, sequences, stack};
use crate::{assert_bits, assert_close, on_every_cpu, read};

const HEADS: usize = 5;
const RANK: usize = 64;
const ROPE: usize = 16;
const VALUE: usize = 48;

/// What varies between cases.
#[derive(Clone, Copy)]
struct Case {
    tensor_type: TensorType,
    nope_dim: usize,
    gate: Option<OutputGate>,
    element: KvElement,
}

fn layer<B: Backend>(backend: &B, case: &Case) -> LatentAttention<B> {
    let mut random = Random(90);
    let frequencies = (0..ROPE / 2).map(|index| 100f32.powf(-2.0 * index as f32 / ROPE as f32)).collect();
    let rope = RopeTable { style: RopeStyle::Interleaved, frequencies, magnitude: 1.0, first: RANK };
    LatentAttention {
        attention: Attention {
            kv_layer: 0,
            head_count: HEADS,
            kv_head_count: 1,
            key_dim: RANK + ROPE,
            value_dim: RANK,
            q_norm: None,
            k_norm: None,
            v_norm: None,
            norm_order: NormOrder::BeforeRope,
            rope: Some(rope),
            scale: 0.1,
            clamp: None,
            softcap: None,
            mask: Mask::Causal,
            sinks: None,
            key_constant: None,
            relative_bias: None,
            alibi_slopes: None,
            key_storage: KeyStorage::BehindValue,
            temperature: None,
            gate: case.gate.unwrap_or(OutputGate::SIGMOID),
        },
        kv_norm: Some(norm(backend, NormKind::Rms, NormGroup::Row, Some(&random.values(RANK)), None)),
        rope_norm: case.gate.map(|_| norm(backend, NormKind::Rms, NormGroup::Row, Some(&random.values(ROPE)), None)),
        nope_dim: case.nope_dim,
        rope_dim: ROPE,
        k_up: (case.nope_dim > 0)
            .then(|| linear(backend, &stack(&mut random, case.tensor_type, HEADS, RANK, case.nope_dim), None)),
        v_up: linear(backend, &stack(&mut random, case.tensor_type, HEADS, VALUE, RANK), None),
        value_dim: VALUE,
    }
}

/// Positions `0..length` in steps that end at `ends`; the outputs of all.
fn run<B: Backend>(backend: &mut B, case: &Case, ends: &[usize]) -> Vec<f32> {
    let length = ends[ends.len() - 1];
    let (q_width, gate_width) = (HEADS * (case.nope_dim + ROPE), case.gate.map_or(1, |gate| gate.width(HEADS, VALUE)));
    backend.reserve(length, HEADS * (RANK + ROPE)).expect("scratch");
    let layer = layer(backend, case);
    let kv_layer = KvLayerLayout { kv_head_count: 1, key_dim: ROPE, value_dim: RANK };
    let pages = length.div_ceil(PAGE_LENGTH);
    let layout = KvLayout { layers: vec![kv_layer], element: case.element, page_count: pages };
    let mut kv = backend.kv(&layout).expect("a cache");
    let tables = page_tables(1, pages);
    let mut random = Random(91);
    let (q, latent, gate) =
        (random.values(length * q_width), random.values(length * (RANK + ROPE)), random.values(length * gate_width));
    let (mut outputs, mut start) = (Vec::new(), 0);
    for &end in ends {
        let rows = end - start;
        let part = |values: &[f32], width: usize| values[start * width..end * width].to_vec();
        let q = buffer(backend, rows, q_width, &part(&q, q_width));
        let mut latent = buffer(backend, rows, RANK + ROPE, &part(&latent, RANK + ROPE));
        let gate = buffer(backend, rows, gate_width, &part(&gate, gate_width));
        let room = |width| backend.buffer(rows, width).expect("a buffer");
        let (mut values, mut absorbed) = (room(RANK), room(HEADS * (RANK + ROPE)));
        let (mut mixed, mut output) = (room(HEADS * RANK), room(HEADS * VALUE));
        let sequences = sequences(&[(start, rows)], &tables);
        let batch = Batch { tokens: &vec![0; rows], sequences: &sequences };
        let buffers = LatentBuffers {
            q: &q,
            latent: &mut latent,
            values: &mut values,
            absorbed: &mut absorbed,
            mixed: &mut mixed,
            chosen: None,
            gate: case.gate.map(|_| &gate),
            output: &mut output,
        };
        backend.latent_attention(&batch, &layer, &mut kv, buffers);
        outputs.extend(read(backend, rows, HEADS * VALUE, &output));
        start = end;
    }
    outputs
}

#[test]
fn latent_attention_agrees_with_the_reference_and_ignores_how_it_is_cut() {
    let head_gate = OutputGate { function: GateFunction::Sigmoid, span: GateSpan::Head };
    for (tensor_type, limit) in [(TensorType::F32, 1e-9), (TensorType::Q8_0, 1e-2), (TensorType::Q4_0, 1e-2)] {
        for (nope_dim, gate) in [(32, None), (0, Some(OutputGate::SIGMOID)), (64, Some(head_gate))] {
            let case = Case { tensor_type, nope_dim, gate, element: KvElement::F32 };
            let what = format!("{tensor_type}, {nope_dim} compared, gate {gate:?}");
            let expected = run(&mut Reference, &case, &[300]);
            let whole = on_every_cpu(&what, |cpu| run(cpu, &case, &[300]));
            assert_close(&what, &whole, &expected, limit);
            let cut = on_every_cpu(&what, |cpu| run(cpu, &case, &[1, 2, 40, 299, 300]));
            assert_bits(&what, &cut, &whole);
        }
    }
}

#[test]
fn latents_may_be_kept_in_every_type() {
    for (element, limit) in [(KvElement::F16, 1e-6), (KvElement::Q8_0, 1e-3), (KvElement::Q4_0, 5e-2)] {
        let case = Case { tensor_type: TensorType::F32, nope_dim: 32, gate: None, element };
        let what = format!("{element:?}");
        let expected = run(&mut Reference, &case, &[300]);
        let whole = on_every_cpu(&what, |cpu| run(cpu, &case, &[300]));
        assert_close(&what, &whole, &expected, limit);
        let cut = on_every_cpu(&what, |cpu| run(cpu, &case, &[1, 2, 40, 299, 300]));
        assert_bits(&what, &cut, &whole);
    }
}
