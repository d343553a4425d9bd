//! The choice of keys, and compressed keys, of one layer.

use lair_compute::{Backend, Batch, KeyChooserBuffers, KeyCompressorBuffers, Norm};

use super::{Memory, rooms};
use crate::weights::{CompressorWeights, IndexerWeights};

/// A layer's input and its norm.
pub(super) type Input<'a, B> = (Option<&'a Norm<B>>, &'a <B as Backend>::Buffer);

/// Chooses what the layer's attention reads. The product of the indexer's queries is there already.
pub(super) fn choose<B: Backend>(
    weights: &IndexerWeights<B>,
    backend: &mut B,
    memory: &mut Memory<B>,
    batch: &Batch<'_>,
    input: Input<'_, B>,
    all_rooms: &mut [B::Buffer],
    chosen: &mut B::Chosen,
) {
    let rows = batch.row_count();
    if let Some(compressor) = &weights.compressor {
        compress(compressor, backend, memory, batch, input, all_rooms);
    }
    for (linear, room) in weights.k.iter().chain(&weights.weights) {
        backend.project(rows, input.0, input.1, &mut [(linear, &mut all_rooms[*room])]);
    }
    let region = &weights.region;
    match (&weights.k, &weights.weights) {
        (Some((_, k)), Some((_, of_heads))) => {
            let [q, k, of_heads] = rooms(all_rooms, [weights.q_room, *k, *of_heads]);
            let buffers = KeyChooserBuffers { q, k: Some(k), weights: Some(of_heads) };
            backend.choose_keys(batch, region, &mut memory.kv, buffers, chosen);
        }
        (Some((_, k)), None) => {
            let [q, k] = rooms(all_rooms, [weights.q_room, *k]);
            backend.choose_keys(
                batch,
                region,
                &mut memory.kv,
                KeyChooserBuffers { q, k: Some(k), weights: None },
                chosen,
            );
        }
        (None, Some((_, of_heads))) => {
            let [q, of_heads] = rooms(all_rooms, [weights.q_room, *of_heads]);
            let buffers = KeyChooserBuffers { q, k: None, weights: Some(of_heads) };
            backend.choose_keys(batch, region, &mut memory.kv, buffers, chosen);
        }
        (None, None) => {
            let q = &mut all_rooms[weights.q_room];
            backend.choose_keys(batch, region, &mut memory.kv, KeyChooserBuffers { q, k: None, weights: None }, chosen);
        }
    }
}

/// Makes and stores the keys of the runs that the rows complete.
pub(super) fn compress<B: Backend>(
    weights: &CompressorWeights<B>,
    backend: &mut B,
    memory: &mut Memory<B>,
    batch: &Batch<'_>,
    (norm, input): Input<'_, B>,
    all_rooms: &mut [B::Buffer],
) {
    let (rows, [values, gates, keys]) = (batch.row_count(), weights.rooms);
    let [of_values, of_gates] = rooms(all_rooms, [values, gates]);
    match &weights.gates {
        Some(product) => {
            backend.project(rows, norm, input, &mut [(&weights.values, of_values), (product, of_gates)]);
        }
        None => backend.project(rows, norm, input, &mut [(&weights.values, of_values)]),
    }
    let mut source = values;
    if let Some((norm, room)) = &weights.value_norm {
        let [values, normed] = rooms(all_rooms, [values, *room]);
        backend.norm(rows, norm, values, normed);
        source = *room;
    }
    let [values, gates, output] = rooms(all_rooms, [source, gates, keys]);
    let gates = weights.gates.is_some().then_some(gates);
    let Memory { kv, states } = memory;
    let states = states.as_mut().expect("a model with compressed keys is given states");
    backend.compress_keys(batch, &weights.region, states, kv, KeyCompressorBuffers { values, gates, output });
}
