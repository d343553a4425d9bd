//! Softmax attention, one query head after the other.

use std::ops::Range;

use super::chosen::Chosen;
use super::{Buffer, KvLayer, Reference, apply_norm, dot, sigmoid, soft_cap, softplus};
use crate::{
    Attention, AttentionBuffers, Batch, GateFunction, GateSpan, KeyStorage, Mask, Norm, NormOrder, OutputGate,
    PAGE_LENGTH, PageId, RopeTable, SequenceRows,
};

/// The attention region: norms, rotary embedding, storing, and attention.
pub(super) fn attention(
    batch: &Batch<'_>,
    attention: &Attention<Reference>,
    layer: &mut KvLayer,
    buffers: AttentionBuffers<'_, Reference>,
) {
    batch.assert_consistent();
    let positions: Vec<usize> = batch.positions().collect();
    for (row, &position) in positions.iter().enumerate() {
        prepare(buffers.q.row_mut(row), attention, attention.q_norm.as_ref(), position);
        if let Some(temperature) = &attention.temperature {
            let factor = temperature.factor(position);
            buffers.q.row_mut(row).iter_mut().for_each(|query| *query *= factor);
        }
    }
    if let Some((keys, values)) = buffers.kv {
        store(batch, attention, layer, keys, values);
    }
    for rows in batch.sequences {
        for row in rows.first_row..rows.first_row + rows.row_count {
            let position = rows.first_position + row - rows.first_row;
            let output = buffers.output.row_mut(row);
            let source = Source { layer, mask: attention.mask, stride: 1, chosen: buffers.chosen };
            attend(attention, &[source], rows, (row, position), buffers.q.row(row), output);
            if let Some(gate) = buffers.gate {
                apply_gate(attention.gate, gate.row(row), attention.value_dim, output);
            }
        }
    }
}

/// Multiplies a row of heads of `value_dim` elements by its gate.
pub(super) fn apply_gate(kind: OutputGate, gate: &[f32], value_dim: usize, output: &mut [f32]) {
    for (index, out) in output.iter_mut().enumerate() {
        let gate = match kind.span {
            GateSpan::Element => gate[index],
            GateSpan::Head => gate[index / value_dim],
        };
        *out *= match kind.function {
            GateFunction::Sigmoid => sigmoid(gate),
            GateFunction::Softplus => softplus(f64::from(gate)) as f32,
        };
    }
}

/// Holds a row within the magnitude that is allowed.
fn clamp(row: &mut [f32], limit: Option<f32>) {
    if let Some(limit) = limit {
        row.iter_mut().for_each(|value| *value = value.clamp(-limit, limit));
    }
}

/// Clamps, norms and turns the heads of a row of queries or keys.
pub(super) fn prepare(
    row: &mut [f32],
    attention: &Attention<Reference>,
    norm: Option<&Norm<Reference>>,
    position: usize,
) {
    let order = attention.norm_order;
    clamp(row, attention.clamp);
    if let (Some(norm), NormOrder::BeforeRope) = (norm, order) {
        apply_norm(norm, row);
    }
    if let Some(rope) = &attention.rope {
        for head in row.chunks_exact_mut(attention.key_dim) {
            turn(head, rope, position);
        }
    }
    if let (Some(norm), NormOrder::AfterRope) = (norm, order) {
        apply_norm(norm, row);
    }
}

/// Rotary embedding of one head.
pub(super) fn turn(head: &mut [f32], rope: &RopeTable, position: usize) {
    for index in 0..rope.frequencies.len() {
        let (first, second) = rope.pair(index);
        let (cosine, sine) = rope.cosine_sine(index, position);
        let (a, b) = (head[first], head[second]);
        head[first] = a * cosine - b * sine;
        head[second] = a * sine + b * cosine;
    }
}

/// Prepares the rows' keys and values and puts them into their pages.
fn store(
    batch: &Batch<'_>,
    attention: &Attention<Reference>,
    layer: &mut KvLayer,
    keys: &mut Buffer,
    values: &mut Buffer,
) {
    for rows in batch.sequences {
        for row in rows.first_row..rows.first_row + rows.row_count {
            let position = rows.first_position + row - rows.first_row;
            prepare(keys.row_mut(row), attention, attention.k_norm.as_ref(), position);
            clamp(values.row_mut(row), attention.clamp);
            if let Some(norm) = &attention.v_norm {
                apply_norm(norm, values.row_mut(row));
            }
            let slot = slot(rows.page_table, position);
            let key = match attention.key_storage {
                KeyStorage::Whole => keys.row(row),
                KeyStorage::BehindValue => &keys.row(row)[attention.value_dim..],
            };
            layer.keys[slot * layer.key_width..][..layer.key_width].copy_from_slice(key);
            layer.values[slot * layer.value_width..][..layer.value_width].copy_from_slice(values.row(row));
        }
    }
}

