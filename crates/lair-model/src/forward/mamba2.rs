//! Mamba-2 of one layer.

use lair_compute::{Backend, Batch, Columns, ConvolutionBuffers, StateSpaceBuffers};

use super::{Activations, Memory, mixer_input, project, rooms};
use crate::weights::{LayerWeights, Mamba2Weights};

/// Runs it; returns which buffer of `mixed` holds the result.
pub(super) fn run<B: Backend>(
    layer: &LayerWeights<B>,
    weights: &Mamba2Weights<B>,
    backend: &mut B,
    activations: &mut Activations<B>,
    memory: &mut Memory<B>,
    batch: &Batch<'_>,
) -> usize {
    let Activations { residual, hidden, mixed, rooms: all_rooms, adapters, .. } = activations;
    let [gate, channels, time_step, convolved] = rooms(all_rooms, weights.rooms);
    let products =
        [(&weights.gate, &mut *gate), (&weights.channels, &mut *channels), (&weights.time_step, &mut *time_step)];
    project(backend, batch.row_count(), mixer_input(layer, residual, hidden), products, adapters.as_mut());
    let states = memory.states();
    let buffers = ConvolutionBuffers { input: channels, input_factor: None, output_factor: None, output: convolved };
    backend.convolve(batch, &weights.convolution, states, buffers);
    let region = &weights.region;
    let (inner_size, b_width) = (region.head_count * region.head_dim, region.group_count * region.state_size);
    let part = |first: usize| Columns { buffer: &*convolved, first };
    let (x, b, c) = (part(0), part(inner_size), part(inner_size + b_width));
    let output = &mut mixed[weights.mixed_buffer];
    backend.state_space(batch, region, states, StateSpaceBuffers { x, b, c, time_step, gate, output });
    weights.mixed_buffer
}
