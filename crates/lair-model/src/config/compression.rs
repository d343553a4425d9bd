//! Keys that stand for runs of positions, and attention to a window and to such keys.

use super::keys::Keys;
use super::limits;
use crate::ModelError;

/// Attention to a window and to compressed keys (DeepSeek V4).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CompressionConfig {
    /// Base of the angles in layers with compressed keys.
    pub rope_theta: f32,
    /// Width of narrow queries.
    pub q_rank: usize,
    /// Groups of heads that are taken on together.
    pub group_count: usize,
    /// Elements of a group's result.
    pub group_rank: usize,
    /// Leading layers whose experts are chosen by a table of tokens.
    pub table_layer_count: usize,
}

impl CompressionConfig {
    pub(super) fn read(keys: &Keys<'_>, layer_count: usize) -> Result<Option<CompressionConfig>, ModelError> {
        let Some(group_count) = keys.count("attention.output_group_count", 1..=limits::HEAD_COUNT_MAX)? else {
            return Ok(None);
        };
        Ok(Some(CompressionConfig {
            rope_theta: keys.number("attention.compress_rope_freq_base", limits::ROPE_THETA)?.unwrap_or(10_000.0),
            q_rank: keys.required_count("attention.q_lora_rank", 1..=limits::HIDDEN_SIZE_MAX)?,
            group_count,
            group_rank: keys.required_count("attention.output_lora_rank", 1..=limits::HIDDEN_SIZE_MAX)?,
            table_layer_count: keys.count("hash_layer_count", 0..=layer_count)?.unwrap_or(0),
        }))
    }
}

/// Positions that a key of each layer stands for; 0 where a layer has no such keys.
pub(super) fn run_lengths(keys: &Keys<'_>, layer_count: usize) -> Result<Vec<usize>, ModelError> {
    let (key, range) = ("attention.compress_ratios", 0..=limits::CONTEXT_LENGTH_MAX);
    if !keys.is_array(key) {
        return Ok(vec![keys.count(key, range)?.unwrap_or(0); layer_count]);
    }
    let mut lengths = keys.counts(key, limits::LAYER_COUNT_MAX, range)?;
    if lengths.len() < layer_count {
        let expected = format!("one for each of the {layer_count} layers");
        return Err(keys.wrong(key, format!("{} numbers", lengths.len()), expected));
    }
    // Layers that are not run have theirs, too.
    lengths.truncate(layer_count);
    Ok(lengths)
}
