//! Latent attention of one layer.

use lair_compute::{Backend, Batch, LatentBuffers};

use super::{Activations, Memory, indexer, mixer_input, project};
use crate::weights::{LatentWeights, LayerWeights};

/// Runs it; returns which buffer of `mixed` holds the result.
pub(super) fn run<B: Backend>(
    layer: &LayerWeights<B>,
    weights: &LatentWeights<B>,
    backend: &mut B,
    activations: &mut Activations<B>,
    memory: &mut Memory<B>,
    batch: &Batch<'_>,
) -> usize {
    let rows = batch.row_count();
    let Activations { residual, hidden, q, k, v, gate, mixed, latent, absorbed, absorbed_mixed, .. } = activations;
    let Activations { adapters, rooms, chosen, .. } = activations;
    let (norm, input) = mixer_input(layer, residual, hidden);
    let q = &mut q[weights.q_buffer];
    let latent = &mut latent[weights.latent_buffer];
    let mut gate = weights.gate.as_ref().map(|product| (product, &mut gate[weights.gate_buffer]));
    // What narrows queries, or makes them; then all products of the layer's input in one call.
    let of_q = match &weights.q_down {
        Some(narrow) => (&narrow.down, &mut k[narrow.buffers.0]),
        None => (&weights.q, &mut *q),
    };
    let of_kv = (&weights.kv_down, &mut *latent);
    match &mut gate {
        Some((of_gate, gate)) => {
            project(backend, rows, (norm, input), [of_q, of_kv, (*of_gate, *gate)], adapters.as_mut());
        }
        None => project(backend, rows, (norm, input), [of_q, of_kv], adapters.as_mut()),
    }
    if let Some(narrow) = &weights.q_down {
        let (product, normed) = (&k[narrow.buffers.0], &mut v[narrow.buffers.1]);
        let narrowed = match &narrow.norm {
            Some(norm) => {
                backend.norm(rows, norm, product, normed);
                &*normed
            }
            None => product,
        };
        project(backend, rows, (None, narrowed), [(&weights.q, &mut *q)], adapters.as_mut());
        if let Some(weights) = &weights.indexer {
            backend.project(rows, None, narrowed, &mut [(&weights.q, &mut rooms[weights.q_room])]);
        }
    }
    if let (None, Some(weights)) = (&weights.q_down, &weights.indexer) {
        backend.project(rows, norm, input, &mut [(&weights.q, &mut rooms[weights.q_room])]);
    }
    if let (Some(weights), Some(chosen)) = (&weights.indexer, chosen.as_mut()) {
        indexer::choose(weights, backend, memory, batch, (norm, input), rooms, chosen);
    }
    let (compressed, output) = weights.mixed_buffers;
    let buffers = LatentBuffers {
        q,
        latent,
        values: &mut v[weights.values_buffer],
        absorbed: &mut absorbed[weights.absorbed_buffer],
        mixed: &mut absorbed_mixed[compressed],
        chosen: chosen.as_ref().filter(|_| weights.reads_chosen),
        gate: gate.map(|(_, gate)| &*gate),
        output: &mut mixed[output],
    };
    backend.latent_attention(batch, &weights.region, &mut memory.kv, buffers);
    output
}