/// Where a position lies in the cache.
pub(super) fn slot(page_table: &[PageId], position: usize) -> usize {
    page_table[position / PAGE_LENGTH].0 as usize * PAGE_LENGTH + position % PAGE_LENGTH
}

/// The positions that the query at `position` sees.
fn seen(mask: Mask, position: usize, rows: &SequenceRows<'_>) -> Range<usize> {
    match mask {
        Mask::Causal => 0..position + 1,
        Mask::Window(length) => (position + 1).saturating_sub(length)..position + 1,
        Mask::Chunk(length) => position / length * length..position + 1,
        Mask::Bidirectional => 0..rows.first_position + rows.row_count,
        Mask::Around(reach) => {
            position.saturating_sub(reach)..(position + reach + 1).min(rows.first_position + rows.row_count)
        }
    }
}

/// Keys that attention reads.
pub(super) struct Source<'a> {
    pub(super) layer: &'a KvLayer,
    /// Which of them a query sees.
    pub(super) mask: Mask,
    /// Of so many positions only the last is a key.
    pub(super) stride: usize,
    /// Which of those are read; all where nothing was chosen.
    pub(super) chosen: Option<&'a Chosen>,
}

/// Attention of one row: `[head_count * key_dim]` queries to `[head_count * value_dim]`.
pub(super) fn attend(
    attention: &Attention<Reference>,
    sources: &[Source<'_>],
    rows: &SequenceRows<'_>,
    (row, position): (usize, usize),
    queries: &[f32],
    output: &mut [f32],
) {
    let (key_dim, value_dim) = (attention.key_dim, attention.value_dim);
    let heads_a_group = attention.head_count / attention.kv_head_count;
    for head in 0..attention.head_count {
        let query = &queries[head * key_dim..][..key_dim];
        let kv_head = head / heads_a_group;
        let mut keys = Vec::new();
        for source in sources {
            let read = seen(source.mask, position, rows)
                .filter(|key_position| (key_position + 1).is_multiple_of(source.stride))
                .filter(|key_position| source.chosen.is_none_or(|chosen| chosen.reads(row, kv_head, *key_position)));
            keys.extend(read.map(|key_position| (source.layer, key_position)));
        }
        let mut scores: Vec<f64> = keys
            .iter()
            .map(|(layer, key_position)| {
                let slot = slot(rows.page_table, *key_position);
                let product = match attention.key_storage {
                    KeyStorage::Whole => {
                        dot(query, &layer.keys[slot * layer.key_width + kv_head * key_dim..][..key_dim])
                    }
                    KeyStorage::BehindValue => {
                        let (key, value) = (&layer.keys[slot * layer.key_width..], &layer.values[slot * value_dim..]);
                        dot(&query[..value_dim], &value[..value_dim])
                            + dot(&query[value_dim..], &key[..key_dim - value_dim])
                    }
                };
                let score = soft_cap(product as f32 * attention.scale, attention.softcap);
                let distance = -(key_position.abs_diff(position) as f64);
                let slope = attention.alibi_slopes.as_ref().map_or(0.0, |slopes| f64::from(slopes[head]));
                let bias = attention.relative_bias.as_ref();
                let bias = bias.map_or(0.0, |bias| f64::from(bias.of(head, position, *key_position)));
                f64::from(score) + slope * distance + bias
            })
            .collect();
        softmax(&mut scores, attention.sinks.as_ref().map(|sinks| f64::from(sinks[head])));
        let mut sums = vec![0.0f64; value_dim];
        for ((layer, key_position), &weight) in keys.iter().zip(&scores) {
            let slot = slot(rows.page_table, *key_position);
            let value = &layer.values[slot * layer.value_width + kv_head * value_dim..][..value_dim];
            for (sum, &value) in sums.iter_mut().zip(value) {
                *sum += weight * f64::from(value);
            }
        }
        for (out, sum) in output[head * value_dim..][..value_dim].iter_mut().zip(sums) {
            *out = sum as f32;
        }
    }
}

/// Softmax in place; a sink takes part in the sum only.
fn softmax(scores: &mut [f64], sink: Option<f64>) {
    let largest = scores.iter().copied().chain(sink).fold(f64::NEG_INFINITY, f64::max);
    let mut sum = sink.map_or(0.0, |sink| (sink - largest).exp());
    for score in scores.iter_mut() {
        *score = (*score - largest).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}
