//! The gated delta rule: convolution over all rows, then every value head walks its tokens.
//!
//! Per token and head the state (`value_dim * key_dim` f32) is read twice and written once: it stays in the second-level
//! cache for a head (64 KiB at 128 x 128), which is why a head goes through all of its tokens before the next.
#![allow(unsafe_code)] // Heads' states and outputs are written by several threads.

use lair_simd::{Simd, vectorize};

use super::kv::StateLayer;
use super::linear::{for_each_row, grow};
use super::memory::Parts;
use super::norm::{Multiplied, activate, add_scaled_with, apply_norm, dot, each, gate_by_silu, softplus};
use super::{Buffer, Cpu};
use crate::{Activation, Batch, GatedDeltaNet, SequenceRows};

/// What the region reads.
pub(super) struct Inputs<'a> {
    pub(super) qkv: &'a Buffer,
    pub(super) alpha: &'a Buffer,
    pub(super) beta: &'a Buffer,
    pub(super) gate: &'a Buffer,
}

/// Channels of the convolution that one worker takes at a time.
const CHANNELS: usize = 256;
/// Elements of a head: room on the stack for one query and one key.
const KEY_DIM_MAX: usize = 1024;

/// The gated delta net region.
pub(super) fn gated_delta_net(
    cpu: &mut Cpu,
    batch: &Batch<'_>,
    layer: &GatedDeltaNet<Cpu>,
    state: &mut StateLayer,
    inputs: Inputs<'_>,
    output: &mut Buffer,
) {
    batch.assert_consistent();
    let (isa, channels, width) = (cpu.isa, inputs.qkv.width, output.width);
    let mixed = &mut cpu.scratch.normed;
    grow(mixed, batch.row_count() * channels, 0.0);
    for rows in batch.sequences {
        let slot = rows.state_slot.expect("a sequence of a recurrent model has a state").0 as usize;
        let history = &mut state.conv[slot * state.conv_length..][..state.conv_length];
        let (history, mixed_parts) = (Parts::new(history), Parts::new(mixed));
        cpu.pool.split(channels.div_ceil(CHANNELS), &|_, range| {
            for channel in range.start * CHANNELS..(range.end * CHANNELS).min(channels) {
                convolve(layer, rows, channel, inputs.qkv, &history, &mixed_parts);
            }
        });
        // The activation is per element; by rows it runs over long runs.
        for_each_row(&cpu.pool, rows.row_count, &|index| {
            // SAFETY: every row is taken once.
            let row = unsafe { mixed_parts.part((rows.first_row + index) * channels, channels) };
            activate(isa, Activation::Silu, None, row);
        });
        let memory = &mut state.recurrent[slot * state.recurrent_length..][..state.recurrent_length];
        let (memory, out) = (Parts::new(memory), Parts::new(&mut output.values));
        let head_length = layer.key_dim * layer.value_dim;
        cpu.pool.split(layer.value_head_count, &|_, heads| {
            for head in heads {
                // SAFETY: every head has its own state.
                let memory = unsafe { memory.part(head * head_length, head_length) };
                let run = HeadRun { layer, rows, head, mixed, inputs: &inputs, out: &out, width };
                vectorize!(isa, HeadRun::walk, run: &HeadRun<'_> = &run, memory: &mut [f32] = memory);
            }
        });
    }
    let out = Parts::new(&mut output.values);
    for_each_row(&cpu.pool, batch.row_count(), &|row| {
        // SAFETY: every row is taken once.
        let out = unsafe { out.part(row * width, width) };
        apply_norm(isa, &layer.norm, out);
        gate_by_silu(isa, out, inputs.gate.row(row));
    });
}

/// One channel through the causal convolution over a sequence's rows; its history moves on.
///
/// The history is `[conv_length - 1, channels]`, the oldest first.
fn convolve(
    layer: &GatedDeltaNet<Cpu>,
    rows: &SequenceRows<'_>,
    channel: usize,
    qkv: &Buffer,
    history: &Parts<'_, f32>,
    mixed: &Parts<'_, f32>,
) {
    let (taps, channels) = (layer.conv_length, qkv.width);
    let weights = &layer.conv_weight[channel * taps..][..taps];
    // SAFETY: every channel is taken once.
    let past = |tap: usize| unsafe { history.element(tap * channels + channel) };
    let input = |index: usize| qkv.row(rows.first_row + index)[channel];
    for index in 0..rows.row_count {
        let mut sum = 0.0f32;
        for (tap, weight) in weights.iter().enumerate() {
            // Tap `taps - 1` takes the row itself, the one before it the row before, and so on into the history.
            let value = if index + tap + 1 >= taps { input(index + tap + 1 - taps) } else { *past(index + tap) };
            sum = weight.mul_add(value, sum);
        }
        // SAFETY: as above.
        *unsafe { mixed.element((rows.first_row + index) * channels + channel) } = sum;
    }
    for tap in 0..taps - 1 {
        let index = rows.row_count + tap;
        let value = if index + 1 >= taps { input(index + 1 - taps) } else { *past(index) };
        *past(tap) = value;
    }
}

/// One value head of one sequence.
struct HeadRun<'a> {
    layer: &'a GatedDeltaNet<Cpu>,
    rows: &'a SequenceRows<'a>,
    head: usize,
    mixed: &'a [f32],
    inputs: &'a Inputs<'a>,
    out: &'a Parts<'a, f32>,
    width: usize,
}

