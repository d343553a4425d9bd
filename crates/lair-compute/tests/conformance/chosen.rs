//! Keys that are chosen, and compressed keys: attention to them agrees with the reference, however prompts are cut.

use lair_compute::reference::Reference;
use lair_compute::{
    Attention, AttentionBuffers, Backend, Batch, CompressedAttention, CompressedAttentionBuffers, CompressedKeys,
    CompressedStorage, KeyChooser, KeyChooserBuffers, KeyCompressor, KeyCompressorBuffers, KeyScoring, KeyStorage,
    KeyUnit, KvElement, KvLayerLayout, KvLayout, Mask, NormGroup, NormKind, NormOrder, OutputGate, PAGE_LENGTH,
    RopeStyle, RopeTable, StateLayerLayout, StateLayout, compressor_history,
};
use lair_quant::TensorType;

use crate::build::{Random, buffer, linear, norm, page_tables, sequences, stack, vector};
use crate::{assert_bits, assert_close, on_every_cpu, read};

const HEADS: usize = 6;
const KV_HEADS: usize = 2;
const DIM: usize = 32;
const INDEX_HEADS: usize = 11;
const INDEX_DIM: usize = 40;
const LENGTH: usize = 530;

fn rope(first: usize) -> RopeTable {
    let frequencies = (0..4).map(|index| 100f32.powf(-0.25 * index as f32)).collect();
    RopeTable { style: RopeStyle::Interleaved, frequencies, magnitude: 1.0, first }
}

fn plain_attention<B: Backend>(kv_heads: usize) -> Attention<B> {
    Attention {
        kv_layer: 0,
        head_count: HEADS,
        kv_head_count: kv_heads,
        key_dim: DIM,
        value_dim: DIM,
        q_norm: None,
        k_norm: None,
        v_norm: None,
        norm_order: NormOrder::BeforeRope,
        rope: Some(rope(0)),
        scale: 0.3,
        clamp: None,
        softcap: None,
        mask: Mask::Causal,
        sinks: None,
        key_constant: None,
        relative_bias: None,
        alibi_slopes: None,
        key_storage: KeyStorage::Whole,
        temperature: None,
        gate: OutputGate::SIGMOID,
    }
}

/// What chooses, of how many.
#[derive(Clone, Copy, Debug)]
struct Case {
    scoring: KeyScoring,
    unit: KeyUnit,
    chosen_count: usize,
    element: KvElement,
}

impl Case {
    fn index_heads(&self) -> usize {
        if self.scoring == KeyScoring::EachHead { KV_HEADS } else { INDEX_HEADS }
    }

    /// Keys of runs are means where scores are plain sums, so that both are tried.
    fn has_gates(&self) -> bool {
        self.scoring == KeyScoring::Weighed
    }

    /// Positions of a run, where a compressor makes its key.
    fn run_length(&self) -> Option<usize> {
        match self.unit {
            KeyUnit::Pool { length, .. } | KeyUnit::Compressed { length } => Some(length),
            _ => None,
        }
    }
}

fn chooser<B: Backend>(backend: &B, case: &Case) -> KeyChooser<B> {
    let mut random = Random(61);
    let weights = random.values(INDEX_DIM);
    KeyChooser {
        kv_layer: 1,
        head_count: case.index_heads(),
        head_dim: INDEX_DIM,
        q_norm: None,
        k_norm: Some(norm(backend, NormKind::Layer, NormGroup::Row, Some(&weights), Some(&random.values(INDEX_DIM)))),
        rope: Some(rope(INDEX_DIM - 8)),
        scoring: case.scoring,
        unit: case.unit,
        chosen_count: case.chosen_count,
    }
}

fn compressor<B: Backend>(
    backend: &B,
    length: usize,
    dim: usize,
    (overlaps, has_gates): (bool, bool),
) -> KeyCompressor<B> {
    let mut random = Random(62);
    let mut layer = KeyCompressor {
        state_layer: 0,
        kv_layer: 1,
        length,
        overlaps,
        dim,
        gate_bias: None,
        norm: Some(norm(backend, NormKind::Rms, NormGroup::Row, Some(&random.values(dim)), None)),
        rope: Some(rope(dim - 8)),
        storage: CompressedStorage::Key,
    };
    layer.gate_bias = has_gates.then(|| vector(backend, &random.values(length * layer.width())));
    layer
}

