//! What the names of tensors and the order of their rows follow from, besides the declaration.

use lair_gguf::{GgufError, Metadata};

/// Counts of a model; those that its files do not say are 0 or missing, and who needs them refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Query heads.
    pub(crate) head_count: usize,
    /// Heads of keys and values.
    pub(crate) kv_head_count: usize,
    /// Layers.
    pub(crate) layer_count: Option<u32>,
}

impl Facts {
    /// Reads them off the keys of a GGUF file.
    pub(crate) fn of_metadata(metadata: &Metadata, architecture: &str) -> Result<Facts, GgufError> {
        // A count for each layer is for models whose rows keep their order.
        let count = |key: &str| metadata.get(&format!("{architecture}.{key}")).and_then(|value| value.as_integer());
        let count = |key: &str| count(key).and_then(|count| usize::try_from(count).ok());
        let head_count = count("attention.head_count").unwrap_or(0);
        let kv_head_count = count("attention.head_count_kv").unwrap_or(head_count);
        let layer_count = metadata.optional_u32(&format!("{architecture}.block_count"))?;
        Ok(Facts { head_count, kv_head_count, layer_count })
    }

    /// Heads that the rows of a product fall into.
    pub(crate) fn heads_of(&self, stem: &str) -> usize {
        if stem == "attn_k" { self.kv_head_count } else { self.head_count }
    }
}
