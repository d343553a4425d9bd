//! What recurrent mixers need.

use super::{List, Presence};
use crate::ModelError;
use crate::shapes::{DeltaNetShape, Mamba2Shape};
use crate::spec::{GatedDeltaNet, Mamba2, ShortConvolution};

impl List<'_> {
    pub(super) fn gated_delta_net(&mut self, mixer: &GatedDeltaNet) -> Result<(), ModelError> {
        let shape = DeltaNetShape::new(self.config)?;
        let hidden_size = self.config.hidden_size;
        self.linear(mixer.qkv, hidden_size, shape.channel_count());
        self.linear(mixer.gate, hidden_size, shape.value_width());
        self.linear(mixer.alpha, hidden_size, shape.value_head_count);
        self.linear(mixer.beta, hidden_size, shape.value_head_count);
        let convolution = [shape.conv_length, shape.channel_count()];
        self.add(&format!("{}.weight", mixer.convolution), &convolution, Presence::Required);
        self.add(mixer.decay, &[shape.value_head_count], Presence::Required);
        self.add(mixer.time_step_bias, &[shape.value_head_count], Presence::Required);
        self.norm(mixer.norm, shape.value_dim);
        self.linear(mixer.output, shape.value_width(), hidden_size);
        Ok(())
    }

    pub(super) fn mamba2(&mut self, mixer: &Mamba2) -> Result<(), ModelError> {
        let shape = Mamba2Shape::new(self.config)?;
        let hidden_size = self.config.hidden_size;
        let channel_count = shape.channel_count();
        self.linear(mixer.input, hidden_size, shape.inner_size + channel_count + shape.head_count);
        self.add(&format!("{}.weight", mixer.convolution), &[shape.conv_length, channel_count], Presence::Required);
        self.add(&format!("{}.bias", mixer.convolution), &[channel_count], Presence::Optional);
        self.add(mixer.decay, &[1, shape.head_count], Presence::Required);
        self.add(mixer.skip, &[1, shape.head_count], Presence::Required);
        self.add(mixer.time_step_bias, &[shape.head_count], Presence::Required);
        if let Some(stem) = mixer.norm.stem() {
            let groups = [shape.inner_size / shape.group_count, shape.group_count];
            self.add(&format!("{stem}.weight"), &groups, Presence::Required);
        }
        self.linear(mixer.output, shape.inner_size, hidden_size);
        Ok(())
    }

    pub(super) fn short_convolution(&mut self, mixer: &ShortConvolution) {
        let hidden_size = self.config.hidden_size;
        self.linear(mixer.input, hidden_size, 3 * hidden_size);
        self.add(&format!("{}.weight", mixer.convolution), &[mixer.length, hidden_size], Presence::Required);
        self.linear(mixer.output, hidden_size, hidden_size);
    }
}
