//! The weights of a gated delta net.

use lair_compute::{Backend, GatedDeltaNet, NormGroup, StateLayerLayout};

use super::{Adapted, Builder, width_index};
use crate::ModelError;
use crate::shapes::DeltaNetShape;
use crate::spec;

/// Gated delta net of one layer, and which of the model's buffers it uses.
pub(crate) struct DeltaNetWeights<B: Backend> {
    pub(crate) qkv: Adapted<B>,
    pub(crate) gate: Adapted<B>,
    pub(crate) alpha: Adapted<B>,
    pub(crate) beta: Adapted<B>,
    pub(crate) region: GatedDeltaNet<B>,
    pub(crate) qkv_buffer: usize,
    pub(crate) alpha_buffer: usize,
    pub(crate) gate_buffer: usize,
    pub(crate) mixed_buffer: usize,
}

impl<B: Backend> Builder<'_, B> {
    pub(super) fn gated_delta_net(
        &mut self,
        mixer: &spec::GatedDeltaNet,
        prefix: &str,
        layer_index: usize,
    ) -> Result<DeltaNetWeights<B>, ModelError> {
        let shape = DeltaNetShape::new(self.config)?;
        self.memory.kv_of_layer.resize(layer_index + 1, None);
        self.memory.states.push(StateLayerLayout {
            conv_length: (shape.conv_length - 1) * shape.channel_count(),
            recurrent_length: shape.value_head_count * shape.key_dim * shape.value_dim,
        });
        let norm = self.norm_of(prefix, mixer.norm, NormGroup::Run(shape.value_dim))?;
        let region = GatedDeltaNet {
            state_layer: self.memory.states.len() - 1,
            key_head_count: shape.key_head_count,
            value_head_count: shape.value_head_count,
            key_dim: shape.key_dim,
            value_dim: shape.value_dim,
            conv_length: shape.conv_length,
            conv_weight: self.vector(&format!("{prefix}{}.weight", mixer.convolution))?,
            a: self.vector(&format!("{prefix}{}", mixer.decay))?,
            dt_bias: self.vector(&format!("{prefix}{}", mixer.time_step_bias))?,
            norm: norm.expect("every declared delta net has a norm"),
        };
        let linear = |stem: &str| self.adapted(&format!("{prefix}{stem}"));
        let (qkv, gate) = (linear(mixer.qkv)?, linear(mixer.gate)?);
        let (alpha, beta) = (linear(mixer.alpha)?, linear(mixer.beta)?);
        Ok(DeltaNetWeights {
            qkv,
            gate,
            alpha,
            beta,
            region,
            qkv_buffer: width_index(&mut self.widths.qkv, shape.channel_count()),
            alpha_buffer: width_index(&mut self.widths.alpha, shape.value_head_count),
            gate_buffer: width_index(&mut self.widths.gate, shape.value_width()),
            mixed_buffer: width_index(&mut self.widths.mixed, shape.value_width()),
        })
    }
}
