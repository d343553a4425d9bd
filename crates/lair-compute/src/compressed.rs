//! Keys that stand for runs of positions, and attention that reads them beside a window: what a layer is told, and the
//! buffers it uses.
//!
//! Source: DeepSeek-AI, "DeepSeek-V4", section 2.

use crate::{Attention, Backend, Linear, Norm, RopeTable};

/// Makes one key of each run of `length` positions: the sum of their values, each element by its own softmax over the gates
/// of the run, or their mean where there are no gates; normalised and turned by the position that the run begins at.
///
/// Where runs overlap, values and gates are twice as wide: the first half is what a position gives to the key of the run
/// behind its own, the second what it gives to its own.
///
/// The key is stored at the last position of its run; zeros are stored at the others. State, in place of a convolution's
/// history: values, and gates if any, of the last run, or of the last two where they overlap.
pub struct KeyCompressor<B: Backend> {
    /// Index among the recurrent layers of the state.
    pub state_layer: usize,
    /// Index among the layers of the KV cache.
    pub kv_layer: usize,
    /// Positions of a run.
    pub length: usize,
    /// Whether the run before takes part.
    pub overlaps: bool,
    /// Elements of a key.
    pub dim: usize,
    /// Added to the gates by their place in the run, `[length, width]`; without it there are no gates.
    pub gate_bias: Option<B::Vector>,
    /// Norm of the sum.
    pub norm: Option<Norm<B>>,
    /// How it is turned.
    pub rope: Option<RopeTable>,
    /// Which part of the cache's layer it is; the layer has nothing of the other.
    pub storage: CompressedStorage,
}

/// Which part of a layer of the cache holds compressed keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressedStorage {
    /// Its key: for an indexer.
    Key,
    /// Its value, which is a key as well.
    Value,
}

/// Elements of values, and of gates, for keys of `dim`.
pub fn compressor_width(dim: usize, overlaps: bool) -> usize {
    if overlaps { 2 * dim } else { dim }
}

/// Elements of a compressor's history.
pub fn compressor_history(length: usize, dim: usize, overlaps: bool, has_gates: bool) -> usize {
    let (runs, parts) = (if overlaps { 2 } else { 1 }, if has_gates { 2 } else { 1 });
    runs * length * parts * compressor_width(dim, overlaps)
}

impl<B: Backend> KeyCompressor<B> {
    /// Elements of values, and of gates.
    pub fn width(&self) -> usize {
        compressor_width(self.dim, self.overlaps)
    }

    /// Elements that are kept of a position: values, then gates.
    pub(crate) fn kept_width(&self) -> usize {
        if self.gate_bias.is_some() { 2 * self.width() } else { self.width() }
    }

    /// Positions whose values and gates are kept.
    pub fn kept_positions(&self) -> usize {
        if self.overlaps { 2 * self.length } else { self.length }
    }

    /// The positions that the key of the run ending at `position` is made of, and where in their values its part begins:
    /// those of the run before, if any, then its own.
    pub(crate) fn sources(&self, position: usize) -> impl Iterator<Item = (usize, usize)> + Clone + use<B> {
        let (own, dim, overlaps) = (position + 1 - self.length, self.dim, self.overlaps);
        let start = if overlaps { own.saturating_sub(self.length) } else { own };
        (start..position + 1).map(move |source| (source, if overlaps && source >= own { dim } else { 0 }))
    }
}

/// The buffers of a compressor.
pub struct KeyCompressorBuffers<'a, B: Backend> {
    /// `[rows, width]`.
    pub values: &'a B::Buffer,
    /// `[rows, width]`; changed in place. Absent where there are none.
    pub gates: Option<&'a mut B::Buffer>,
    /// `[rows, dim]`: room for what is stored.
    pub output: &'a mut B::Buffer,
}

/// Attention whose keys are its values, turned part included: over a window, and over compressed keys of all that came
/// before. Results are turned back by the query's position, and taken on by a matrix for each group of heads.
pub struct CompressedAttention<B: Backend> {
    /// Attention over the window: one key and value head, whose layer of the cache has values only
    /// ([`crate::KeyStorage::BehindValue`]). `k_norm` is that of the rows that are both.
    pub attention: Attention<B>,
    /// Turns results back.
    pub turned_back: Option<RopeTable>,
    /// Compressed keys beside the window.
    pub compressed: Option<CompressedKeys>,
    /// `[group_count, rank, head_count / group_count * value_dim]`.
    pub group_output: Linear<B>,
    /// Groups of heads.
    pub group_count: usize,
    /// Elements of a group's result.
    pub rank: usize,
}

/// Where compressed keys lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressedKeys {
    /// Index among the layers of the KV cache.
    pub kv_layer: usize,
    /// Positions that each stands for.
    pub length: usize,
}

/// The buffers of such attention.
pub struct CompressedAttentionBuffers<'a, B: Backend> {
    /// `[rows, head_count * key_dim]`; normalised and turned in place.
    pub q: &'a mut B::Buffer,
    /// `[rows, key_dim]`: keys and values in one, normalised, turned and stored.
    pub kv: &'a mut B::Buffer,
    /// Which compressed keys are read; all where nothing was chosen.
    pub chosen: Option<&'a B::Chosen>,
    /// `[rows, head_count * value_dim]`: room for results of the heads.
    pub mixed: &'a mut B::Buffer,
    /// `[rows, group_count * rank]`.
    pub output: &'a mut B::Buffer,
}
