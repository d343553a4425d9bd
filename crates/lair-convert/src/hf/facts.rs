//! What the names of tensors and the order of their rows follow from, besides the declaration.

use lair_gguf::{GgufError, Metadata};

/// Counts of a model; those that its files do not say are 0 or missing, and who needs them refuses.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Facts {
    /// Query heads.
    pub(crate) head_count: usize,
    /// Heads of keys and values.
    pub(crate) kv_head_count: usize,
    /// Layers.
    pub(crate) layer_count: Option<u32>,
    /// Whether there are experts.
    pub(crate) has_experts: bool,
    /// Rows of a head that are turned, behind others that are not.
    pub(crate) tail_rows: usize,
    /// Rows of an indexer's key.
    pub(crate) indexer_key_rows: usize,
    /// Of each head's rows those that are turned, where that is not all of them.
    pub(crate) turned_rows: Option<usize>,
    /// Positions that stand for padding, before those of tokens.
    pub(crate) padding_positions: usize,
    /// Groups of a state space (Mamba-2).
    pub(crate) state_group_count: usize,
    /// Heads of a delta net, where there is one.
    pub(crate) delta: Option<DeltaFacts>,
    /// Experts.
    pub(crate) expert_count: usize,
    /// Heads of keys and values of each layer, where they differ.
    pub(crate) kv_heads_of_layers: Option<Vec<usize>>,
    /// What the embedding is multiplied by.
    pub(crate) embedding_scale: f32,
    /// What logits are multiplied by.
    pub(crate) head_scale: f32,
    /// After so many layers what they add is halved once more; 0 for never (RWKV 6).
    pub(crate) halved_every: usize,
}

/// Heads of a delta net; none of these is 0, and value heads fall evenly to key heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeltaFacts {
    pub(crate) key_head_count: usize,
    pub(crate) value_head_count: usize,
    pub(crate) key_dim: usize,
    pub(crate) value_dim: usize,
}

impl DeltaFacts {
    /// The same, if it can be.
    pub(crate) fn new([key_head_count, value_head_count, key_dim, value_dim]: [usize; 4]) -> Option<DeltaFacts> {
        let is_sound = [key_head_count, value_head_count, key_dim, value_dim].iter().all(|count| *count > 0)
            && value_head_count.is_multiple_of(key_head_count);
        is_sound.then_some(DeltaFacts { key_head_count, value_head_count, key_dim, value_dim })
    }

    /// Rows of queries and keys.
    pub(crate) fn key_rows(&self) -> usize {
        2 * self.key_head_count.saturating_mul(self.key_dim)
    }
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
        let state_group_count = count("ssm.group_count").unwrap_or(0);
        let state = ["ssm.group_count", "ssm.time_step_rank", "ssm.state_size", "ssm.inner_size"].map(count);
        let delta = match state {
            [Some(keys), Some(values), Some(dim), Some(inner)] => {
                DeltaFacts::new([keys, values, dim, inner.checked_div(values).unwrap_or(0)])
            }
            _ => None,
        };
        let turned_rows = count("rope.dimension_count").filter(|rows| *rows > 0);
        let expert_count = count("expert_count").unwrap_or(0);
        let has_experts = expert_count > 0;
        Ok(Facts {
            head_count,
            kv_head_count,
            layer_count,
            has_experts,
            tail_rows: count("rope.dimension_count").unwrap_or(0),
            indexer_key_rows: count("attention.indexer.key_length").unwrap_or(0),
            turned_rows,
            padding_positions: 0,
            state_group_count,
            delta,
            expert_count,
            kv_heads_of_layers: None,
            embedding_scale: 1.0,
            head_scale: 1.0,
            halved_every: 0,
        })
    }

    /// The same for the tensor `name` of a model: layers may differ.
    pub(crate) fn of_tensor(&self, name: &str) -> Facts {
        let kv_heads = self.kv_heads_of_layers.as_ref().and_then(|heads| heads.get(layer_of(name)?));
        Facts { kv_head_count: kv_heads.copied().unwrap_or(self.kv_head_count), ..self.clone() }
    }

    /// The heads of the delta net, else what is expected.
    pub(crate) fn delta(&self) -> Result<DeltaFacts, String> {
        self.delta.ok_or_else(|| "the counts and widths of key and value heads in `config.json`".to_owned())
    }

    /// Heads that the rows of a product fall into.
    pub(crate) fn heads_of(&self, stem: &str) -> usize {
        if stem == "attn_k" { self.kv_head_count } else { self.head_count }
    }
}

/// The layer that a tensor of a model belongs to.
pub(crate) fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}