impl HeadRun<'_> {
    /// All tokens through the recurrence; `memory` is `[value_dim, key_dim]`.
    #[inline(always)]
    fn walk<S: Simd>(s: S, run: &HeadRun<'_>, memory: &mut [f32]) {
        let layer = run.layer;
        let (key_dim, value_dim) = (layer.key_dim, layer.value_dim);
        assert!(key_dim <= KEY_DIM_MAX, "heads of {key_dim} elements are longer than any known model's");
        let (mut query, mut key) = ([0.0; KEY_DIM_MAX], [0.0; KEY_DIM_MAX]);
        let (query, key) = (&mut query[..key_dim], &mut key[..key_dim]);
        let key_width = layer.key_head_count * key_dim;
        // Value heads take key heads in turn, as the converters lay them out.
        let key_head = run.head % layer.key_head_count;
        for row in run.rows.first_row..run.rows.first_row + run.rows.row_count {
            let mixed = &run.mixed[row * run.inputs.qkv.width..][..run.inputs.qkv.width];
            unit(s, &mixed[key_head * key_dim..][..key_dim], layer.norm.epsilon, query);
            unit(s, &mixed[key_width + key_head * key_dim..][..key_dim], layer.norm.epsilon, key);
            let scale = 1.0 / (key_dim as f32).sqrt();
            query.iter_mut().for_each(|x| *x *= scale);
            let values = &mixed[2 * key_width + run.head * value_dim..][..value_dim];
            let (alpha, beta) = (run.inputs.alpha.row(row)[run.head], run.inputs.beta.row(row)[run.head]);
            let decay = (layer.a[run.head] * softplus(alpha + layer.dt_bias[run.head])).exp();
            let rate = 1.0 / (1.0 + (-beta).exp());
            // SAFETY: every row and head is written once.
            let out = unsafe { run.out.part(row * run.width + run.head * value_dim, value_dim) };
            for ((state, value), out) in memory.chunks_exact_mut(key_dim).zip(values).zip(out) {
                each(s, state, decay, Multiplied);
                let delta = (value - dot(s, state, key)) * rate;
                add_scaled_with(s, state, key, delta);
                *out = dot(s, state, query);
            }
        }
    }
}

/// The vector divided by its length.
#[inline(always)]
fn unit<S: Simd>(s: S, values: &[f32], epsilon: f32, out: &mut [f32]) {
    let factor = 1.0 / (dot(s, values, values) + epsilon).sqrt();
    for (out, value) in out.iter_mut().zip(values) {
        *out = value * factor;
    }
}
