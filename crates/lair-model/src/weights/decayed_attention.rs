//! The weights of linear attention with a constant decay.

use lair_compute::{Backend, DecayedAttention, NormGroup, RowSelection};

use super::{Adapted, Builder, width_index};
use crate::ModelError;
use crate::spec;

/// Decayed attention of one layer, and which of the model's buffers it uses.
pub(crate) struct DecayedAttentionWeights<B: Backend> {
    /// Queries, keys, values and gate.
    pub(crate) products: [Adapted<B>; 4],
    pub(crate) region: DecayedAttention<B>,
    /// Of the four.
    pub(crate) rooms: [usize; 4],
    pub(crate) mixed_buffer: usize,
}

impl<B: Backend> Builder<'_, B> {
    pub(super) fn decayed_attention(
        &mut self,
        mixer: &spec::DecayedAttention,
        prefix: &str,
        layer_index: usize,
        state_layer: usize,
    ) -> Result<DecayedAttentionWeights<B>, ModelError> {
        let (head_count, head_dim) = (self.config.head_counts[layer_index], self.config.key_dim);
        let width = head_count * head_dim;
        let stem = format!("{prefix}{}", mixer.qkv);
        let part = |index: usize| {
            let (start, length, count) = (index * head_dim, head_dim, head_count);
            self.adapted_rows(&stem, RowSelection::Groups { start, length, stride: 3 * head_dim, count })
        };
        let products = [part(0)?, part(1)?, part(2)?, self.adapted(&format!("{prefix}{}", mixer.gate))?];
        let slope = |head: usize| (-8.0 * (head + 1) as f32 / head_count as f32).exp2();
        let region = DecayedAttention {
            state_layer,
            head_count,
            head_dim,
            decays: (0..head_count).map(|head| (-mixer.slope * slope(head)).exp()).collect(),
            activation: Some(mixer.activation),
            norm: self.norm_of(prefix, mixer.norm, NormGroup::Row)?.expect("every declared one has a norm"),
        };
        let rooms = self.widths.rooms([width; 4]);
        let mixed_buffer = width_index(&mut self.widths.mixed, width);
        Ok(DecayedAttentionWeights { products, region, rooms, mixed_buffer })
    }
}
