//! The tensors of adapters that a model's own file has.

use super::{List, Presence};
use crate::ModelError;
use crate::shapes::{AttentionShape, ffn_size};
use crate::spec::{Ffn, Gate, Layer, Mixer};

impl List<'_> {
    /// The two matrices of every product of a layer, a stack of as many as a row can use.
    pub(super) fn own_adapters(&mut self, layer: &Layer, layer_index: usize) -> Result<(), ModelError> {
        let Some(switch) = &self.config.switch else { return Ok(()) };
        let (rank, count, hidden_size) = (switch.rank, switch.slot_count(), self.config.hidden_size);
        let mut products = Vec::new();
        if let Mixer::Attention(attention) = &layer.mixer {
            let shape = AttentionShape::new(attention, self.config, layer_index)?;
            let names = attention.projections;
            products.extend([
                (names.q, hidden_size, shape.q_width()),
                (names.k, hidden_size, shape.k_width()),
                (names.v, hidden_size, shape.v_width()),
                (attention.output, shape.output_width(), hidden_size),
            ]);
        }
        if let Ffn::Dense(ffn) = &layer.ffn {
            let size = ffn_size(ffn.ffn_size, self.config, layer_index)?;
            if let Gate::Tensor(stem) = ffn.gate {
                products.push((stem, hidden_size, size));
            }
            products.extend([(ffn.up, hidden_size, size), (ffn.down, size, hidden_size)]);
        }
        for (stem, columns, rows) in products {
            self.add(&format!("{stem}.lora_a"), &[columns, rank, count], Presence::Required);
            self.add(&format!("{stem}.lora_b"), &[rank, rows, count], Presence::Required);
        }
        Ok(())
    }
}