/// Rows of all positions, cut to steps.
struct Inputs(Vec<(usize, Vec<f32>)>);

impl Inputs {
    fn new(seed: u64, widths: &[usize]) -> Inputs {
        let mut random = Random(seed);
        Inputs(widths.iter().map(|width| (*width, random.values(LENGTH * width))).collect())
    }

    fn step<B: Backend>(&self, backend: &mut B, start: usize, end: usize) -> Vec<B::Buffer> {
        let rows = |(width, values): &(usize, Vec<f32>)| (*width, values[start * width..end * width].to_vec());
        self.0.iter().map(rows).map(|(width, values)| buffer(backend, end - start, width, &values)).collect()
    }
}

fn memory<B: Backend>(
    backend: &B,
    layers: Vec<KvLayerLayout>,
    element: KvElement,
    history: usize,
) -> (B::Kv, B::States) {
    let kv = KvLayout { layers, element, page_count: LENGTH.div_ceil(PAGE_LENGTH) };
    let states =
        StateLayout { layers: vec![StateLayerLayout { conv_length: history, recurrent_length: 0 }], slot_count: 1 };
    (backend.kv(&kv).expect("a cache"), backend.states(&states).expect("states"))
}

/// Attention to chosen keys over all positions, in steps that end at `ends`.
fn run<B: Backend>(backend: &mut B, case: &Case, ends: &[usize]) -> Vec<f32> {
    let (attention, chooser) = (plain_attention::<B>(KV_HEADS), chooser(backend, case));
    let compressor = case.run_length().map(|length| compressor(backend, length, INDEX_DIM, (false, case.has_gates())));
    let layers = vec![
        KvLayerLayout { kv_head_count: KV_HEADS, key_dim: DIM, value_dim: DIM },
        KvLayerLayout { kv_head_count: 1, key_dim: INDEX_DIM, value_dim: 0 },
    ];
    let history = compressor_history(case.run_length().unwrap_or(1), INDEX_DIM, false, case.has_gates());
    let (mut kv, mut states) = memory(backend, layers, case.element, history);
    let mut chosen = backend.chosen(LENGTH, KV_HEADS, LENGTH).expect("room for choices");
    let heads = case.index_heads();
    let widths = [HEADS * DIM, KV_HEADS * DIM, KV_HEADS * DIM, heads * INDEX_DIM, INDEX_DIM, INDEX_DIM, heads];
    let inputs = Inputs::new(63, &widths);
    let tables = page_tables(1, LENGTH.div_ceil(PAGE_LENGTH));
    let (mut outputs, mut start) = (Vec::new(), 0);
    for &end in ends {
        let rows = end - start;
        let mut step = inputs.step(backend, start, end);
        let sequences = sequences(&[(start, rows)], &tables);
        let batch = Batch { tokens: &vec![0; rows], sequences: &sequences };
        let [q, k, v, index_q, index_k, gates, weights] = &mut step[..] else { unreachable!("as many as widths") };
        if let Some(compressor) = &compressor {
            let mut output = backend.buffer(rows, INDEX_DIM).expect("a buffer");
            let gates = case.has_gates().then_some(gates);
            let buffers = KeyCompressorBuffers { values: index_k, gates, output: &mut output };
            backend.compress_keys(&batch, compressor, &mut states, &mut kv, buffers);
        }
        let buffers = KeyChooserBuffers {
            q: index_q,
            k: compressor.is_none().then_some(index_k),
            weights: (case.scoring == KeyScoring::Weighed).then_some(&*weights),
        };
        backend.choose_keys(&batch, &chooser, &mut kv, buffers, &mut chosen);
        let mut output = backend.buffer(rows, HEADS * DIM).expect("a buffer");
        let buffers = AttentionBuffers { q, kv: Some((k, v)), gate: None, chosen: Some(&chosen), output: &mut output };
        backend.attention(&batch, &attention, &mut kv, buffers);
        outputs.extend(read(backend, rows, HEADS * DIM, &output));
        start = end;
    }
    outputs
}

