//! State spaces: time steps of all rows, then every tile of columns walks its tokens.
#![allow(unsafe_code)] // Tiles of states and outputs are written by several threads.

use lair_simd::{Isa, LANES, Simd, math, vectorize};

use super::Cpu;
use super::kv::StateLayer;
use super::linear::{for_each_row, grow};
use super::memory::Parts;
use super::norm::{Added, apply_norm, gate_by_silu, zipped};
use super::recurrence::{TILE, VECTORS, load, store, tile, tile_count, update, zip};
use crate::{Batch, SequenceRows, StateDecay, StateSpace, StateSpaceBuffers};

/// The state-space region.
pub(super) fn state_space(
    cpu: &mut Cpu,
    batch: &Batch<'_>,
    layer: &StateSpace<Cpu>,
    state: &mut StateLayer,
    buffers: StateSpaceBuffers<'_, Cpu>,
) {
    batch.assert_consistent();
    let (isa, heads, rows) = (cpu.isa, layer.head_count, batch.row_count());
    let (steps, decays) = (&mut cpu.scratch.normed, &mut cpu.scratch.product);
    grow(steps, rows * heads, 0.0);
    grow(decays, rows * heads, 0.0);
    let (step_parts, decay_parts) = (Parts::new(steps), Parts::new(decays));
    for_each_row(&cpu.pool, rows, &|row| {
        // SAFETY: every row is taken once.
        let (steps, decays) = unsafe { (step_parts.part(row * heads, heads), decay_parts.part(row * heads, heads)) };
        steps.copy_from_slice(buffers.time_step.row(row));
        vectorize!(isa, take_steps,
            layer: &StateSpace<Cpu> = layer,
            steps: &mut [f32] = steps,
            decays: &mut [f32] = decays,
        );
    });
    let width = buffers.output.width;
    let out = Parts::new(&mut buffers.output.values);
    let inputs = Inputs { layer, x: &buffers.x, b: &buffers.b, c: &buffers.c, steps, decays };
    let group_width = width / layer.group_count;
    let tiles = tile_count(group_width);
    for rows in batch.sequences {
        let memory = Parts::new(state.recurrent_of(rows));
        cpu.pool.split(layer.group_count * tiles, &|_, range| {
            for index in range {
                let group = index / tiles;
                let columns = tile(group_width, index % tiles);
                let first = group * group_width + columns.start;
                // SAFETY: every tile has its own state.
                let memory = unsafe { memory.part(first * layer.state_size, columns.len() * layer.state_size) };
                let run = Run { inputs: &inputs, rows, group, first, count: columns.len(), out: &out, width };
                run.walk(isa, memory);
            }
        });
    }
    for_each_row(&cpu.pool, rows, &|row| {
        // SAFETY: every row is taken once.
        let out = unsafe { out.part(row * width, width) };
        gate_by_silu(isa, out, buffers.gate.row(row));
        if let Some(norm) = &layer.norm {
            apply_norm(isa, norm, out);
        }
    });
}

/// The time steps of a row, and how much of the state they leave where that is one number a head.
#[inline(always)]
fn take_steps<S: Simd>(s: S, layer: &StateSpace<Cpu>, steps: &mut [f32], decays: &mut [f32]) {
    if let Some(bias) = &layer.time_step_bias {
        zipped(s, steps, bias, Added);
    }
    for chunk in steps.chunks_mut(LANES) {
        s.store_part(softplus(s, s.load_part(chunk, 0.0)), chunk);
    }
    let StateDecay::Head(factors) = &layer.decay else { return };
    for ((decays, steps), factors) in decays.chunks_mut(LANES).zip(steps.chunks(LANES)).zip(factors.chunks(LANES)) {
        let exponent = s.mul(s.load_part(steps, 0.0), s.load_part(factors, 0.0));
        s.store_part(math::exp(s, exponent), decays);
    }
}

