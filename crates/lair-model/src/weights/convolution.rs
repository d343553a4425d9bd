//! The weights of convolutions over the last tokens, and of the mixer that is one.

use lair_compute::{Activation, Backend, Convolution, RowSelection};

use super::{Adapted, Builder, width_index};
use crate::ModelError;
use crate::spec;

/// A gated short convolution of one layer, and which of the model's buffers it uses.
pub(crate) struct ShortConvolutionWeights<B: Backend> {
    /// What multiplies the input, the output, and the input itself.
    pub(crate) products: [Adapted<B>; 3],
    pub(crate) region: Convolution<B>,
    /// Of the three.
    pub(crate) rooms: [usize; 3],
    pub(crate) mixed_buffer: usize,
}

impl<B: Backend> Builder<'_, B> {
    /// A convolution of this stem.
    pub(super) fn convolution(
        &self,
        stem: &str,
        length: usize,
        activation: Option<Activation>,
        state_layer: usize,
    ) -> Result<Convolution<B>, ModelError> {
        let weight = self.vector(&format!("{stem}.weight"))?;
        Ok(Convolution { state_layer, length, weight, bias: self.bias(stem)?, activation })
    }

    pub(super) fn short_convolution(
        &mut self,
        mixer: &spec::ShortConvolution,
        prefix: &str,
        state_layer: usize,
    ) -> Result<ShortConvolutionWeights<B>, ModelError> {
        let width = self.config.hidden_size;
        let stem = format!("{prefix}{}", mixer.input);
        let part = |index: usize| self.adapted_rows(&stem, RowSelection::Range(index * width..(index + 1) * width));
        let products = [part(0)?, part(1)?, part(2)?];
        let region = self.convolution(&format!("{prefix}{}", mixer.convolution), mixer.length, None, state_layer)?;
        let rooms = self.widths.rooms([width; 3]);
        let mixed_buffer = width_index(&mut self.widths.mixed, width);
        Ok(ShortConvolutionWeights { products, region, rooms, mixed_buffer })
    }
}
