//! What indexers and compressed keys keep, and the widths of attention to them.

use lair_compute::{StateLayerLayout, compressor_history};

use crate::spec::{CompressedAttention, Compressor, IndexerKeys, KeyChoice};
use crate::{ModelConfig, ModelError};

/// What a compressor keeps.
pub(super) fn history(compressor: &Compressor, dim: usize) -> StateLayerLayout {
    let conv_length = compressor_history(compressor.length, dim, compressor.overlaps, compressor.gates.is_some());
    StateLayerLayout { conv_length, recurrent_length: 0 }
}

/// What an indexer keeps beside its keys.
pub(super) fn choice_state(choice: &KeyChoice) -> Option<StateLayerLayout> {
    let indexer = choice.indexer()?;
    match &indexer.keys {
        IndexerKeys::Compressed(compressor) => Some(history(compressor, indexer.head_dim)),
        IndexerKeys::Own(..) => None,
    }
}

/// Checks the widths of attention to compressed keys; gives how many heads it has.
pub(crate) fn check_compressed(
    mixer: &CompressedAttention,
    config: &ModelConfig,
    layer_index: usize,
) -> Result<usize, ModelError> {
    let wrong = |key: &str, found: usize, expected: &str| {
        let (key, found, expected) = (config.key(key), found.to_string(), expected.to_owned());
        Err(ModelError::Parameter { key, found, expected })
    };
    let (head_count, turned) = (config.head_counts[layer_index], mixer.rope.dimension_count);
    if head_count == 0 || mixer.head_dim == 0 || mixer.window == 0 || mixer.q_rank == 0 || mixer.group_rank == 0 {
        return wrong("attention.head_count", head_count, "heads, a window, and ranks of queries and results above 0");
    }
    if mixer.group_count == 0 || !head_count.is_multiple_of(mixer.group_count) {
        return wrong("attention.output_group_count", mixer.group_count, "a divisor of the number of heads");
    }
    if turned > mixer.head_dim || !turned.is_multiple_of(2) {
        return wrong("rope.dimension_count", turned, "an even number up to the head's width");
    }
    Ok(head_count)
}
