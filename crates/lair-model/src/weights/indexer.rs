//! The weights of indexers and of compressed keys.

use lair_compute::{
    Backend, CompressedStorage, KeyChooser, KeyCompressor, KeyScoring, KvLayerLayout, Linear, NormGroup, RopeTable,
};

use super::Builder;
use crate::ModelError;
use crate::spec::{Compressor, Indexer, IndexerHeads, IndexerKeys, KeyChoice, Rope};

/// What chooses keys for a layer, and which of the model's rooms it uses.
pub(crate) struct IndexerWeights<B: Backend> {
    pub(crate) q: Linear<B>,
    /// The keys' product, where each position has one.
    pub(crate) k: Option<(Linear<B>, usize)>,
    pub(crate) compressor: Option<CompressorWeights<B>>,
    pub(crate) weights: Option<(Linear<B>, usize)>,
    pub(crate) region: KeyChooser<B>,
    pub(crate) q_room: usize,
}

/// What makes compressed keys, and which of the model's rooms it uses.
pub(crate) struct CompressorWeights<B: Backend> {
    pub(crate) values: Linear<B>,
    /// Norm of the values, and the room for what it gives.
    pub(crate) value_norm: Option<(lair_compute::Norm<B>, usize)>,
    pub(crate) gates: Option<Linear<B>>,
    pub(crate) region: KeyCompressor<B>,
    /// Values, gates, and keys.
    pub(crate) rooms: [usize; 3],
}

/// Choices of a row, and positions they are made among.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ChoiceRoom {
    pub(crate) choices: usize,
    pub(crate) positions: usize,
}

impl<B: Backend> Builder<'_, B> {
    /// A table of angles for heads that have so many elements before the turned ones.
    pub(super) fn rope_behind(&self, rope: Option<Rope>, first: usize) -> Result<Option<RopeTable>, ModelError> {
        rope.map(|rope| Ok(RopeTable { first, ..self.rope(&rope)? })).transpose()
    }

    /// The indexer of a layer that has one of its own; its compressor's state is `state_layer`.
    pub(super) fn indexer(
        &mut self,
        choice: &KeyChoice,
        prefix: &str,
        state_layer: usize,
        taken: &[usize],
    ) -> Result<Option<Box<IndexerWeights<B>>>, ModelError> {
        let Some(indexer) = choice.indexer() else { return Ok(None) };
        let Indexer { head_count, head_dim, .. } = *indexer;
        let stem = |name: &str| format!("{prefix}{name}");
        self.memory.kv.push(KvLayerLayout { kv_head_count: 1, key_dim: head_dim, value_dim: 0 });
        let kv_layer = self.memory.kv.len() - 1;
        let [q_room, k_room, weights_room] =
            self.widths.rooms_beside(taken, [head_count * head_dim, head_dim, head_count]);
        let taken = [taken, &[q_room, k_room, weights_room][..]].concat();
        let (mut k, mut k_norm, mut compressor) = (None, None, None);
        match &indexer.keys {
            IndexerKeys::Own(name, norm) => {
                k = Some((self.linear(&stem(name))?, k_room));
                k_norm = self.norm_of(prefix, *norm, NormGroup::Row)?;
            }
            IndexerKeys::Compressed(declared) => {
                let layers = (kv_layer, state_layer, CompressedStorage::Key);
                compressor = Some(self.compressor(declared, (head_dim, indexer.rope_first), prefix, layers, &taken)?);
            }
        }
        let (weights, scoring) = match indexer.heads {
            IndexerHeads::Weighed(name) => (Some(self.linear(&stem(name))?), KeyScoring::Weighed),
            IndexerHeads::Summed => (None, KeyScoring::Summed),
            IndexerHeads::Each => (None, KeyScoring::EachHead),
        };
        let region = KeyChooser {
            kv_layer,
            head_count,
            head_dim,
            q_norm: self.norm_of(prefix, indexer.q_norm, NormGroup::Run(head_dim))?,
            k_norm,
            rope: self.rope_behind(indexer.rope, indexer.rope_first)?,
            scoring,
            unit: indexer.unit,
            chosen_count: indexer.chosen_count,
        };
        let room = &mut self.widths.choices;
        room.choices = room.choices.max(region.choice_count());
        room.positions = self.context_length;
        Ok(Some(Box::new(IndexerWeights {
            q: self.linear(&stem(indexer.q))?,
            k,
            compressor,
            weights: weights.map(|weights| (weights, weights_room)),
            region,
            q_room,
        })))
    }

    /// What makes compressed keys of `dim` elements, of which so many stand before the turned ones.
    pub(super) fn compressor(
        &mut self,
        declared: &Compressor,
        (dim, rope_first): (usize, usize),
        prefix: &str,
        (kv_layer, state_layer, storage): (usize, usize, CompressedStorage),
        taken: &[usize],
    ) -> Result<CompressorWeights<B>, ModelError> {
        let stem = |name: &str| format!("{prefix}{name}");
        let (mut gates, mut gate_bias) = (None, None);
        if let Some((product, bias)) = declared.gates {
            gates = Some(self.linear(&stem(product))?);
            gate_bias = Some(self.vector(&format!("{}.weight", stem(bias)))?);
        }
        let region = KeyCompressor {
            state_layer,
            kv_layer,
            length: declared.length,
            overlaps: declared.overlaps,
            dim,
            gate_bias,
            norm: self.norm(prefix, declared.norm)?,
            rope: self.rope_behind(declared.rope, rope_first)?,
            storage,
        };
        let width = region.width();
        let [values, of_gates, keys, normed] = self.widths.rooms_beside(taken, [width, width, dim, width]);
        let value_norm = self.norm_of(prefix, declared.value_norm, NormGroup::Row)?;
        Ok(CompressorWeights {
            values: self.linear(&stem(declared.values))?,
            value_norm: value_norm.map(|norm| (norm, normed)),
            gates,
            region,
            rooms: [values, of_gates, keys],
        })
    }
}
