//! The weights of attention to an encoder's output, and of the encoder.

use lair_compute::{Attention, Backend, KvLayerLayout, Linear, Mask, Norm};

use super::{Builder, LayerWeights, width_index};
use crate::ModelError;
use crate::shapes::AttentionShape;
use crate::spec::{Architecture, CrossAttention, EncoderInput};

/// What runs before a decoder.
pub(crate) struct EncoderWeights<B: Backend> {
    pub(crate) layers: Vec<LayerWeights<B>>,
    pub(crate) norm: Option<Norm<B>>,
}

/// Attention of one layer to an encoder's output, and which of the model's buffers it uses.
pub(crate) struct CrossWeights<B: Backend> {
    pub(crate) norm: Option<Norm<B>>,
    pub(crate) q: Linear<B>,
    pub(crate) k: Linear<B>,
    pub(crate) v: Linear<B>,
    pub(crate) output: Linear<B>,
    pub(crate) region: Attention<B>,
    /// The same region where only keys and values are to be kept: each row sees itself.
    pub(crate) store: Attention<B>,
    pub(crate) q_buffer: usize,
    pub(crate) k_buffer: usize,
    pub(crate) v_buffer: usize,
    pub(crate) mixed_buffer: usize,
}

impl<B: Backend> Builder<'_, B> {
    /// What runs before the decoder, if there is anything.
    pub(crate) fn encoder(&mut self, architecture: &Architecture) -> Result<Option<EncoderWeights<B>>, ModelError> {
        let Some(encoder) = &architecture.encoder else { return Ok(None) };
        let EncoderInput::Tokens(_) = (encoder.input)(self.config) else {
            unreachable!("a model whose encoder reads no tokens was refused before it was built")
        };
        let layers = (0..(encoder.layer_count)(self.config)).map(|layer_index| {
            let layer = (encoder.layer)(self.config, layer_index);
            self.layer_of(&layer, &format!("{}.{layer_index}.", encoder.prefix), layer_index)
        });
        let layers = layers.collect::<Result<_, ModelError>>()?;
        Ok(Some(EncoderWeights { layers, norm: self.norm("", encoder.norm)? }))
    }

    pub(super) fn cross(
        &mut self,
        cross: &CrossAttention,
        prefix: &str,
        layer_index: usize,
    ) -> Result<CrossWeights<B>, ModelError> {
        let shape = AttentionShape::new(&cross.attention, self.config, layer_index)?;
        let AttentionShape { kv_head_count, key_dim, value_dim, .. } = shape;
        self.memory.kv.push(KvLayerLayout { kv_head_count, key_dim, value_dim });
        let kv_layer = self.memory.kv.len() - 1;
        let region = self.attention_region(&cross.attention, shape, prefix, kv_layer)?;
        let store = self.attention_region(&cross.attention, shape, prefix, kv_layer)?;
        let names = cross.attention.projections;
        let linear = |stem: &str| self.linear(&format!("{prefix}{stem}"));
        let (q, k, v) = (linear(names.q)?, linear(names.k)?, linear(names.v)?);
        let output = linear(cross.attention.output)?;
        Ok(CrossWeights {
            norm: self.norm(prefix, cross.norm)?,
            q,
            k,
            v,
            output,
            region: Attention { mask: Mask::Bidirectional, ..region },
            store: Attention { mask: Mask::Window(1), ..store },
            q_buffer: width_index(&mut self.widths.q, shape.q_width()),
            k_buffer: width_index(&mut self.widths.k, shape.k_width()),
            v_buffer: width_index(&mut self.widths.v, shape.v_width()),
            mixed_buffer: width_index(&mut self.widths.mixed, shape.output_width()),
        })
    }
}
