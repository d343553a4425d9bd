//! Causal convolutions over the last tokens, channel by channel.
//!
//! Per element and tap one multiply-add on data that the next row uses again: a worker takes a block of channels through
//! all rows, so that inputs and weights of the block stay in the first-level cache.
#![allow(unsafe_code)] // Blocks of channels of the same rows are written by several threads.

use lair_simd::{Isa, LANES, Simd, vectorize};

use super::kv::StateLayer;
use super::linear::{for_each_row, grow};
use super::memory::Parts;
use super::norm::{Multiplied, activate, zipped};
use super::pool::Pool;
use super::{Buffer, Cpu};
use crate::{Batch, Convolution, ConvolutionBuffers, SequenceRows};

/// Channels that one worker takes at a time.
const CHANNELS: usize = 64;
/// Taps there is room for on the stack; no known model has more than 8, and a file is refused above 64.
const TAPS_MAX: usize = 64;

/// The convolution region.
pub(super) fn convolve(
    cpu: &mut Cpu,
    batch: &Batch<'_>,
    layer: &Convolution<Cpu>,
    state: &mut StateLayer,
    buffers: ConvolutionBuffers<'_, Cpu>,
) {
    let ConvolutionBuffers { input, input_factor, output_factor, output } = buffers;
    let (isa, channels, rows) = (cpu.isa, input.width, batch.row_count());
    let values = match input_factor {
        None => &input.values[..rows * channels],
        Some(factor) => {
            let product = &mut cpu.scratch.normed;
            grow(product, rows * channels, 0.0);
            let parts = Parts::new(product);
            for_each_row(&cpu.pool, rows, &|row| {
                // SAFETY: every row is taken once.
                let product = unsafe { parts.part(row * channels, channels) };
                product.copy_from_slice(input.row(row));
                vectorize!(isa, multiply, values: &mut [f32] = product, factors: &[f32] = factor.row(row));
            });
            &product[..rows * channels]
        }
    };
    let taps = Taps { weight: &layer.weight, bias: layer.bias.as_deref(), length: layer.length, channels };
    convolve_rows((isa, &cpu.pool), batch, taps, state, values, &mut output.values);
    let out = Parts::new(&mut output.values);
    for_each_row(&cpu.pool, rows, &|row| {
        // SAFETY: every row is taken once.
        let out = unsafe { out.part(row * channels, channels) };
        if let Some(activation) = layer.activation {
            activate(isa, activation, None, out);
        }
        if let Some(factor) = output_factor {
            vectorize!(isa, multiply, values: &mut [f32] = out, factors: &[f32] = factor.row(row));
        }
    });
}

#[inline(always)]
fn multiply<S: Simd>(s: S, values: &mut [f32], factors: &[f32]) {
    zipped(s, values, factors, Multiplied);
}

/// The weights of a convolution.
#[derive(Clone, Copy)]
pub(super) struct Taps<'a> {
    /// `[channels, length]`, the newest last.
    pub(super) weight: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) length: usize,
    pub(super) channels: usize,
}

/// Convolves `input`, `[rows, channels]`, to `output`; the histories move on.
pub(super) fn convolve_rows(
    (isa, pool): (Isa, &Pool),
    batch: &Batch<'_>,
    taps: Taps<'_>,
    state: &mut StateLayer,
    input: &[f32],
    output: &mut [f32],
) {
    assert!((1..=TAPS_MAX).contains(&taps.length), "{} taps: the configuration was checked", taps.length);
    let output = Parts::new(output);
    for rows in batch.sequences {
        let history = Parts::new(state.conv_of(rows));
        pool.split(taps.channels.div_ceil(CHANNELS), &|_, blocks| {
            for block in blocks {
                let first = block * CHANNELS;
                let block = Block { taps, rows, first, count: CHANNELS.min(taps.channels - first), input };
                let (history, output) = (&history, &output);
                vectorize!(isa, Block::run,
                    block: Block<'_> = block,
                    history: &Parts<'_, f32> = history,
                    output: &Parts<'_, f32> = output,
                );
            }
        });
    }
}

/// Some channels of one sequence.
#[derive(Clone, Copy)]
struct Block<'a> {
    taps: Taps<'a>,
    rows: &'a SequenceRows<'a>,
    first: usize,
    count: usize,
    input: &'a [f32],
}

impl Block<'_> {
    /// All rows. The history is `[length - 1, channels]`, the oldest first.
    #[inline(always)]
    fn run<S: Simd>(s: S, block: Block<'_>, history: &Parts<'_, f32>, output: &Parts<'_, f32>) {
        let Block { taps: Taps { weight, bias, length, channels }, rows, first, count, input } = block;
        // Weights with channels side by side.
        let mut weights = [[0.0; CHANNELS]; TAPS_MAX];
        for (tap, weights) in weights.iter_mut().enumerate().take(length) {
            for (channel, place) in weights.iter_mut().enumerate().take(count) {
                *place = weight[(first + channel) * length + tap];
            }
        }
        // Tap `length - 1` takes the row itself, the one before it the row before, and so on into the history.
        let at = |index: usize| match (index + 1).checked_sub(length) {
            Some(row) => &input[(rows.first_row + row) * channels + first..][..count],
            // SAFETY: every block of channels is taken once, and is not written while this is read.
            None => unsafe { &*history.part(index * channels + first, count) },
        };
        for row in 0..rows.row_count {
            // SAFETY: every block of a row is taken once.
            let out = unsafe { output.part((rows.first_row + row) * channels + first, count) };
            match bias {
                Some(bias) => out.copy_from_slice(&bias[first..first + count]),
                None => out.fill(0.0),
            }
            for (tap, weights) in weights.iter().enumerate().take(length) {
                add_products(s, out, &weights[..count], at(row + tap));
            }
        }
        for tap in 0..length - 1 {
            let mut value = [0.0; CHANNELS];
            value[..count].copy_from_slice(at(rows.row_count + tap));
            // SAFETY: as above; what was read before is a copy.
            unsafe { history.part(tap * channels + first, count) }.copy_from_slice(&value[..count]);
        }
    }
}

/// `sums[i] += a[i] * b[i]`.
#[inline(always)]
fn add_products<S: Simd>(s: S, sums: &mut [f32], a: &[f32], b: &[f32]) {
    for ((sums, a), b) in sums.chunks_mut(LANES).zip(a.chunks(LANES)).zip(b.chunks(LANES)) {
        match (sums.first_chunk_mut(), a.first_chunk(), b.first_chunk()) {
            (Some(sums), Some(a), Some(b)) => s.store(s.fma(s.load(a), s.load(b), s.load(sums)), sums),
            _ => s.store_part(s.fma(s.load_part(a, 0.0), s.load_part(b, 0.0), s.load_part(sums, 0.0)), sums),
        }
    }
}

impl Buffer {
    /// Some columns of a row.
    pub(super) fn columns(&self, row: usize, first: usize, count: usize) -> &[f32] {
        &self.row(row)[first..first + count]
    }
}
