//! RWKV's token shift and time mixing: what each row needs is prepared, then every tile of a head's columns walks its
//! tokens.
#![allow(unsafe_code)] // Tiles of states and outputs are written by several threads.

use lair_simd::{LANES, Simd, math, vectorize};

use super::kv::StateLayer;
use super::linear::{for_each_row, grow};
use super::memory::Parts;
use super::norm::{Multiplied, add_scaled_with, apply_norm, dot, each, gate_by_silu, zipped};
use super::recurrence::{TILE, VECTORS, load, recall, splat, store, tile, tile_count, update, zip};
use super::{Buffer, Cpu};
use crate::recurrent::{DECAY_SPAN, UNIT_EPSILON};
use crate::{Batch, Rwkv6, Rwkv6Buffers, Rwkv7, Rwkv7Buffers, SequenceRows, ShiftHistory, ShiftedRows, TokenShift};

/// The token shift.
pub(super) fn token_shift(
    cpu: &mut Cpu,
    batch: &Batch<'_>,
    layer: &TokenShift<Cpu>,
    state: &mut StateLayer,
    input: &Buffer,
    outputs: &mut [ShiftedRows<'_, Cpu>],
) {
    let (isa, width) = (cpu.isa, input.width);
    for rows in batch.sequences {
        let last = state.conv_of(rows);
        for (shifted, weights) in outputs.iter_mut().zip(&layer.weights) {
            let (offset, out) = (shifted.offset, Parts::new(&mut shifted.output.values));
            for_each_row(&cpu.pool, rows.row_count, &|index| {
                let row = rows.first_row + index;
                let previous = if index == 0 { &*last } else { input.row(row - 1) };
                // SAFETY: every row is taken once.
                let out = unsafe { out.part(row * width, width) };
                let pair = (input.row(row), previous);
                let offset = offset.map(|offset| offset.row(row));
                vectorize!(isa, shift,
                    pair: (&[f32], &[f32]) = pair,
                    weights: &[f32] = weights,
                    offset: Option<&[f32]> = offset,
                    out: &mut [f32] = out,
                );
            });
        }
        if layer.history == ShiftHistory::Moved {
            last.copy_from_slice(input.row(rows.first_row + rows.row_count - 1));
        }
    }
}

/// `out = x + (previous - x) * (weights + offset)`.
#[inline(always)]
fn shift<S: Simd>(s: S, (x, previous): (&[f32], &[f32]), weights: &[f32], offset: Option<&[f32]>, out: &mut [f32]) {
    for start in (0..out.len()).step_by(LANES) {
        let end = (start + LANES).min(out.len());
        let part = |values: &[f32]| s.load_part(&values[start..end], 0.0);
        let weight = offset.map_or(part(weights), |offset| s.add(part(weights), part(offset)));
        let mixed = s.fma(s.sub(part(previous), part(x)), weight, part(x));
        s.store_part(mixed, &mut out[start..end]);
    }
}

/// What all tokens of a tile share.
#[derive(Clone, Copy)]
struct Tile<'a> {
    rows: &'a SequenceRows<'a>,
    dim: usize,
    /// First column.
    first: usize,
    count: usize,
    out: &'a Parts<'a, f32>,
    width: usize,
}

impl Tile<'_> {
    /// The first element of the head.
    fn head_start(&self) -> usize {
        self.first / self.dim * self.dim
    }
}

