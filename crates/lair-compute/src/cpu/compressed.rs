//! Compressed keys, and attention to them beside a window.
//!
//! Arithmetic, for one key of 512 elements made of eight positions: 8 x 512 exponentials every fourth position, and as many
//! multiply-adds; the products before it read 2 x 2 x 512 rows of weights for each position.
#![allow(unsafe_code)] // Rows of activations are written by several threads.

use lair_simd::{LANES, Simd, math, vectorize};

use super::attention::{self, Source, prepare, store_rows, turn};
use super::feed_forward::quantised_rows;
use super::kv::{Kv, StateLayer};
use super::latent::multiply_heads;
use super::linear::for_each_row;
use super::memory::Parts;
use super::norm::apply_norm;
use super::{Buffer, Cpu};
use crate::{
    Batch, CompressedAttention, CompressedAttentionBuffers, CompressedStorage, KeyCompressor, KeyCompressorBuffers,
    Mask, SequenceRows,
};

/// The compressor's region. The history is `[position % kept][values, gates]`.
pub(super) fn compress_keys(
    cpu: &mut Cpu,
    batch: &Batch<'_>,
    layer: &KeyCompressor<Cpu>,
    state: &mut StateLayer,
    kv: &mut Kv,
    buffers: KeyCompressorBuffers<'_, Cpu>,
) {
    let KeyCompressorBuffers { values, mut gates, output } = buffers;
    let (isa, width, dim) = (cpu.isa, layer.width(), layer.dim);
    for sequence in batch.sequences {
        let (start, first) = (sequence.first_row, sequence.first_position);
        if let (Some(gates), Some(bias)) = (&mut gates, &layer.gate_bias) {
            let parts = Parts::new(&mut gates.values);
            for_each_row(&cpu.pool, sequence.row_count, &|index| {
                // SAFETY: every row is changed once.
                let gates = unsafe { parts.part((start + index) * width, width) };
                let bias = &bias[(first + index) % layer.length * width..][..width];
                gates.iter_mut().zip(bias).for_each(|(gate, bias)| *gate += bias);
            });
        }
        let (gates, history) = (gates.as_deref(), state.conv_of(sequence));
        let run = Run { layer, sequence, values, gates, history };
        let parts = Parts::new(&mut output.values);
        for_each_row(&cpu.pool, sequence.row_count, &|index| {
            // SAFETY: every row is written once.
            let out = unsafe { parts.part((start + index) * dim, dim) };
            let position = first + index;
            if !(position + 1).is_multiple_of(layer.length) {
                return out.fill(0.0);
            }
            match gates {
                Some(_) => {
                    vectorize!(isa, sum_run, run: &Run<'_> = &run, position: usize = position, out: &mut [f32] = out)
                }
                None => mean_run(&run, position, out),
            }
            if let Some(norm) = &layer.norm {
                apply_norm(isa, norm, out);
            }
            if let Some(rope) = &layer.rope {
                turn(isa, out, rope, dim, position + 1 - layer.length);
            }
        });
        keep(layer, sequence, (values, gates), history);
    }
    let stored = match layer.storage {
        CompressedStorage::Key => (Some(output), None),
        CompressedStorage::Value => (None, Some(output)),
    };
    store_rows((isa, &cpu.pool), batch, &mut kv.layers[layer.kv_layer], stored);
}

/// The last rows become the history.
fn keep(
    layer: &KeyCompressor<Cpu>,
    sequence: &SequenceRows<'_>,
    (values, gates): (&Buffer, Option<&Buffer>),
    history: &mut [f32],
) {
    let (width, kept, kept_width) = (layer.width(), layer.kept_positions(), layer.kept_width());
    for index in sequence.row_count.saturating_sub(kept)..sequence.row_count {
        let (of_values, of_gates) =
            history[(sequence.first_position + index) % kept * kept_width..][..kept_width].split_at_mut(width);
        of_values.copy_from_slice(values.row(sequence.first_row + index));
        if let Some(gates) = gates {
            of_gates.copy_from_slice(gates.row(sequence.first_row + index));
        }
    }
}

/// What the keys of a sequence are made of.
struct Run<'a> {
    layer: &'a KeyCompressor<Cpu>,
    sequence: &'a SequenceRows<'a>,
    values: &'a Buffer,
    /// With what is added by place.
    gates: Option<&'a Buffer>,
    history: &'a [f32],
}

