//! Which of the model's own adapters each row uses: the one that a token before it has switched on.
//!
//! It is found by attention, so that it lies with the keys of a sequence: pages are shared, copied and kept as those of any
//! layer. Where several such tokens are seen, the number is the mean of theirs, as files are made for a runtime that does so.

use lair_compute::{AttentionBuffers, Backend, Batch};

use super::{Activations, Memory, rooms};
use crate::weights::{SWITCH_WIDTH, SwitchWeights};

/// What the search needs.
pub(super) struct SwitchRoom {
    /// By row the number of an adapter, or the row of a table.
    slots: Vec<u32>,
    /// `[rows, SWITCH_WIDTH]`: what was found.
    found: Vec<f32>,
}

impl SwitchRoom {
    pub(super) fn new(rows_max: usize) -> SwitchRoom {
        SwitchRoom { slots: Vec::with_capacity(rows_max), found: vec![0.0; rows_max * SWITCH_WIDTH] }
    }
}

/// Takes the adapters of a step's rows, and puts what is embedded in the stead of tokens that switch.
pub(super) fn begin<B: Backend>(
    weights: &SwitchWeights<B>,
    backend: &mut B,
    activations: &mut Activations<B>,
    memory: &mut Memory<B>,
    batch: &Batch<'_>,
) {
    let Activations { rooms: all_rooms, tokens, switch, adapters, .. } = activations;
    let SwitchRoom { slots, found } = switch.as_mut().expect("a model with such adapters has room for the search");
    let [q, k, v, output] = rooms(all_rooms, weights.rooms);
    slots.clear();
    slots.extend(tokens.iter().map(|token| weights.tokens.get(token).map_or(0, |(slot, _)| *slot)));
    backend.embed(&weights.values, slots, 1.0, v);
    slots.iter_mut().for_each(|slot| *slot = u32::from(*slot > 0));
    backend.embed(&weights.keys, slots, 1.0, k);
    slots.fill(0);
    backend.embed(&weights.queries, slots, 1.0, q);
    let buffers = AttentionBuffers { q, kv: Some((k, v)), gate: None, chosen: None, output: &mut *output };
    backend.attention(batch, &weights.region, &mut memory.kv, buffers);

    let found = &mut found[..tokens.len() * SWITCH_WIDTH];
    backend.read(tokens.len(), output, found);
    let last = (weights.slot_count - 1) as f32;
    for (slot, found) in slots.iter_mut().zip(found.chunks_exact(SWITCH_WIDTH)) {
        *slot = found[0].clamp(0.0, last).round() as u32;
    }
    for token in tokens.iter_mut() {
        *token = weights.tokens.get(token).map_or(*token, |(_, embedded)| *embedded);
    }
    adapters.as_mut().expect("a model with adapters has room for them").switch(slots);
}
