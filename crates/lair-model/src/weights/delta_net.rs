//! The weights of a gated delta net.

use lair_compute::{Activation, Backend, Convolution, DecayForm, DeltaRule, NormGroup, RowSelection};

use super::{Adapted, Builder, width_index};
use crate::ModelError;
use crate::shapes::DeltaNetShape;
use crate::spec::{self, DeltaRates};

/// Gated delta net of one layer, and which of the model's buffers it uses.
pub(crate) struct DeltaNetWeights<B: Backend> {
    pub(crate) qkv: Adapted<B>,
    pub(crate) gate: Adapted<B>,
    pub(crate) alpha: Adapted<B>,
    pub(crate) beta: Adapted<B>,
    pub(crate) convolution: Convolution<B>,
    pub(crate) region: DeltaRule<B>,
    /// Of the four, and of the first behind the convolution.
    pub(crate) rooms: [usize; 5],
    pub(crate) mixed_buffer: usize,
}

impl<B: Backend> Builder<'_, B> {
    pub(super) fn gated_delta_net(
        &mut self,
        mixer: &spec::GatedDeltaNet,
        prefix: &str,
        state_layer: usize,
    ) -> Result<DeltaNetWeights<B>, ModelError> {
        let shape = DeltaNetShape::new(self.config)?;
        let norm = self.norm_of(prefix, mixer.norm, NormGroup::Run(shape.value_dim))?;
        let norm = norm.expect("every declared delta net has a norm");
        let region = DeltaRule {
            state_layer,
            key_head_count: shape.key_head_count,
            value_head_count: shape.value_head_count,
            key_dim: shape.key_dim,
            value_dim: shape.value_dim,
            key_heads: mixer.key_heads,
            decay_form: DecayForm::Softplus,
            decay_width: 1,
            a: self.vector(&format!("{prefix}{}", mixer.decay))?,
            dt_bias: self.vector(&format!("{prefix}{}", mixer.time_step_bias))?,
            unit_epsilon: norm.epsilon,
            norm,
            gate_activation: mixer.gate_activation,
        };
        let stem = format!("{prefix}{}", mixer.convolution);
        let convolution = self.convolution(&stem, shape.conv_length, Some(Activation::Silu), state_layer)?;
        let linear = |stem: &str| self.adapted(&format!("{prefix}{stem}"));
        let (qkv, gate) = (linear(mixer.qkv)?, linear(mixer.gate)?);
        let (alpha, beta) = match mixer.rates {
            DeltaRates::Apart { alpha, beta } => (linear(alpha)?, linear(beta)?),
            DeltaRates::ByKeyHead(stem) => {
                let (count, length) = (shape.key_head_count, shape.value_head_count / shape.key_head_count);
                let rows = |start: usize| RowSelection::Groups { start, length, stride: 2 * length, count };
                let stem = format!("{prefix}{stem}");
                (self.adapted_rows(&stem, rows(length))?, self.adapted_rows(&stem, rows(0))?)
            }
        };
        let (channels, heads) = (shape.channel_count(), shape.value_head_count);
        self.widths.width_max = self.widths.width_max.max(channels + 2 * heads);
        Ok(DeltaNetWeights {
            qkv,
            gate,
            alpha,
            beta,
            convolution,
            region,
            rooms: self.widths.rooms([channels, shape.value_width(), heads, heads, channels]),
            mixed_buffer: width_index(&mut self.widths.mixed, shape.value_width()),
        })
    }
}
