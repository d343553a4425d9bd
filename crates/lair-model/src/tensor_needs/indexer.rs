//! The tensors of indexers, of compressed keys, and of attention to those.

use lair_compute::compressor_width;

use super::{Fit, List, Presence};
use crate::ModelError;
use crate::shapes::check_compressed;
use crate::spec::{CompressedAttention, Compressor, Indexer, IndexerHeads, IndexerKeys, KeyChoice};

impl List<'_> {
    /// `q_width` is the width of what queries are made of.
    pub(super) fn key_choice(&mut self, choice: &KeyChoice, q_width: usize) -> Result<(), ModelError> {
        let Some(indexer) = choice.indexer() else { return Ok(()) };
        let Indexer { head_count, head_dim, .. } = *indexer;
        for (key, count) in [("head_count", head_count), ("key_length", head_dim)] {
            if count == 0 {
                let key = self.config.key(&format!("attention.indexer.{key}"));
                return Err(ModelError::MissingKey { key, expected: "the heads of what chooses keys" });
            }
        }
        let turned = indexer.rope.map_or(0, |rope| rope.dimension_count);
        if indexer.rope_first + turned > head_dim || !turned.is_multiple_of(2) {
            return Err(ModelError::Parameter {
                key: self.config.key("attention.indexer.key_length"),
                found: head_dim.to_string(),
                expected: format!("room for the {turned} elements that are turned"),
            });
        }
        if indexer.chosen_count == 0 {
            return Err(ModelError::Parameter {
                key: self.config.key("attention.indexer.top_k"),
                found: self.config.indexer.map_or(0, |indexer| indexer.chosen_count).to_string(),
                expected: "as many keys as stand together, or more".to_owned(),
            });
        }
        let hidden_size = self.config.hidden_size;
        self.linear(indexer.q, q_width, head_count * head_dim);
        self.norm(indexer.q_norm, head_dim);
        match &indexer.keys {
            IndexerKeys::Own(stem, norm) => {
                self.linear(stem, hidden_size, head_dim);
                self.norm(*norm, head_dim);
            }
            IndexerKeys::Compressed(compressor) => self.compressor(compressor, head_dim),
        }
        if let IndexerHeads::Weighed(stem) = indexer.heads {
            self.linear(stem, hidden_size, head_count);
        }
        Ok(())
    }

    fn compressor(&mut self, compressor: &Compressor, dim: usize) {
        let width = compressor_width(dim, compressor.overlaps);
        self.linear(compressor.values, self.config.hidden_size, width);
        self.norm(compressor.value_norm, width);
        if let Some((gates, bias)) = compressor.gates {
            self.linear(gates, self.config.hidden_size, width);
            self.add(&format!("{bias}.weight"), &[width, compressor.length], Presence::Required);
        }
        self.norm(compressor.norm, dim);
    }

    pub(super) fn compressed_attention(
        &mut self,
        mixer: &CompressedAttention,
        layer_index: usize,
    ) -> Result<(), ModelError> {
        let head_count = check_compressed(mixer, self.config, layer_index)?;
        let (hidden_size, dim) = (self.config.hidden_size, mixer.head_dim);
        self.linear(mixer.q_down, hidden_size, mixer.q_rank);
        self.norm(mixer.q_down_norm, mixer.q_rank);
        self.linear(mixer.q_up, mixer.q_rank, head_count * dim);
        self.norm(mixer.q_norm, dim);
        self.linear(mixer.kv, hidden_size, dim);
        self.norm(mixer.kv_norm, dim);
        self.sinks(mixer.sinks, head_count);
        if let Some(compressor) = &mixer.compressor {
            self.compressor(compressor, dim);
        }
        self.key_choice(&mixer.choice, mixer.q_rank)?;
        let group_width = head_count / mixer.group_count * dim;
        let group_output = self.needs.len();
        self.stack(mixer.group_output, group_width, mixer.group_rank, mixer.group_count);
        self.needs[group_output].fit = Fit::Stacked;
        self.linear(mixer.output, mixer.group_count * mixer.group_rank, hidden_size);
        Ok(())
    }
}