/// Hands every tile with its state to `walk`.
fn for_each_tile(
    cpu: &Cpu,
    batch: &Batch<'_>,
    (heads, dim): (usize, usize),
    state: &mut StateLayer,
    out: &Parts<'_, f32>,
    walk: &(dyn Fn(Tile<'_>, &mut [f32]) + Sync),
) {
    let tiles = tile_count(dim);
    for rows in batch.sequences {
        let memory = Parts::new(state.recurrent_of(rows));
        cpu.pool.split(heads * tiles, &|_, range| {
            for index in range {
                let columns = tile(dim, index % tiles);
                let first = index / tiles * dim + columns.start;
                // SAFETY: every tile has its own state.
                let memory = unsafe { memory.part(first * dim, columns.len() * dim) };
                walk(Tile { rows, dim, first, count: columns.len(), out, width: heads * dim }, memory);
            }
        });
    }
}

/// RWKV-6.
pub(super) fn rwkv6(
    cpu: &mut Cpu,
    batch: &Batch<'_>,
    layer: &Rwkv6<Cpu>,
    state: &mut StateLayer,
    buffers: Rwkv6Buffers<'_, Cpu>,
) {
    batch.assert_consistent();
    let Rwkv6Buffers { r, k, v, decay, gate, output } = buffers;
    let (isa, rows, width) = (cpu.isa, batch.row_count(), output.width);
    let mut decays = std::mem::take(&mut cpu.scratch.normed);
    grow(&mut decays, rows * width, 0.0);
    let parts = Parts::new(&mut decays);
    for_each_row(&cpu.pool, rows, &|row| {
        // SAFETY: every row is taken once.
        let decays = unsafe { parts.part(row * width, width) };
        vectorize!(isa, decays6, inputs: &[f32] = decay.row(row), decays: &mut [f32] = decays);
    });
    let inputs = Inputs6 { r, k, v, decays: &decays, first: &layer.first };
    let out = Parts::new(&mut output.values);
    for_each_tile(cpu, batch, (layer.head_count, layer.head_dim), state, &out, &|tile, memory| {
        let inputs = &inputs;
        if tile.count == TILE {
            vectorize!(isa, walk6::<_, VECTORS>, inputs: &Inputs6<'_> = inputs, tile: Tile<'_> = tile, memory: &mut [f32] = memory);
        } else {
            vectorize!(isa, walk6::<_, 1>, inputs: &Inputs6<'_> = inputs, tile: Tile<'_> = tile, memory: &mut [f32] = memory);
        }
    });
    for_each_row(&cpu.pool, rows, &|row| {
        // SAFETY: every row is taken once.
        let out = unsafe { out.part(row * width, width) };
        apply_norm(isa, &layer.norm, out);
        gate_by_silu(isa, out, gate.row(row));
    });
    cpu.scratch.normed = decays;
}

/// `exp(-exp(x))`.
#[inline(always)]
fn decays6<S: Simd>(s: S, inputs: &[f32], decays: &mut [f32]) {
    for (decays, inputs) in decays.chunks_mut(LANES).zip(inputs.chunks(LANES)) {
        let rate = math::exp(s, s.load_part(inputs, 0.0));
        s.store_part(math::exp(s, s.sub(s.splat(0.0), rate)), decays);
    }
}

struct Inputs6<'a> {
    r: &'a Buffer,
    k: &'a Buffer,
    v: &'a Buffer,
    /// `[rows, width]`.
    decays: &'a [f32],
    first: &'a [f32],
}

/// All tokens of a tile; `memory` is `[dim, count]`.
#[inline(always)]
fn walk6<S: Simd, const V: usize>(s: S, inputs: &Inputs6<'_>, tile: Tile<'_>, memory: &mut [f32]) {
    let (start, dim, count) = (tile.head_start(), tile.dim, tile.count);
    let first = &inputs.first[start..start + dim];
    for row in tile.rows.first_row..tile.rows.first_row + tile.rows.row_count {
        let (r, k) = (inputs.r.columns(row, start, dim), inputs.k.columns(row, start, dim));
        let v = load::<S, V>(s, inputs.v.columns(row, tile.first, count));
        let decays = &inputs.decays[row * tile.width + start..][..dim];
        // What is read is the state before this token, and the token with a weight of its own.
        let own: f32 = r.iter().zip(k).zip(first).map(|((r, k), first)| r * k * first).sum();
        let sums = recall::<S, V>(s, memory, count, r);
        let sums = zip::<S, V>(v, sums, |v, sum| s.fma(s.splat(own), v, sum));
        update::<S, V>(s, memory, count, |key| splat(s, decays[key]), (k, v), r);
        // SAFETY: every row of a tile is written once.
        store(s, sums, unsafe { tile.out.part(row * tile.width + tile.first, count) });
    }
}

/// RWKV-7.
pub(super) fn rwkv7(
    cpu: &mut Cpu,
    batch: &Batch<'_>,
    layer: &Rwkv7<Cpu>,
    state: &mut StateLayer,
    buffers: Rwkv7Buffers<'_, Cpu>,
) {
    batch.assert_consistent();
    let (isa, rows, width) = (cpu.isa, batch.row_count(), buffers.output.width);
    let mut prepared = std::mem::take(&mut cpu.scratch.normed);
    grow(&mut prepared, rows * PREPARED * width, 0.0);
    let parts = Parts::new(&mut prepared);
    let (k, decay, rate) = (buffers.k, buffers.decay, buffers.rate);
    for_each_row(&cpu.pool, rows, &|row| {
        // SAFETY: every row is taken once.
        let values = unsafe { parts.part(row * PREPARED * width, PREPARED * width) };
        let inputs = [k.row(row), decay.row(row), rate.row(row)];
        vectorize!(isa, prepare7,
            layer: &Rwkv7<Cpu> = layer,
            inputs: [&[f32]; 3] = inputs,
            values: &mut [f32] = values,
        );
    });
    let inputs = Inputs7 { r: buffers.r, v: buffers.v, prepared: &prepared };
    let out = Parts::new(&mut buffers.output.values);
    for_each_tile(cpu, batch, (layer.head_count, layer.head_dim), state, &out, &|tile, memory| {
        let inputs = &inputs;
        if tile.count == TILE {
            vectorize!(isa, walk7::<_, VECTORS>, inputs: &Inputs7<'_> = inputs, tile: Tile<'_> = tile, memory: &mut [f32] = memory);
        } else {
            vectorize!(isa, walk7::<_, 1>, inputs: &Inputs7<'_> = inputs, tile: Tile<'_> = tile, memory: &mut [f32] = memory);
        }
    });
    for_each_row(&cpu.pool, rows, &|row| {
        // SAFETY: every row is taken once.
        let out = unsafe { out.part(row * width, width) };
        if let Some(norm) = &layer.norm {
            apply_norm(isa, norm, out);
        }
        let keys = &prepared[row * PREPARED * width..][..width];
        let token = [buffers.r.row(row), keys, buffers.v.row(row)];
        vectorize!(isa, add_bonus, layer: &Rwkv7<Cpu> = layer, token: [&[f32]; 3] = token, out: &mut [f32] = out);
        if let Some(gate) = buffers.gate {
            vectorize!(isa, multiply, out: &mut [f32] = out, gate: &[f32] = gate.row(row));
        }
    });
    cpu.scratch.normed = prepared;
}

/// What is prepared of a row, `width` elements each: keys that are added, decays, keys that are recalled, and keys that are
/// removed.
const PREPARED: usize = 4;

#[inline(always)]
fn prepare7<S: Simd>(s: S, layer: &Rwkv7<Cpu>, [k, decay, rate]: [&[f32]; 3], values: &mut [f32]) {
    let width = k.len();
    let (keys, rest) = values.split_at_mut(width);
    let (decays, rest) = rest.split_at_mut(width);
    let (recalled, removed) = rest.split_at_mut(width);
    recalled.copy_from_slice(k);
    zipped(s, recalled, &layer.key_scale, Multiplied);
    for head in recalled.chunks_exact_mut(layer.head_dim) {
        each(s, head, 1.0 / (dot(s, head, head) + UNIT_EPSILON).sqrt(), Multiplied);
    }
    for start in (0..width).step_by(LANES) {
        let end = (start + LANES).min(width);
        let part = |values: &[f32]| s.load_part(&values[start..end], 0.0);
        let rate = math::sigmoid(s, part(rate));
        let change = s.mul(s.sub(rate, s.splat(1.0)), part(&layer.key_rate));
        s.store_part(s.fma(part(k), change, part(k)), &mut keys[start..end]);
        let exponent = s.mul(s.splat(-DECAY_SPAN), math::sigmoid(s, part(decay)));
        s.store_part(math::exp(s, exponent), &mut decays[start..end]);
        s.store_part(s.sub(s.splat(0.0), s.mul(rate, part(recalled))), &mut removed[start..end]);
    }
}

struct Inputs7<'a> {
    r: &'a Buffer,
    v: &'a Buffer,
    /// `[rows, PREPARED * width]`.
    prepared: &'a [f32],
}

