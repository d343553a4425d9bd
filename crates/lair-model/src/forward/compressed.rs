//! Attention to a window and to compressed keys of one layer.

use lair_compute::{Backend, Batch, CompressedAttentionBuffers};

use super::{Activations, Memory, indexer, mixer_input, project, rooms};
use crate::weights::{CompressedWeights, LayerWeights};

/// Runs it; returns which buffer of `mixed` holds the result.
pub(super) fn run<B: Backend>(
    layer: &LayerWeights<B>,
    weights: &CompressedWeights<B>,
    backend: &mut B,
    activations: &mut Activations<B>,
    memory: &mut Memory<B>,
    batch: &Batch<'_>,
) -> usize {
    let rows = batch.row_count();
    let Activations { residual, hidden, q, mixed, adapters, rooms: all_rooms, chosen, .. } = activations;
    let input = mixer_input(layer, residual, hidden);
    let q = &mut q[weights.q_buffer];
    let [narrow, normed, kv, heads] = weights.rooms;
    {
        let [narrow, normed, kv] = rooms(all_rooms, [narrow, normed, kv]);
        project(backend, rows, input, [(&weights.q_down, &mut *narrow), (&weights.kv, kv)], adapters.as_mut());
        match &weights.q_down_norm {
            Some(norm) => backend.norm(rows, norm, narrow, normed),
            None => backend.copy(rows, narrow, normed),
        }
        project(backend, rows, (None, &*normed), [(&weights.q_up, &mut *q)], adapters.as_mut());
    }
    if let Some(compressor) = &weights.compressor {
        indexer::compress(compressor, backend, memory, batch, input, all_rooms);
    }
    if let (Some(weights), Some(chosen)) = (&weights.indexer, chosen.as_mut()) {
        let [normed, of_queries] = rooms(all_rooms, [normed, weights.q_room]);
        backend.project(rows, None, normed, &mut [(&weights.q, of_queries)]);
        indexer::choose(weights, backend, memory, batch, input, all_rooms, chosen);
    }
    let [kv, heads] = rooms(all_rooms, [kv, heads]);
    let buffers = CompressedAttentionBuffers {
        q,
        kv,
        chosen: chosen.as_ref().filter(|_| weights.reads_chosen),
        mixed: heads,
        output: &mut mixed[weights.mixed_buffer],
    };
    backend.compressed_attention(batch, &weights.region, &mut memory.kv, buffers);
    weights.mixed_buffer
}
