//! The gated delta rule: queries, keys and decays of all rows, then every tile of a head's columns walks its tokens.
//!
//! Per token a tile of 32 columns reads its part of the state twice and writes it once (16 KiB with 128 keys: it stays in
//! the first-level cache), with three multiply-adds for each element.
#![allow(unsafe_code)] // Tiles of states and outputs are written by several threads.

use lair_simd::{Isa, LANES, Simd, math, vectorize};

use super::Cpu;
use super::kv::StateLayer;
use super::linear::{for_each_row, grow};
use super::memory::Parts;
use super::norm::{Multiplied, activate, apply_norm, dot, each};
use super::recurrence::{TILE, VECTORS, load, recall, splat, store, tile, tile_count, update, zip};
use super::state_space::softplus;
use crate::{Batch, DecayForm, DeltaRule, DeltaRuleBuffers, SequenceRows};

/// The region.
pub(super) fn delta_rule(
    cpu: &mut Cpu,
    batch: &Batch<'_>,
    layer: &DeltaRule<Cpu>,
    state: &mut StateLayer,
    buffers: DeltaRuleBuffers<'_, Cpu>,
) {
    batch.assert_consistent();
    let (isa, rows, width) = (cpu.isa, batch.row_count(), buffers.output.width);
    let prepared = Prepared::new(layer);
    let prepared_rows = &mut cpu.scratch.normed;
    grow(prepared_rows, rows * prepared.width, 0.0);
    let parts = Parts::new(prepared_rows);
    for_each_row(&cpu.pool, rows, &|row| {
        // SAFETY: every row is taken once.
        let values = unsafe { parts.part(row * prepared.width, prepared.width) };
        let source = (&buffers, row);
        vectorize!(isa, prepare,
            layer: &DeltaRule<Cpu> = layer,
            source: (&DeltaRuleBuffers<'_, Cpu>, usize) = source,
            values: &mut [f32] = values,
        );
    });
    let out = Parts::new(&mut buffers.output.values);
    let tiles = tile_count(layer.value_dim);
    let head_length = layer.key_dim * layer.value_dim;
    for rows in batch.sequences {
        let memory = Parts::new(state.recurrent_of(rows));
        cpu.pool.split(layer.value_head_count * tiles, &|_, range| {
            for index in range {
                let head = index / tiles;
                let columns = tile(layer.value_dim, index % tiles);
                let place = head * head_length + columns.start * layer.key_dim;
                // SAFETY: every tile has its own state.
                let memory = unsafe { memory.part(place, columns.len() * layer.key_dim) };
                let first = head * layer.value_dim + columns.start;
                let v = &buffers.v;
                let count = columns.len();
                let run = Run { layer, prepared, rows, head, first, count, v, values: prepared_rows, out: &out, width };
                run.walk(isa, memory);
            }
        });
    }
    for_each_row(&cpu.pool, rows, &|row| {
        // SAFETY: every row is taken once.
        let out = unsafe { out.part(row * width, width) };
        apply_norm(isa, &layer.norm, out);
        activate(isa, layer.gate_activation, Some(buffers.gate.row(row)), out);
    });
}

/// Where the prepared parts of a row lie.
#[derive(Clone, Copy)]
struct Prepared {
    /// `[key_head_count, key_dim]`, after the queries.
    keys: usize,
    /// `[value_head_count, decay_width]`.
    decays: usize,
    /// `[value_head_count]`.
    rates: usize,
    width: usize,
}

impl Prepared {
    fn new(layer: &DeltaRule<Cpu>) -> Prepared {
        let keys = layer.key_head_count * layer.key_dim;
        let decays = 2 * keys;
        let rates = decays + layer.value_head_count * layer.decay_width;
        Prepared { keys, decays, rates, width: rates + layer.value_head_count }
    }
}

/// Queries and keys of length one, decays and learning rates of a row.
#[inline(always)]
fn prepare<S: Simd>(
    s: S,
    layer: &DeltaRule<Cpu>,
    (buffers, row): (&DeltaRuleBuffers<'_, Cpu>, usize),
    values: &mut [f32],
) {
    let Prepared { keys, decays, rates, .. } = Prepared::new(layer);
    let (units, rest) = values.split_at_mut(decays);
    let (decays, rates) = rest.split_at_mut(rates - decays);
    units[..keys].copy_from_slice(buffers.q.buffer.columns(row, buffers.q.first, keys));
    units[keys..].copy_from_slice(buffers.k.buffer.columns(row, buffers.k.first, keys));
    let scale = 1.0 / (layer.key_dim as f32).sqrt();
    for (index, head) in units.chunks_exact_mut(layer.key_dim).enumerate() {
        let factor = 1.0 / (dot(s, head, head) + layer.unit_epsilon).sqrt();
        each(s, head, if index < layer.key_head_count { factor * scale } else { factor }, Multiplied);
    }
    let inputs = buffers.alpha.row(row).chunks(layer.decay_width).zip(layer.dt_bias.chunks(layer.decay_width));
    for ((decays, (alpha, bias)), &a) in decays.chunks_mut(layer.decay_width).zip(inputs).zip(&layer.a) {
        for ((decays, alpha), bias) in decays.chunks_mut(LANES).zip(alpha.chunks(LANES)).zip(bias.chunks(LANES)) {
            let x = s.add(s.load_part(alpha, 0.0), s.load_part(bias, 0.0));
            s.store_part(decay(s, layer.decay_form, a, x), decays);
        }
    }
    for (rates, beta) in rates.chunks_mut(LANES).zip(buffers.beta.row(row).chunks(LANES)) {
        s.store_part(math::sigmoid(s, s.load_part(beta, 0.0)), rates);
    }
}

#[inline(always)]
fn decay<S: Simd>(s: S, form: DecayForm, a: f32, x: S::F) -> S::F {
    let logarithm = match form {
        DecayForm::Softplus => s.mul(s.splat(a), softplus(s, x)),
        DecayForm::Bounded { bound, slope } => s.mul(s.splat(bound), math::sigmoid(s, s.mul(s.splat(slope * a), x))),
    };
    math::exp(s, logarithm)
}

/// One tile of one head of one sequence.
#[derive(Clone, Copy)]
struct Run<'a> {
    layer: &'a DeltaRule<Cpu>,
    prepared: Prepared,
    rows: &'a SequenceRows<'a>,
    head: usize,
    /// First column among all heads' values.
    first: usize,
    count: usize,
    v: &'a crate::Columns<'a, Cpu>,
    /// `[rows, prepared.width]`.
    values: &'a [f32],
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

    /// All tokens; `memory` is `[key_dim, count]`.
    #[inline(always)]
    fn walk_tile<S: Simd, const V: usize>(s: S, run: Run<'_>, memory: &mut [f32]) {
        let Run { layer, prepared, count, .. } = run;
        let (key_dim, decay_width) = (layer.key_dim, layer.decay_width);
        let key_start = layer.key_head(run.head) * key_dim;
        for row in run.rows.first_row..run.rows.first_row + run.rows.row_count {
            let values = &run.values[row * prepared.width..][..prepared.width];
            let query = &values[key_start..][..key_dim];
            let key = &values[prepared.keys + key_start..][..key_dim];
            let decays = &values[prepared.decays + run.head * decay_width..][..decay_width];
            let rate = s.splat(values[prepared.rates + run.head]);
            let v = load::<S, V>(s, run.v.buffer.columns(row, run.v.first + run.first, count));
            let sums = if let [decay] = decays {
                let spread = splat::<S, V>(s, *decay);
                let recalled = recall::<S, V>(s, memory, count, key);
                let recalled = zip::<S, V>(recalled, spread, |recalled, decay| s.mul(recalled, decay));
                let delta = zip::<S, V>(v, recalled, |v, recalled| s.mul(s.sub(v, recalled), rate));
                update::<S, V>(s, memory, count, |_| spread, (key, delta), query)
            } else {
                decayed::<S, V>(s, memory, count, decays);
                let recalled = recall::<S, V>(s, memory, count, key);
                let delta = zip::<S, V>(v, recalled, |v, recalled| s.mul(s.sub(v, recalled), rate));
                let one = splat::<S, V>(s, 1.0);
                update::<S, V>(s, memory, count, |_| one, (key, delta), query)
            };
            // SAFETY: every row of a tile is written once.
            store(s, sums, unsafe { run.out.part(row * run.width + run.first, count) });
        }
    }
}

/// `state[key] *= decays[key]`.
#[inline(always)]
fn decayed<S: Simd, const V: usize>(s: S, state: &mut [f32], width: usize, decays: &[f32]) {
    for (place, decay) in state.chunks_exact_mut(width).zip(decays) {
        let state = zip::<S, V>(load(s, place), splat(s, *decay), |state, decay| s.mul(state, decay));
        store(s, state, place);
    }
}
