//! What chooses keys, keys that stand for runs of positions, and attention that reads those beside a window.

pub use lair_compute::KeyUnit;

use super::{Norm, Rope, Sinks};

/// Which keys attention reads of those that it sees.
#[allow(clippy::large_enum_variant)] // Plain data that is copied when a model is loaded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KeyChoice {
    /// All.
    All,
    /// Those that an indexer chooses.
    Indexed(Indexer),
    /// Those that the last layer before with an indexer has chosen.
    Earlier,
}

/// Chooses keys by small queries and keys of its own ([`lair_compute::KeyChooser`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Indexer {
    /// Stem of the queries, `[head_count * head_dim, width]`: of the narrow queries of latent attention, or of the layer's
    /// input.
    pub q: &'static str,
    /// Norm of queries, head by head.
    pub q_norm: Norm,
    /// Its keys.
    pub keys: IndexerKeys,
    /// What its heads have to say.
    pub heads: IndexerHeads,
    /// Heads.
    pub head_count: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// How queries and keys are turned.
    pub rope: Option<Rope>,
    /// Elements of a head before the turned ones.
    pub rope_first: usize,
    /// What is chosen.
    pub unit: KeyUnit,
    /// Units that a query reads at most.
    pub chosen_count: usize,
}

/// How scores of an indexer's heads become choices ([`lair_compute::KeyScoring`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum IndexerHeads {
    /// One choice by a weighed sum: stem of the weights, `[head_count, hidden_size]`.
    Weighed(&'static str),
    /// One choice by the plain sum.
    Summed,
    /// Each head chooses for a key and value head of the attention.
    Each,
}

/// Where an indexer's keys come from.
#[allow(clippy::large_enum_variant)] // As above.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum IndexerKeys {
    /// Each position has one: stem of `[head_dim, hidden_size]`, and norm.
    Own(&'static str, Norm),
    /// A run of positions has one.
    Compressed(Compressor),
}

impl Indexer {
    /// As DeepSeek V3.2 has it, with what the file says of it; heads begin with the elements that are turned.
    pub fn of(config: &crate::ModelConfig) -> Option<Indexer> {
        let indexer = config.indexer?;
        Some(Indexer {
            q: "indexer.attn_q_b",
            q_norm: Norm::None,
            keys: IndexerKeys::Own("indexer.attn_k", Norm::LayerAdding("indexer.k_norm", 1e-6)),
            heads: IndexerHeads::Weighed("indexer.proj"),
            head_count: indexer.head_count,
            head_dim: indexer.head_dim,
            rope: Some(Rope::interleaved(config)),
            rope_first: 0,
            unit: KeyUnit::Key,
            chosen_count: indexer.chosen_count,
        })
    }
}

impl KeyChoice {
    /// An indexer in the layers that have one of their own, as the file or `otherwise` says; the others read what the last
    /// such layer has chosen.
    pub fn by_layer(
        indexer: Option<Indexer>,
        config: &crate::ModelConfig,
        layer_index: usize,
        otherwise: impl Fn(usize) -> bool,
    ) -> KeyChoice {
        let types = config.indexer_layers.as_ref();
        let has_own = |index: usize| types.map_or_else(|| otherwise(index), |types| types[index]);
        match indexer {
            None => KeyChoice::All,
            Some(indexer) if has_own(layer_index) => KeyChoice::Indexed(indexer),
            Some(_) => KeyChoice::Earlier,
        }
    }

    /// The indexer, if it is this layer's own.
    pub fn indexer(&self) -> Option<&Indexer> {
        match self {
            KeyChoice::Indexed(indexer) => Some(indexer),
            _ => None,
        }
    }
}

/// Makes one key of a run of positions ([`lair_compute::KeyCompressor`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compressor {
    /// Stem of the values, `[width, hidden_size]`.
    pub values: &'static str,
    /// Norm of the values.
    pub value_norm: Norm,
    /// Stems of the gates, `[width, hidden_size]`, and of what is added to them by their place in the run, `[length, width]`;
    /// without, a key is the mean.
    pub gates: Option<(&'static str, &'static str)>,
    /// Norm of a key.
    pub norm: Norm,
    /// How a key is turned.
    pub rope: Option<Rope>,
    /// Positions of a run.
    pub length: usize,
    /// Whether the run before takes part: then the width is twice a key's, else a key's.
    pub overlaps: bool,
}

/// Attention whose keys are its values, over a window and over compressed keys of all that came before (DeepSeek V4).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompressedAttention {
    /// Stem of what narrows queries, `[q_rank, hidden_size]`.
    pub q_down: &'static str,
    /// Norm of narrow queries.
    pub q_down_norm: Norm,
    /// Stem of what widens them, `[head_count * head_dim, q_rank]`.
    pub q_up: &'static str,
    /// Width of narrow queries.
    pub q_rank: usize,
    /// Norm of each head's query.
    pub q_norm: Norm,
    /// Stem of keys and values in one, `[head_dim, hidden_size]`.
    pub kv: &'static str,
    /// Their norm.
    pub kv_norm: Norm,
    /// Elements of a head.
    pub head_dim: usize,
    /// How the last elements of queries and keys are turned; results are turned back.
    pub rope: Rope,
    /// Positions of the window.
    pub window: usize,
    /// Scores without a value.
    pub sinks: Sinks,
    /// What makes compressed keys, where the layer reads any.
    pub compressor: Option<Compressor>,
    /// Which of them it reads.
    pub choice: KeyChoice,
    /// Stem of `[group_count, group_rank, head_count / group_count * head_dim]`.
    pub group_output: &'static str,
    /// Groups of heads.
    pub group_count: usize,
    /// Elements of a group's result.
    pub group_rank: usize,
    /// Stem of the projection out, `[hidden_size, group_count * group_rank]`.
    pub output: &'static str,
}
