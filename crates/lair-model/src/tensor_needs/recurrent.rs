//! What recurrent mixers need.

use super::{List, Presence};
use crate::ModelError;
use crate::shapes::{DeltaNetShape, Mamba2Shape, MambaShape};
use crate::spec::{DeltaRates, GatedDeltaNet, Mamba, Mamba2, MambaForm, ShortConvolution};

impl List<'_> {
    pub(super) fn gated_delta_net(&mut self, mixer: &GatedDeltaNet) -> Result<(), ModelError> {
        let shape = DeltaNetShape::new(self.config)?;
        let hidden_size = self.config.hidden_size;
        self.linear(mixer.qkv, hidden_size, shape.channel_count());
        self.linear(mixer.gate, hidden_size, shape.value_width());
        match mixer.rates {
            DeltaRates::Apart { alpha, beta } => {
                self.linear(alpha, hidden_size, shape.value_head_count);
                self.linear(beta, hidden_size, shape.value_head_count);
            }
            DeltaRates::ByKeyHead(stem) => self.linear(stem, hidden_size, 2 * shape.value_head_count),
        }
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
        self.norm_of_shape(mixer.norm, &[shape.inner_size / shape.group_count, shape.group_count]);
        self.linear(mixer.output, shape.inner_size, hidden_size);
        Ok(())
    }

    pub(super) fn mamba(&mut self, mixer: &Mamba) -> Result<(), ModelError> {
        let shape = MambaShape::new(self.config, mixer.form)?;
        let (hidden_size, inner_size, state_size) = (self.config.hidden_size, shape.inner_size, shape.state_size);
        self.linear(mixer.input, hidden_size, 2 * inner_size);
        self.add(&format!("{}.weight", mixer.convolution), &[shape.conv_length, inner_size], Presence::Required);
        self.add(&format!("{}.bias", mixer.convolution), &[inner_size], Presence::Optional);
        self.linear(mixer.selection, inner_size, shape.rank + 2 * state_size);
        self.linear(mixer.time_step, shape.rank, shape.head_count);
        let decay = match mixer.form {
            MambaForm::Channels => vec![state_size, inner_size],
            MambaForm::Heads => vec![shape.head_count],
        };
        self.add(mixer.decay, &decay, Presence::Required);
        self.add(mixer.skip, &[shape.head_count], Presence::Required);
        self.norm(mixer.time_step_norm, shape.rank);
        self.norm(mixer.b_norm, state_size);
        self.norm(mixer.c_norm, state_size);
        self.linear(mixer.output, inner_size, hidden_size);
        Ok(())
    }

    pub(super) fn short_convolution(&mut self, mixer: &ShortConvolution) {
        let hidden_size = self.config.hidden_size;
        self.linear(mixer.input, hidden_size, 3 * hidden_size);
        self.add(&format!("{}.weight", mixer.convolution), &[mixer.length, hidden_size], Presence::Required);
        self.linear(mixer.output, hidden_size, hidden_size);
    }
}
