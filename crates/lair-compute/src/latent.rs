//! Attention over compressed keys and values: what a layer is told, and the buffers it uses.
//!
//! Source: DeepSeek-AI, "DeepSeek-V2", section 2.1, with the products of keys and values absorbed (section 2.1.2): all
//! query heads share one key head, `[latent | turned part]`, whose latent is the value as well.

use crate::{Attention, Backend, Linear, Norm};

/// Latent attention of one layer.
pub struct LatentAttention<B: Backend> {
    /// Attention in the compressed space: one key and value head, keys of `kv_rank + rope_dim` elements, values of
    /// `kv_rank`, which the keys begin with, angles behind them. Its gate is applied to the widened output.
    pub attention: Attention<B>,
    /// Norm of the compressed part.
    pub kv_norm: Option<Norm<B>>,
    /// Norm of the turned part of the key, before it is turned.
    pub rope_norm: Option<Norm<B>>,
    /// Elements of a query head that are compared in the compressed space.
    pub nope_dim: usize,
    /// Elements of a query or key head behind them.
    pub rope_dim: usize,
    /// `[head_count, kv_rank, nope_dim]`: takes queries to the compressed space. Absent where nothing is compared there.
    pub k_up: Option<Linear<B>>,
    /// `[head_count, value_dim, kv_rank]`: takes results back.
    pub v_up: Linear<B>,
    /// Elements of a value head.
    pub value_dim: usize,
}

impl<B: Backend> LatentAttention<B> {
    /// Width of the compressed keys and values.
    pub fn kv_rank(&self) -> usize {
        self.attention.value_dim
    }
}

/// The buffers of a latent attention region.
pub struct LatentBuffers<'a, B: Backend> {
    /// `[rows, head_count * (nope_dim + rope_dim)]`.
    pub q: &'a B::Buffer,
    /// `[rows, kv_rank + rope_dim]`: normalised, turned and stored into the cache.
    pub latent: &'a mut B::Buffer,
    /// `[rows, kv_rank]`: room for the values.
    pub values: &'a mut B::Buffer,
    /// `[rows, head_count * (kv_rank + rope_dim)]`: room for queries in the compressed space.
    pub absorbed: &'a mut B::Buffer,
    /// `[rows, head_count * kv_rank]`: room for results in the compressed space.
    pub mixed: &'a mut B::Buffer,
    /// Which keys are read of those that are seen; all where nothing was chosen.
    pub chosen: Option<&'a B::Chosen>,
    /// What the output is multiplied by, as [`Attention::gate`] says.
    pub gate: Option<&'a B::Buffer>,
    /// `[rows, head_count * value_dim]`.
    pub output: &'a mut B::Buffer,
}
