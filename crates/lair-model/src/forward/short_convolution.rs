//! A gated short convolution of one layer.

use lair_compute::{Backend, Batch, ConvolutionBuffers};

use super::{Activations, Memory, mixer_input, project, rooms};
use crate::weights::{LayerWeights, ShortConvolutionWeights};

/// Runs it; returns which buffer of `mixed` holds the result.
pub(super) fn run<B: Backend>(
    layer: &LayerWeights<B>,
    weights: &ShortConvolutionWeights<B>,
    backend: &mut B,
    activations: &mut Activations<B>,
    memory: &mut Memory<B>,
    batch: &Batch<'_>,
) -> usize {
    let Activations { residual, hidden, mixed, rooms: all_rooms, adapters, .. } = activations;
    let [before, after, input] = rooms(all_rooms, weights.rooms);
    let [of_before, of_after, of_input] = &weights.products;
    let products = [(of_before, &mut *before), (of_after, &mut *after), (of_input, &mut *input)];
    project(backend, batch.row_count(), mixer_input(layer, residual, hidden), products, adapters.as_mut());
    let output = &mut mixed[weights.mixed_buffer];
    let buffers = ConvolutionBuffers { input, input_factor: Some(before), output_factor: Some(after), output };
    backend.convolve(batch, &weights.region, memory.states(), buffers);
    weights.mixed_buffer
}