#[test]
fn attention_to_chosen_keys_agrees_with_the_reference_and_ignores_how_it_is_cut() {
    let cases = [
        (KeyScoring::Weighed, KeyUnit::Key, 21),
        (KeyScoring::Weighed, KeyUnit::Key, LENGTH),
        (KeyScoring::EachHead, KeyUnit::Block { length: 8, local_count: 1 }, 5),
        (KeyScoring::EachHead, KeyUnit::Block { length: 8, local_count: 0 }, 5),
        (KeyScoring::Weighed, KeyUnit::Pool { length: 4, takes_rest: true }, 7),
        (KeyScoring::Summed, KeyUnit::Pool { length: 4, takes_rest: true }, 7),
        (KeyScoring::Summed, KeyUnit::Key, 21),
    ];
    for (scoring, unit, chosen_count) in cases {
        let case = Case { scoring, unit, chosen_count, element: KvElement::F32 };
        let what = format!("{case:?}");
        let expected = run(&mut Reference, &case, &[LENGTH]);
        let whole = on_every_cpu(&what, |cpu| run(cpu, &case, &[LENGTH]));
        assert_close(&what, &whole, &expected, 1e-9);
        let cut = on_every_cpu(&what, |cpu| run(cpu, &case, &[1, 2, 40, 299, 300, 303, LENGTH]));
        assert_bits(&what, &cut, &whole);
    }
}

#[test]
fn a_choice_of_all_keys_changes_no_bit() {
    for element in [KvElement::F32, KvElement::F16, KvElement::Q8_0, KvElement::Q4_0] {
        let all = Case { scoring: KeyScoring::Weighed, unit: KeyUnit::Key, chosen_count: LENGTH, element };
        let what = format!("{all:?}");
        let whole = on_every_cpu(&what, |cpu| run(cpu, &all, &[LENGTH]));
        // A block as long as the context is all of it, too.
        let block = Case { unit: KeyUnit::Block { length: LENGTH, local_count: 1 }, chosen_count: 1, ..all };
        assert_bits(&what, &on_every_cpu(&what, |cpu| run(cpu, &block, &[LENGTH])), &whole);
    }
}

#[test]
fn keys_that_are_codes_are_chosen_and_cut_alike() {
    for element in [KvElement::F16, KvElement::Q8_0, KvElement::Q4_0] {
        let case = Case { scoring: KeyScoring::Weighed, unit: KeyUnit::Key, chosen_count: 21, element };
        let what = format!("{case:?}");
        let whole = on_every_cpu(&what, |cpu| run(cpu, &case, &[LENGTH]));
        let cut = on_every_cpu(&what, |cpu| run(cpu, &case, &[1, 2, 40, 299, 300, 303, LENGTH]));
        assert_bits(&what, &cut, &whole);
    }
}