impl Run<'_> {
    /// Values of a position of this step or of the history, and its gates if there are any.
    fn source(&self, position: usize) -> (&[f32], &[f32]) {
        if let Some(index) = position.checked_sub(self.sequence.first_position) {
            let row = self.sequence.first_row + index;
            return (self.values.row(row), self.gates.map_or(&[], |gates| gates.row(row)));
        }
        let kept = self.layer.kept_width();
        self.history[position % self.layer.kept_positions() * kept..][..kept].split_at(self.layer.width())
    }
}

/// The key of the run that ends at `position`: vectors of elements, each by its own softmax.
#[inline(always)]
fn sum_run<S: Simd>(s: S, run: &Run<'_>, position: usize, out: &mut [f32]) {
    for (index, out) in out.chunks_mut(LANES).enumerate() {
        let part = |values: &[f32], first: usize| s.load_part(&values[first + index * LANES..][..out.len()], 0.0);
        let mut largest = s.splat(f32::NEG_INFINITY);
        for (source, first) in run.layer.sources(position) {
            largest = s.max(part(run.source(source).1, first), largest);
        }
        let (mut sum, mut total) = (s.splat(0.0), s.splat(0.0));
        for (source, first) in run.layer.sources(position) {
            let (values, gates) = run.source(source);
            let weight = math::exp(s, s.sub(part(gates, first), largest));
            total = s.add(total, weight);
            sum = s.fma(weight, part(values, first), sum);
        }
        s.store_part(s.div(sum, total), out);
    }
}

/// The same where all positions weigh as much.
fn mean_run(run: &Run<'_>, position: usize, out: &mut [f32]) {
    out.fill(0.0);
    for (source, first) in run.layer.sources(position) {
        let values = &run.source(source).0[first..];
        out.iter_mut().zip(values).for_each(|(out, value)| *out += value);
    }
    let count = run.layer.sources(position).count() as f32;
    out.iter_mut().for_each(|out| *out /= count);
}

/// The region of attention.
pub(super) fn compressed_attention(
    cpu: &mut Cpu,
    batch: &Batch<'_>,
    layer: &CompressedAttention<Cpu>,
    kv: &mut Kv,
    buffers: CompressedAttentionBuffers<'_, Cpu>,
) {
    let CompressedAttentionBuffers { q, kv: both, chosen, mixed, output } = buffers;
    let (attention, isa, rows) = (&layer.attention, cpu.isa, batch.row_count());
    let dim = attention.key_dim;
    prepare((isa, &cpu.pool), batch, (attention.q_norm.as_ref(), attention.rope.as_ref(), dim), q);
    prepare((isa, &cpu.pool), batch, (attention.k_norm.as_ref(), attention.rope.as_ref(), dim), both);
    store_rows((isa, &cpu.pool), batch, &mut kv.layers[attention.kv_layer], (None, Some(both)));
    let Kv { layers, split } = kv;
    let window = Source { layer: &layers[attention.kv_layer], mask: attention.mask, stride: 1, chosen: None };
    let beside = layer.compressed.map(|compressed| Source {
        layer: &layers[compressed.kv_layer],
        mask: Mask::Causal,
        stride: compressed.length,
        chosen,
    });
    attention::attend(
        (isa, &cpu.pool, &mut cpu.workers[..]),
        batch,
        attention,
        (window, beside),
        split,
        (&*q, None, &mut *mixed),
    );
    if let Some(rope) = &layer.turned_back {
        prepare((isa, &cpu.pool), batch, (None, Some(rope), attention.value_dim), mixed);
    }
    let (groups, form) = (layer.group_count, layer.group_output.weight.form());
    let width = mixed.width / groups;
    // Taken out and put back: products use the workers beside it.
    let mut scratch = std::mem::take(&mut cpu.scratch);
    let mixed = &mixed.values[..rows * groups * width];
    let input = quantised_rows((isa, &cpu.pool), rows * groups, mixed, width, &mut scratch.blocks, form);
    multiply_heads(cpu, &layer.group_output, &input, (rows, groups), (&Parts::new(&mut output.values), layer.rank));
    cpu.scratch = scratch;
}
