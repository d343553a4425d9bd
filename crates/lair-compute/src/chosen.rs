//! Keys that a query chooses: what an indexer is told, and which keys its choice covers.
//!
//! Sources: DeepSeek-AI, "DeepSeek-V3.2", section 2.1 (single keys by many heads); Yuan et al., "Native Sparse Attention",
//! section 3 (compressed keys, and blocks of keys).

use std::ops::Range;

use crate::{Backend, Norm, RopeTable};

/// What is chosen. A unit is one of so many that a query chooses at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUnit {
    /// One position.
    Key,
    /// A run of so many positions that a [`crate::KeyCompressor`] has made one key of, which lies at the last of them: that
    /// one key. Only whole runs are seen.
    Compressed {
        /// Positions of a run.
        length: usize,
    },
    /// As [`KeyUnit::Compressed`], but all positions of the run are read.
    Pool {
        /// Positions of a run.
        length: usize,
        /// Whether the positions behind the last whole run are read besides.
        takes_rest: bool,
    },
    /// A run of so many positions, by the best of them; those that the query has reached already.
    Block {
        /// Positions of a run.
        length: usize,
        /// So many runs, the query's own the last of them, come before all others.
        local_count: usize,
    },
}

impl KeyUnit {
    /// Units that the query at `position` can choose from.
    pub fn count(self, position: usize) -> usize {
        match self {
            KeyUnit::Key => position + 1,
            KeyUnit::Compressed { length } | KeyUnit::Pool { length, .. } => (position + 1) / length,
            KeyUnit::Block { length, .. } => position / length + 1,
        }
    }

    /// The positions whose scores a unit has the best of.
    pub fn scored(self, unit: usize, position: usize) -> Range<usize> {
        match self {
            KeyUnit::Key => unit..unit + 1,
            KeyUnit::Compressed { length } | KeyUnit::Pool { length, .. } => {
                (unit + 1) * length - 1..(unit + 1) * length
            }
            KeyUnit::Block { length, .. } => unit * length..((unit + 1) * length).min(position + 1),
        }
    }

    /// The positions that are read where the unit is chosen.
    pub fn covered(self, unit: usize, position: usize) -> Range<usize> {
        match self {
            KeyUnit::Pool { length, .. } => unit * length..(unit + 1) * length,
            _ => self.scored(unit, position),
        }
    }

    /// The positions that are read whatever is chosen.
    pub fn always_read(self, position: usize) -> Range<usize> {
        match self {
            KeyUnit::Pool { length, takes_rest: true } => (position + 1) / length * length..position + 1,
            _ => 0..0,
        }
    }

    /// Whether the unit comes before all others.
    pub fn comes_first(self, unit: usize, position: usize) -> bool {
        matches!(self, KeyUnit::Block { length, local_count } if unit + local_count > position / length)
    }
}

/// How keys are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyScoring {
    /// `sum over heads of weight * max(query . key, 0)`: one choice for all heads of the attention.
    Weighed,
    /// `sum over heads of max(query . key, 0)`: one choice for all heads of the attention.
    Summed,
    /// `query . key`: a choice for each head, which is that of a key and value head of the attention.
    EachHead,
}

/// Chooses keys for each query: the best units by their scores, of equal ones those that come first.
pub struct KeyChooser<B: Backend> {
    /// Index among the layers of the KV cache: one head of keys of `head_dim`, no values.
    pub kv_layer: usize,
    /// Heads of queries.
    pub head_count: usize,
    /// Elements of a head, and of a key.
    pub head_dim: usize,
    /// Norm of queries.
    pub q_norm: Option<Norm<B>>,
    /// Norm of keys.
    pub k_norm: Option<Norm<B>>,
    /// How queries and keys are turned, behind their norms.
    pub rope: Option<RopeTable>,
    /// How keys are scored.
    pub scoring: KeyScoring,
    /// What is chosen.
    pub unit: KeyUnit,
    /// Units that a query reads at most.
    pub chosen_count: usize,
}

impl<B: Backend> KeyChooser<B> {
    /// Choices of a query.
    pub fn choice_count(&self) -> usize {
        match self.scoring {
            KeyScoring::Weighed | KeyScoring::Summed => 1,
            KeyScoring::EachHead => self.head_count,
        }
    }
}

/// The buffers of a choice.
pub struct KeyChooserBuffers<'a, B: Backend> {
    /// `[rows, head_count * head_dim]`; normalised and turned in place.
    pub q: &'a mut B::Buffer,
    /// `[rows, head_dim]`, normalised, turned and stored into the cache. Absent where a compressor has stored them.
    pub k: Option<&'a mut B::Buffer>,
    /// `[rows, head_count]`, where scores are weighed.
    pub weights: Option<&'a B::Buffer>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_cover_what_was_seen() {
        let pool = KeyUnit::Pool { length: 4, takes_rest: true };
        assert_eq!((pool.count(2), pool.always_read(2)), (0, 0..3));
        assert_eq!((pool.count(3), pool.always_read(3)), (1, 4..4));
        assert_eq!((pool.count(9), pool.always_read(9), pool.covered(1, 9), pool.scored(1, 9)), (2, 8..10, 4..8, 7..8));
        let compressed = KeyUnit::Compressed { length: 4 };
        assert_eq!((compressed.count(9), compressed.covered(1, 9), compressed.always_read(9)), (2, 7..8, 0..0));
        let block = KeyUnit::Block { length: 4, local_count: 1 };
        assert_eq!((block.count(9), block.covered(2, 9), block.covered(1, 9)), (3, 8..10, 4..8));
        assert!(block.comes_first(2, 9) && !block.comes_first(1, 9));
        assert_eq!((KeyUnit::Key.count(0), KeyUnit::Key.covered(5, 9)), (1, 5..6));
    }
}
