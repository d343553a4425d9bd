//! Linear attention with a constant decay: every tile of a head's columns walks its tokens.
#![allow(unsafe_code)] // Tiles of states and outputs are written by several threads.

use lair_simd::{Isa, Simd, vectorize};

use super::kv::StateLayer;
use super::linear::for_each_row;
use super::memory::Parts;
use super::norm::{activate, apply_norm, gate_by_sigmoid};
use super::recurrence::{TILE, VECTORS, load, splat, store, tile, tile_count, update};
use super::{Buffer, Cpu};
use crate::{Batch, DecayedAttention, DecayedAttentionBuffers, SequenceRows};

/// The region.
pub(super) fn decayed_attention(
    cpu: &mut Cpu,
    batch: &Batch<'_>,
    layer: &DecayedAttention<Cpu>,
    state: &mut StateLayer,
    buffers: DecayedAttentionBuffers<'_, Cpu>,
) {
    batch.assert_consistent();
    let DecayedAttentionBuffers { q, k, v, gate, output } = buffers;
    let (isa, rows, width, dim) = (cpu.isa, batch.row_count(), output.width, layer.head_dim);
    if let Some(activation) = layer.activation {
        let parts = [&mut *q, &mut *k, &mut *v].map(|buffer| Parts::new(&mut buffer.values));
        for_each_row(&cpu.pool, rows, &|row| {
            for part in &parts {
                // SAFETY: every row is taken once.
                activate(isa, activation, None, unsafe { part.part(row * width, width) });
            }
        });
    }
    let out = Parts::new(&mut output.values);
    let tiles = tile_count(dim);
    for rows in batch.sequences {
        let memory = Parts::new(state.recurrent_of(rows));
        cpu.pool.split(layer.head_count * tiles, &|_, range| {
            for index in range {
                let (head, columns) = (index / tiles, tile(dim, index % tiles));
                let first = head * dim + columns.start;
                // SAFETY: every tile has its own state.
                let memory = unsafe { memory.part(first * dim, columns.len() * dim) };
                let decay = layer.decays[head];
                let run = Run { buffers: (q, k, v), rows, dim, decay, first, count: columns.len(), out: &out, width };
                run.walk(isa, memory);
            }
        });
    }
    for_each_row(&cpu.pool, rows, &|row| {
        // SAFETY: every row is taken once.
        let out = unsafe { out.part(row * width, width) };
        apply_norm(isa, &layer.norm, out);
        gate_by_sigmoid(isa, out, gate.row(row));
    });
}

/// One tile of one sequence.
#[derive(Clone, Copy)]
struct Run<'a> {
    /// Queries, keys and values.
    buffers: (&'a Buffer, &'a Buffer, &'a Buffer),
    rows: &'a SequenceRows<'a>,
    dim: usize,
    decay: f32,
    /// First column.
    first: usize,
    count: usize,
    out: &'a Parts<'a, f32>,
    width: usize,
}

impl Run<'_> {
    fn walk(self, isa: Isa, memory: &mut [f32]) {
        if self.count == TILE {
            vectorize!(isa, Run::walk_tile::<_, VECTORS>, run: Run<'_> = self, memory: &mut [f32] = memory);
        } else {
            vectorize!(isa, Run::walk_tile::<_, 1>, run: Run<'_> = self, memory: &mut [f32] = memory);
        }
    }

    /// All tokens; `memory` is `[dim, count]`.
    #[inline(always)]
    fn walk_tile<S: Simd, const V: usize>(s: S, run: Run<'_>, memory: &mut [f32]) {
        let Run { buffers: (q, k, v), dim, first, count, .. } = run;
        let (decay, start) = (splat::<S, V>(s, run.decay), first / dim * dim);
        for row in run.rows.first_row..run.rows.first_row + run.rows.row_count {
            let (query, key) = (q.columns(row, start, dim), k.columns(row, start, dim));
            let value = load::<S, V>(s, v.columns(row, first, count));
            let sums = update::<S, V>(s, memory, count, |_| decay, (key, value), query);
            // SAFETY: every row of a tile is written once.
            store(s, sums, unsafe { run.out.part(row * run.width + first, count) });
        }
    }
}