/// Attention to a window and to compressed keys, of which an indexer chooses so many, or all.
fn run_compressed<B: Backend>(backend: &mut B, choice: Option<usize>, element: KvElement, ends: &[usize]) -> Vec<f32> {
    const RUN: usize = 4;
    const GROUPS: usize = 3;
    const RANK: usize = 19;
    let mut random = Random(71);
    backend.reserve(LENGTH, HEADS * DIM).expect("scratch");
    let turned = rope(DIM - 8);
    let turned_back =
        RopeTable { frequencies: turned.frequencies.iter().map(|frequency| -frequency).collect(), ..turned.clone() };
    let layer = CompressedAttention {
        attention: Attention {
            q_norm: Some(norm(backend, NormKind::Rms, NormGroup::Run(DIM), None, None)),
            k_norm: Some(norm(backend, NormKind::Rms, NormGroup::Row, Some(&random.values(DIM)), None)),
            rope: Some(turned),
            mask: Mask::Window(50),
            sinks: Some(vector(backend, &random.values(HEADS))),
            key_storage: KeyStorage::BehindValue,
            ..plain_attention(1)
        },
        turned_back: Some(turned_back),
        compressed: Some(CompressedKeys { kv_layer: 1, length: RUN }),
        group_output: linear(backend, &stack(&mut random, TensorType::F32, GROUPS, RANK, HEADS / GROUPS * DIM), None),
        group_count: GROUPS,
        rank: RANK,
    };
    let case = Case {
        scoring: KeyScoring::Weighed,
        unit: KeyUnit::Compressed { length: RUN },
        chosen_count: choice.unwrap_or(0),
        element,
    };
    let compressor = KeyCompressor { storage: CompressedStorage::Value, ..compressor(backend, RUN, DIM, (true, true)) };
    let of_indexer =
        KeyCompressor { state_layer: 1, kv_layer: 2, ..self::compressor(backend, RUN, INDEX_DIM, (true, true)) };
    let chooser = KeyChooser { kv_layer: 2, ..chooser(backend, &case) };
    let values = KvLayerLayout { kv_head_count: 1, key_dim: 0, value_dim: DIM };
    let layers = vec![values, values, KvLayerLayout { key_dim: INDEX_DIM, value_dim: 0, ..values }];
    let layout = KvLayout { layers, element, page_count: LENGTH.div_ceil(PAGE_LENGTH) };
    let mut kv = backend.kv(&layout).expect("a cache");
    let history = |dim| StateLayerLayout { conv_length: compressor_history(RUN, dim, true, true), recurrent_length: 0 };
    let states = StateLayout { layers: vec![history(DIM), history(INDEX_DIM)], slot_count: 1 };
    let mut states = backend.states(&states).expect("states");
    let mut chosen = backend.chosen(LENGTH, 1, LENGTH).expect("room for choices");
    let widths =
        [HEADS * DIM, DIM, 2 * DIM, 2 * DIM, 2 * INDEX_DIM, 2 * INDEX_DIM, INDEX_HEADS * INDEX_DIM, INDEX_HEADS];
    let inputs = Inputs::new(72, &widths);
    let tables = page_tables(1, LENGTH.div_ceil(PAGE_LENGTH));
    let (mut outputs, mut start) = (Vec::new(), 0);
    for &end in ends {
        let rows = end - start;
        let mut step = inputs.step(backend, start, end);
        let sequences = sequences(&[(start, rows)], &tables);
        let batch = Batch { tokens: &vec![0; rows], sequences: &sequences };
        let [q, both, values, gates, index_values, index_gates, index_q, weights] = &mut step[..] else {
            unreachable!("as many as widths")
        };
        let room = |width: usize| backend.buffer(rows, width).expect("a buffer");
        let (mut keys, mut index_keys) = (room(DIM), room(INDEX_DIM));
        let (mut mixed, mut output) = (room(HEADS * DIM), room(GROUPS * RANK));
        let buffers = KeyCompressorBuffers { values, gates: Some(gates), output: &mut keys };
        backend.compress_keys(&batch, &compressor, &mut states, &mut kv, buffers);
        if choice.is_some() {
            let buffers =
                KeyCompressorBuffers { values: index_values, gates: Some(index_gates), output: &mut index_keys };
            backend.compress_keys(&batch, &of_indexer, &mut states, &mut kv, buffers);
            let buffers = KeyChooserBuffers { q: index_q, k: None, weights: Some(weights) };
            backend.choose_keys(&batch, &chooser, &mut kv, buffers, &mut chosen);
        }
        let buffers = CompressedAttentionBuffers {
            q,
            kv: both,
            chosen: choice.map(|_| &chosen),
            mixed: &mut mixed,
            output: &mut output,
        };
        backend.compressed_attention(&batch, &layer, &mut kv, buffers);
        outputs.extend(read(backend, rows, GROUPS * RANK, &output));
        start = end;
    }
    outputs
}

#[test]
fn attention_to_compressed_keys_agrees_with_the_reference_and_ignores_how_it_is_cut() {
    for choice in [None, Some(9)] {
        for (element, limit) in [(KvElement::F32, 1e-9), (KvElement::F16, 1e-5), (KvElement::Q8_0, 5e-2)] {
            let what = format!("{choice:?} of the compressed keys, {element:?}");
            let whole = on_every_cpu(&what, |cpu| run_compressed(cpu, choice, element, &[LENGTH]));
            // What is kept coarsely is chosen a little differently.
            if choice.is_none() || element == KvElement::F32 {
                let expected = run_compressed(&mut Reference, choice, element, &[LENGTH]);
                assert_close(&what, &whole, &expected, limit);
            }
            let cut =
                on_every_cpu(&what, |cpu| run_compressed(cpu, choice, element, &[1, 2, 7, 40, 299, 300, 303, LENGTH]));
            assert_bits(&what, &cut, &whole);
        }
    }
}
