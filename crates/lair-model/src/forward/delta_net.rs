//! Gated delta net of one layer.

use lair_compute::{Backend, Batch, Columns, ConvolutionBuffers, DeltaRuleBuffers};

use super::{Activations, Memory, mixer_input, project, rooms};
use crate::weights::{DeltaNetWeights, LayerWeights};

/// Runs it; returns which buffer of `mixed` holds the result.
pub(super) fn run<B: Backend>(
    layer: &LayerWeights<B>,
    weights: &DeltaNetWeights<B>,
    backend: &mut B,
    activations: &mut Activations<B>,
    memory: &mut Memory<B>,
    batch: &Batch<'_>,
) -> usize {
    let Activations { residual, hidden, mixed, rooms: all_rooms, adapters, .. } = activations;
    let [qkv, gate, alpha, beta, convolved] = rooms(all_rooms, weights.rooms);
    let products = [
        (&weights.qkv, &mut *qkv),
        (&weights.gate, &mut *gate),
        (&weights.alpha, &mut *alpha),
        (&weights.beta, &mut *beta),
    ];
    project(backend, batch.row_count(), mixer_input(layer, residual, hidden), products, adapters.as_mut());
    let states = memory.states();
    let buffers = ConvolutionBuffers { input: qkv, input_factor: None, output_factor: None, output: convolved };
    backend.convolve(batch, &weights.convolution, states, buffers);
    let key_width = weights.region.key_head_count * weights.region.key_dim;
    let part = |index: usize| Columns { buffer: &*convolved, first: index * key_width };
    let output = &mut mixed[weights.mixed_buffer];
    let buffers = DeltaRuleBuffers { q: part(0), k: part(1), v: part(2), alpha, beta, gate, output };
    backend.delta_rule(batch, &weights.region, states, buffers);
    weights.mixed_buffer
}