/// `ln(1 + exp(x)) = max(x, 0) + ln(1 + u)` with `u = exp(-|x|)`; the logarithm is `2 artanh(u / (2 + u))`, whose series
/// ends where it no longer changes an f32 (`u / (2 + u)` is at most a third).
#[inline(always)]
pub(super) fn softplus<S: Simd>(s: S, x: S::F) -> S::F {
    let u = math::exp(s, s.sub(s.splat(0.0), s.abs(x)));
    let z = s.div(u, s.add(s.splat(2.0), u));
    let square = s.mul(z, z);
    let mut series = s.splat(1.0 / 15.0);
    for divisor in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        series = s.fma(series, square, s.splat(1.0 / divisor));
    }
    s.fma(s.mul(s.splat(2.0), z), series, s.max(x, s.splat(0.0)))
}

struct Inputs<'a> {
    layer: &'a StateSpace<Cpu>,
    x: &'a crate::Columns<'a, Cpu>,
    b: &'a crate::Columns<'a, Cpu>,
    c: &'a crate::Columns<'a, Cpu>,
    /// `[rows, head_count]`.
    steps: &'a [f32],
    /// `[rows, head_count]`, where a head has one.
    decays: &'a [f32],
}

/// One tile of one sequence.
#[derive(Clone, Copy)]
struct Run<'a> {
    inputs: &'a Inputs<'a>,
    rows: &'a SequenceRows<'a>,
    group: usize,
    /// First channel.
    first: usize,
    /// Channels.
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

    /// All tokens; `memory` is `[state_size, count]`.
    #[inline(always)]
    fn walk_tile<S: Simd, const V: usize>(s: S, run: Run<'_>, memory: &mut [f32]) {
        let Inputs { layer, x, b, c, steps, decays } = run.inputs;
        let (size, heads) = (layer.state_size, layer.head_count);
        let (first, count) = (run.first, run.count);
        // What a head has one of, for every channel.
        let spread = |values: &[f32]| {
            let mut lanes = [0.0; TILE];
            for (lane, channel) in lanes[..count].iter_mut().zip(first..) {
                *lane = values[channel / layer.head_dim];
            }
            load::<S, V>(s, &lanes[..count])
        };
        let skip = spread(&layer.skip);
        for row in run.rows.first_row..run.rows.first_row + run.rows.row_count {
            let x = load::<S, V>(s, x.buffer.columns(row, x.first + first, count));
            let keys = b.buffer.columns(row, b.first + run.group * size, size);
            let queries = c.buffer.columns(row, c.first + run.group * size, size);
            let step = spread(&steps[row * heads..][..heads]);
            let input = (keys, zip::<S, V>(x, step, |x, step| s.mul(x, step)));
            let sums = match &layer.decay {
                StateDecay::Head(_) => {
                    let decay = spread(&decays[row * heads..][..heads]);
                    update::<S, V>(s, memory, count, |_| decay, input, queries)
                }
                StateDecay::Element(factors) => {
                    let decay = |n: usize| {
                        let factors = load::<S, V>(s, &factors[n * heads + first..][..count]);
                        zip::<S, V>(factors, step, |factor, step| math::exp(s, s.mul(factor, step)))
                    };
                    update::<S, V>(s, memory, count, decay, input, queries)
                }
            };
            let direct = zip::<S, V>(x, skip, |x, skip| s.mul(x, skip));
            // SAFETY: every row of a tile is written once.
            let out = unsafe { run.out.part(row * run.width + first, count) };
            store(s, zip::<S, V>(sums, direct, |sum, direct| s.add(sum, direct)), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softplus_is_that_of_the_mathematics() {
        for x in (-400..400).map(|x| x as f32 / 8.0) {
            let expected = (f64::from(x).exp().ln_1p()).max(f64::from(x));
            let actual = lair_simd::Scalar.to_array(softplus(lair_simd::Scalar, [x; LANES]))[0];
            let error = (f64::from(actual) - expected).abs() / expected;
            assert!(error < 4e-7, "softplus({x}) = {actual}, expected {expected}");
        }
    }
}