/// All tokens of a tile; `memory` is `[dim, count]`.
#[inline(always)]
fn walk7<S: Simd, const V: usize>(s: S, inputs: &Inputs7<'_>, tile: Tile<'_>, memory: &mut [f32]) {
    let Tile { dim, count, width, .. } = tile;
    let start = tile.head_start();
    for row in tile.rows.first_row..tile.rows.first_row + tile.rows.row_count {
        let part = |index: usize| &inputs.prepared[(row * PREPARED + index) * width + start..][..dim];
        let (keys, decays, recalled, removed) = (part(0), part(1), part(2), part(3));
        let r = inputs.r.columns(row, start, dim);
        let v = load::<S, V>(s, inputs.v.columns(row, tile.first, count));
        let held = recall::<S, V>(s, memory, count, recalled);
        let mut sums = splat::<S, V>(s, 0.0);
        for (index, place) in memory.chunks_exact_mut(count).enumerate() {
            let (decay, key, removed) = (s.splat(decays[index]), s.splat(keys[index]), s.splat(removed[index]));
            let kept = zip::<S, V>(load(s, place), held, |state, held| s.fma(removed, held, s.mul(decay, state)));
            let state = zip::<S, V>(v, kept, |v, kept| s.fma(key, v, kept));
            store(s, state, place);
            let r = s.splat(r[index]);
            sums = zip::<S, V>(state, sums, |state, sum| s.fma(r, state, sum));
        }
        // SAFETY: every row of a tile is written once.
        store(s, sums, unsafe { tile.out.part(row * width + tile.first, count) });
    }
}

