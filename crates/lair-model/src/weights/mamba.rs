//! The weights of a Mamba layer.

use std::ops::Range;
use std::sync::Arc;

use lair_compute::{Activation, Backend, Convolution, Norm, RowSelection, StateDecay, StateSpace, VectorBytes};
use lair_gguf::TensorType;

use super::{Adapted, Builder, width_index};
use crate::ModelError;
use crate::shapes::MambaShape;
use crate::spec::{self, MambaForm};

/// Mamba of one layer, and which of the model's buffers it uses.
pub(crate) struct MambaWeights<B: Backend> {
    pub(crate) channels: Adapted<B>,
    pub(crate) gate: Adapted<B>,
    pub(crate) convolution: Convolution<B>,
    /// Narrow time steps, `B` and `C`, each with its norm.
    pub(crate) selection: [(Adapted<B>, Option<Norm<B>>); 3],
    pub(crate) time_step: Adapted<B>,
    pub(crate) region: StateSpace<B>,
    /// Channels, channels behind the convolution, and gate.
    pub(crate) wide_rooms: [usize; 3],
    /// Narrow time steps, `B` and `C` before and behind their norms, and time steps.
    pub(crate) rooms: [usize; 6],
    pub(crate) mixed_buffer: usize,
}

impl<B: Backend> Builder<'_, B> {
    pub(super) fn mamba(
        &mut self,
        mixer: &spec::Mamba,
        prefix: &str,
        state_layer: usize,
    ) -> Result<MambaWeights<B>, ModelError> {
        let shape = MambaShape::new(self.config, mixer.form)?;
        let MambaShape { head_count, inner_size, state_size, rank, .. } = shape;
        let stem = |name: &str| format!("{prefix}{name}");
        let rows = |name: &str, rows: Range<usize>| self.adapted_rows(&stem(name), RowSelection::Range(rows));
        let dim = shape.head_dim();
        let heads = |start: usize| RowSelection::Groups { start, length: dim, stride: 2 * dim, count: head_count };
        let (channels, gate, firsts) = match mixer.form {
            MambaForm::Channels => (
                rows(mixer.input, 0..inner_size)?,
                rows(mixer.input, inner_size..2 * inner_size)?,
                [0, rank, rank + state_size],
            ),
            MambaForm::Heads => (
                self.adapted_rows(&stem(mixer.input), heads(dim))?,
                self.adapted_rows(&stem(mixer.input), heads(0))?,
                [2 * state_size, 0, state_size],
            ),
        };
        let part = |index: usize, width: usize, norm: spec::Norm| {
            let rows = rows(mixer.selection, firsts[index]..firsts[index] + width)?;
            Ok::<_, ModelError>((rows, self.norm(prefix, norm)?))
        };
        let selection = [
            part(0, rank, mixer.time_step_norm)?,
            part(1, state_size, mixer.b_norm)?,
            part(2, state_size, mixer.c_norm)?,
        ];
        let region = StateSpace {
            state_layer,
            head_count,
            head_dim: dim,
            group_count: 1,
            state_size,
            decay: match mixer.form {
                MambaForm::Channels => StateDecay::Element(self.transposed(&stem(mixer.decay), state_size)?),
                MambaForm::Heads => StateDecay::Head(self.vector(&stem(mixer.decay))?),
            },
            // The bias of the time steps is that of their product.
            time_step_bias: None,
            skip: self.vector(&stem(mixer.skip))?,
            norm: None,
        };
        let silu = Some(Activation::Silu);
        let wide_rooms = self.widths.rooms([inner_size; 3]);
        Ok(MambaWeights {
            channels,
            gate,
            convolution: self.convolution(&stem(mixer.convolution), shape.conv_length, silu, state_layer)?,
            selection,
            time_step: self.adapted(&stem(mixer.time_step))?,
            region,
            wide_rooms,
            rooms: self
                .widths
                .rooms_beside(&wide_rooms, [rank, state_size, state_size, state_size, state_size, head_count]),
            mixed_buffer: width_index(&mut self.widths.mixed, inner_size),
        })
    }

    /// A matrix with rows of `columns` elements as a vector, column by column.
    fn transposed(&self, name: &str, columns: usize) -> Result<B::Vector, ModelError> {
        let values = self.values(name)?;
        let elements = (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns));
        let bytes: Vec<u8> = elements.flat_map(|value| value.to_le_bytes()).collect();
        Ok(self.backend.vector(&VectorBytes {
            name: name.to_owned(),
            bytes: Arc::new(bytes),
            tensor_type: TensorType::F32,
            length: values.len(),
            selection: RowSelection::All,
        })?)
    }
}
