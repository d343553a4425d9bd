//! The weights of a Mamba-2 layer.

use std::ops::Range;

use lair_compute::{Activation, Backend, Convolution, NormGroup, RowSelection, StateDecay, StateSpace};

use super::{Adapted, Builder, width_index};
use crate::ModelError;
use crate::shapes::Mamba2Shape;
use crate::spec;

/// Mamba-2 of one layer, and which of the model's buffers it uses.
pub(crate) struct Mamba2Weights<B: Backend> {
    pub(crate) gate: Adapted<B>,
    /// Channels, `B` and `C`.
    pub(crate) channels: Adapted<B>,
    pub(crate) time_step: Adapted<B>,
    pub(crate) convolution: Convolution<B>,
    pub(crate) region: StateSpace<B>,
    /// Of the three, and of the channels behind the convolution.
    pub(crate) rooms: [usize; 4],
    pub(crate) mixed_buffer: usize,
}

impl<B: Backend> Builder<'_, B> {
    pub(super) fn mamba2(
        &mut self,
        mixer: &spec::Mamba2,
        prefix: &str,
        state_layer: usize,
    ) -> Result<Mamba2Weights<B>, ModelError> {
        let shape = Mamba2Shape::new(self.config)?;
        let (inner_size, channels, heads) = (shape.inner_size, shape.channel_count(), shape.head_count);
        let stem = format!("{prefix}{}", mixer.input);
        let rows = |rows: Range<usize>| self.adapted_rows(&stem, RowSelection::Range(rows));
        let region = StateSpace {
            state_layer,
            head_count: heads,
            head_dim: inner_size / heads,
            group_count: shape.group_count,
            state_size: shape.state_size,
            decay: StateDecay::Head(self.vector(&format!("{prefix}{}", mixer.decay))?),
            time_step_bias: Some(self.vector(&format!("{prefix}{}", mixer.time_step_bias))?),
            skip: self.vector(&format!("{prefix}{}", mixer.skip))?,
            norm: self.norm_of(prefix, mixer.norm, NormGroup::Part(inner_size / shape.group_count))?,
        };
        let convolved = format!("{prefix}{}", mixer.convolution);
        Ok(Mamba2Weights {
            gate: rows(0..inner_size)?,
            channels: rows(inner_size..inner_size + channels)?,
            time_step: rows(inner_size + channels..inner_size + channels + heads)?,
            convolution: self.convolution(&convolved, shape.conv_length, Some(Activation::Silu), state_layer)?,
            region,
            rooms: self.widths.rooms([inner_size, channels, heads, channels]),
            mixed_buffer: width_index(&mut self.widths.mixed, inner_size),
        })
    }
}
