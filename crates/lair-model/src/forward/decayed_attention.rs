//! Linear attention with a constant decay of one layer.

use lair_compute::{Backend, Batch, DecayedAttentionBuffers};

use super::{Activations, Memory, mixer_input, project, rooms};
use crate::weights::{DecayedAttentionWeights, LayerWeights};

/// Runs it; returns which buffer of `mixed` holds the result.
pub(super) fn run<B: Backend>(
    layer: &LayerWeights<B>,
    weights: &DecayedAttentionWeights<B>,
    backend: &mut B,
    activations: &mut Activations<B>,
    memory: &mut Memory<B>,
    batch: &Batch<'_>,
) -> usize {
    let Activations { residual, hidden, mixed, rooms: all_rooms, adapters, .. } = activations;
    let [q, k, v, gate] = rooms(all_rooms, weights.rooms);
    let [of_q, of_k, of_v, of_gate] = &weights.products;
    let products = [(of_q, &mut *q), (of_k, &mut *k), (of_v, &mut *v), (of_gate, &mut *gate)];
    project(backend, batch.row_count(), mixer_input(layer, residual, hidden), products, adapters.as_mut());
    let output = &mut mixed[weights.mixed_buffer];
    let buffers = DecayedAttentionBuffers { q, k, v, gate, output };
    backend.decayed_attention(batch, &weights.region, memory.states(), buffers);
    weights.mixed_buffer
}
