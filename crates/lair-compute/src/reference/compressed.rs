//! Compressed keys, and attention to them beside a window.

use super::attention::{Source, attend, prepare, slot, turn};
use super::{Kv, Reference, StateLayer, apply_linear, apply_norm};
use crate::{
    Batch, CompressedAttention, CompressedAttentionBuffers, CompressedStorage, KeyCompressor, KeyCompressorBuffers,
    Mask,
};

/// The compressor's region. The history is `[position % kept][values, gates]`; a mean is a sum whose gates are zeros.
pub(super) fn compress_keys(
    batch: &Batch<'_>,
    layer: &KeyCompressor<Reference>,
    state: &mut StateLayer,
    kv: &mut Kv,
    buffers: KeyCompressorBuffers<'_, Reference>,
) {
    let KeyCompressorBuffers { values, mut gates, output } = buffers;
    let (width, kept, kept_width) = (layer.width(), layer.kept_positions(), layer.kept_width());
    let cache = &mut kv.layers[layer.kv_layer];
    for rows in batch.sequences {
        let history = state.conv_of(rows);
        for index in 0..rows.row_count {
            let (row, position) = (rows.first_row + index, rows.first_position + index);
            let place = &mut history[position % kept * kept_width..][..kept_width];
            place[..width].copy_from_slice(values.row(row));
            if let (Some(gates), Some(bias)) = (&mut gates, &layer.gate_bias) {
                let bias = &bias[position % layer.length * width..][..width];
                for ((out, gate), bias) in place[width..].iter_mut().zip(gates.row_mut(row)).zip(bias) {
                    *gate += bias;
                    *out = *gate;
                }
            }
            let out = output.row_mut(row);
            out.fill(0.0);
            if (position + 1).is_multiple_of(layer.length) {
                for (element, out) in out.iter_mut().enumerate() {
                    let values = layer
                        .sources(position)
                        .map(|(source, first)| f64::from(history[source % kept * kept_width + first + element]));
                    let gates = layer.sources(position).map(|(source, first)| match layer.gate_bias {
                        Some(_) => f64::from(history[source % kept * kept_width + width + first + element]),
                        None => 0.0,
                    });
                    let largest = gates.clone().fold(f64::NEG_INFINITY, f64::max);
                    let weights: Vec<f64> = gates.map(|gate| (gate - largest).exp()).collect();
                    let sum: f64 = values.zip(&weights).map(|(value, weight)| value * weight).sum();
                    *out = (sum / weights.iter().sum::<f64>()) as f32;
                }
                if let Some(norm) = &layer.norm {
                    apply_norm(norm, out);
                }
                if let Some(rope) = &layer.rope {
                    turn(out, rope, position + 1 - layer.length);
                }
            }
            let slot = slot(rows.page_table, position);
            let place = match layer.storage {
                CompressedStorage::Key => &mut cache.keys,
                CompressedStorage::Value => &mut cache.values,
            };
            place[slot * layer.dim..][..layer.dim].copy_from_slice(out);
        }
    }
}

/// The region of attention.
pub(super) fn compressed_attention(
    batch: &Batch<'_>,
    layer: &CompressedAttention<Reference>,
    kv: &mut Kv,
    buffers: CompressedAttentionBuffers<'_, Reference>,
) {
    let CompressedAttentionBuffers { q, kv: both, chosen, mixed, output } = buffers;
    let attention = &layer.attention;
    for rows in batch.sequences {
        for index in 0..rows.row_count {
            let (row, position) = (rows.first_row + index, rows.first_position + index);
            prepare(q.row_mut(row), attention, attention.q_norm.as_ref(), position);
            prepare(both.row_mut(row), attention, attention.k_norm.as_ref(), position);
            let cache = &mut kv.layers[attention.kv_layer];
            let slot = slot(rows.page_table, position);
            cache.values[slot * cache.value_width..][..cache.value_width].copy_from_slice(both.row(row));
        }
        for index in 0..rows.row_count {
            let (row, position) = (rows.first_row + index, rows.first_position + index);
            let window =
                Source { layer: &kv.layers[attention.kv_layer], mask: attention.mask, stride: 1, chosen: None };
            let compressed = layer.compressed.map(|compressed| Source {
                layer: &kv.layers[compressed.kv_layer],
                mask: Mask::Causal,
                stride: compressed.length,
                chosen,
            });
            let sources: Vec<Source<'_>> = std::iter::once(window).chain(compressed).collect();
            attend(attention, &sources, rows, (row, position), q.row(row), mixed.row_mut(row));
            if let Some(rope) = &layer.turned_back {
                mixed.row_mut(row).chunks_exact_mut(attention.value_dim).for_each(|head| turn(head, rope, position));
            }
            let width = mixed.width / layer.group_count;
            for group in 0..layer.group_count {
                let out = &mut output.row_mut(row)[group * layer.rank..][..layer.rank];
                apply_linear(&layer.group_output, group, &mixed.row(row)[group * width..][..width], out);
            }
        }
    }
}
