//! Softmax attention of one layer.

use lair_compute::{AttentionBuffers, Backend, Batch};

use super::{Activations, Memory, indexer, mixer_input, project};
use crate::weights::{AttentionWeights, LayerWeights};

/// Runs it; returns which buffer of `mixed` holds the result.
pub(super) fn run<B: Backend>(
    layer: &LayerWeights<B>,
    weights: &AttentionWeights<B>,
    backend: &mut B,
    activations: &mut Activations<B>,
    memory: &mut Memory<B>,
    batch: &Batch<'_>,
) -> usize {
    let rows = batch.row_count();
    let Activations { residual, hidden, q, k, v, gate, mixed, adapters, rooms, chosen, .. } = activations;
    let (norm, input) = mixer_input(layer, residual, hidden);
    let q = &mut q[weights.q_buffer];
    let mut kv = weights.kv.as_ref().map(|products| (products, &mut k[weights.k_buffer], &mut v[weights.v_buffer]));
    let mut gate = weights.gate.as_ref().map(|product| (product, &mut gate[weights.gate_buffer]));
    // All products of one input in one call, so that it is normalised and quantised once.
    let room = adapters.as_mut();
    match (&mut kv, &mut gate) {
        (Some(((of_k, of_v), k, v)), Some((of_gate, gate))) => {
            let products = [(&weights.q, &mut *q), (of_k, *k), (of_v, *v), (*of_gate, *gate)];
            project(backend, rows, (norm, input), products, room);
        }
        (Some(((of_k, of_v), k, v)), None) => {
            project(backend, rows, (norm, input), [(&weights.q, &mut *q), (of_k, *k), (of_v, *v)], room);
        }
        (None, Some((of_gate, gate))) => {
            project(backend, rows, (norm, input), [(&weights.q, &mut *q), (*of_gate, *gate)], room);
        }
        (None, None) => project(backend, rows, (norm, input), [(&weights.q, &mut *q)], room),
    }
    if let (Some(weights), Some(chosen)) = (&weights.indexer, chosen.as_mut()) {
        backend.project(rows, norm, input, &mut [(&weights.q, &mut rooms[weights.q_room])]);
        indexer::choose(weights, backend, memory, batch, (norm, input), rooms, chosen);
    }
    let buffers = AttentionBuffers {
        q,
        kv: kv.map(|(_, k, v)| (k, v)),
        gate: gate.map(|(_, gate)| &*gate),
        chosen: chosen.as_ref().filter(|_| weights.reads_chosen),
        output: &mut mixed[weights.mixed_buffer],
    };
    backend.attention(batch, &weights.region, &mut memory.kv, buffers);
    weights.mixed_buffer
}
