//! The weights of a delta rule with a decay for each key element.

use lair_compute::{Activation, Backend, Convolution, DeltaRule, KeyHeads, NormGroup};

use super::{Adapted, Builder, width_index};
use crate::ModelError;
use crate::shapes::KeyDeltaShape;
use crate::spec;

/// A product, or two after each other.
pub(crate) struct Chain<B: Backend> {
    pub(crate) first: Adapted<B>,
    pub(crate) second: Option<Adapted<B>>,
}

/// A delta rule with a decay for each key element of one layer, and which of the model's buffers it uses.
pub(crate) struct KeyDeltaWeights<B: Backend> {
    /// Queries, keys, values and learning rate.
    pub(crate) products: [Adapted<B>; 4],
    pub(crate) convolutions: [Convolution<B>; 3],
    pub(crate) decay_input: Chain<B>,
    pub(crate) gate: Chain<B>,
    pub(crate) region: DeltaRule<B>,
    /// Queries, keys and values before and behind their convolutions, the decay's input, and the gate.
    pub(crate) rooms: [usize; 8],
    /// The learning rate, and what lies between the products of the decay's input and of the gate.
    pub(crate) small_rooms: [usize; 3],
    pub(crate) mixed_buffer: usize,
}

impl<B: Backend> Builder<'_, B> {
    pub(super) fn key_delta_net(
        &mut self,
        mixer: &spec::KeyDeltaNet,
        prefix: &str,
        state_layer: usize,
    ) -> Result<KeyDeltaWeights<B>, ModelError> {
        let shape = KeyDeltaShape::new(self.config)?;
        let KeyDeltaShape { head_count, head_dim, conv_length } = shape;
        let width = shape.width();
        let linear = |stem: &str| self.adapted(&format!("{prefix}{stem}"));
        let chain = |(first, second): (&str, Option<&str>)| {
            Ok::<_, ModelError>(Chain { first: linear(first)?, second: second.map(linear).transpose()? })
        };
        let convolution = |index: usize| {
            let stem = format!("{prefix}{}", mixer.convolutions[index]);
            self.convolution(&stem, conv_length, Some(Activation::Silu), state_layer + index)
        };
        let [q, k, v] = mixer.projections.map(linear);
        let norm = self.norm_of(prefix, mixer.norm, NormGroup::Run(head_dim))?;
        let norm = norm.expect("every declared delta net has a norm");
        let region = DeltaRule {
            state_layer,
            key_head_count: head_count,
            value_head_count: head_count,
            key_dim: head_dim,
            value_dim: head_dim,
            key_heads: KeyHeads::InTurn,
            decay_form: mixer.decay_form,
            decay_width: head_dim,
            a: self.vector(&format!("{prefix}{}", mixer.decay))?,
            dt_bias: self.vector(&format!("{prefix}{}", mixer.time_step_bias))?,
            unit_epsilon: mixer.unit_epsilon.unwrap_or(norm.epsilon),
            norm,
            gate_activation: Activation::Sigmoid,
        };
        let products = [q?, k?, v?, linear(mixer.beta)?];
        let convolutions = [convolution(0)?, convolution(1)?, convolution(2)?];
        let (decay_input, gate) = (chain(mixer.decay_input)?, chain(mixer.gate)?);
        let rooms = self.widths.rooms([width; 8]);
        // Queries, keys, decays and rates are prepared row by row.
        self.widths.width_max = self.widths.width_max.max(3 * width + head_count);
        Ok(KeyDeltaWeights {
            products,
            convolutions,
            decay_input,
            gate,
            region,
            rooms,
            small_rooms: self.widths.rooms_beside(&rooms, [head_count, head_dim, head_dim]),
            mixed_buffer: width_index(&mut self.widths.mixed, width),
        })
    }
}