/// Adds to each head its values, weighted by what the token reads of itself.
#[inline(always)]
fn add_bonus<S: Simd>(s: S, layer: &Rwkv7<Cpu>, [r, keys, v]: [&[f32]; 3], out: &mut [f32]) {
    let dim = layer.head_dim;
    for (head, out) in out.chunks_exact_mut(dim).enumerate() {
        let elements = head * dim..(head + 1) * dim;
        let mut weight = s.splat(0.0);
        for start in elements.clone().step_by(LANES) {
            let end = (start + LANES).min(elements.end);
            let part = |values: &[f32]| s.load_part(&values[start..end], 0.0);
            weight = s.fma(s.mul(part(r), part(keys)), part(&layer.bonus), weight);
        }
        add_scaled_with(s, out, &v[elements], s.sum(weight));
    }
}

#[inline(always)]
fn multiply<S: Simd>(s: S, out: &mut [f32], gate: &[f32]) {
    zipped(s, out, gate, Multiplied);
}

/// `values += (other - values) * sigmoid(mix)`.
pub(super) fn blend_rows(cpu: &Cpu, rows: usize, mix: &Buffer, other: &Buffer, values: &mut Buffer) {
    let (isa, width) = (cpu.isa, values.width);
    let parts = Parts::new(&mut values.values);
    for_each_row(&cpu.pool, rows, &|row| {
        // SAFETY: every row is taken once.
        let values = unsafe { parts.part(row * width, width) };
        let (mix, other) = (mix.row(row), other.row(row));
        vectorize!(isa, blend, mix: &[f32] = mix, other: &[f32] = other, values: &mut [f32] = values);
    });
}

#[inline(always)]
fn blend<S: Simd>(s: S, mix: &[f32], other: &[f32], values: &mut [f32]) {
    for ((values, mix), other) in values.chunks_mut(LANES).zip(mix.chunks(LANES)).zip(other.chunks(LANES)) {
        let value = s.load_part(values, 0.0);
        let step = s.sub(s.load_part(other, 0.0), value);
        s.store_part(s.fma(step, math::sigmoid(s, s.load_part(mix, 0.0)), value), values);
    }
}
