//! The weights of latent attention.

use std::sync::Arc;

use lair_compute::{
    Attention, Backend, KeyStorage, KvLayerLayout, Linear, MatrixBytes, NormGroup, NormOrder, OutputGate, RopeTable,
    RowSelection,
};
use lair_gguf::TensorType;

use super::indexer::IndexerWeights;
use super::{Adapted, Builder, width_index};
use crate::ModelError;
use crate::shapes::LatentShape;
use crate::spec::{self, KeyChoice, QueryProjection};

/// Latent attention of one layer, and which of the model's buffers it uses.
pub(crate) struct LatentWeights<B: Backend> {
    /// What narrows queries; absent where they are made in one product.
    pub(crate) q_down: Option<NarrowQueries<B>>,
    pub(crate) q: Adapted<B>,
    pub(crate) kv_down: Adapted<B>,
    pub(crate) gate: Option<Adapted<B>>,
    pub(crate) indexer: Option<Box<IndexerWeights<B>>>,
    /// Whether it reads some of the keys only.
    pub(crate) reads_chosen: bool,
    pub(crate) region: lair_compute::LatentAttention<B>,
    pub(crate) q_buffer: usize,
    pub(crate) latent_buffer: usize,
    pub(crate) values_buffer: usize,
    /// Queries in the compressed space.
    pub(crate) absorbed_buffer: usize,
    pub(crate) gate_buffer: usize,
    /// Results in the compressed space and behind it.
    pub(crate) mixed_buffers: (usize, usize),
}

/// What narrows queries, before they are made.
pub(crate) struct NarrowQueries<B: Backend> {
    pub(crate) down: Adapted<B>,
    pub(crate) norm: Option<lair_compute::Norm<B>>,
    /// Which of the buffers of keys holds the product, and which of those of values the same after its norm.
    pub(crate) buffers: (usize, usize),
}

impl<B: Backend> Builder<'_, B> {
    pub(super) fn latent_attention(
        &mut self,
        mixer: &spec::LatentAttention,
        prefix: &str,
        layer_index: usize,
        state_layer: usize,
    ) -> Result<LatentWeights<B>, ModelError> {
        let shape = LatentShape::new(mixer, self.config, layer_index)?;
        let name = |stem: &str| format!("{prefix}{stem}");
        let (q_down, q) = match mixer.query {
            QueryProjection::Full(stem) => (None, self.adapted(&name(stem))?),
            QueryProjection::LowRank { down, norm, up, rank } => {
                let down = self.adapted(&name(down))?;
                let norm = self.norm(prefix, norm)?;
                let buffers = (width_index(&mut self.widths.k, rank), width_index(&mut self.widths.v, rank));
                (Some(NarrowQueries { down, norm, buffers }), self.adapted(&name(up))?)
            }
        };
        let (k_up, v_up) = self.widening(mixer, shape, prefix)?;
        let kv_layer = self.latent_layer(shape, layer_index);
        let indexer = self.indexer(&mixer.choice, prefix, state_layer, &[])?;
        let attention = Attention {
            kv_layer,
            head_count: shape.head_count,
            kv_head_count: 1,
            key_dim: shape.key_dim(),
            value_dim: shape.kv_rank,
            q_norm: None,
            k_norm: None,
            v_norm: None,
            norm_order: NormOrder::BeforeRope,
            rope: mixer
                .rope
                .map(|rope| self.rope(&rope))
                .transpose()?
                .map(|rope| RopeTable { first: shape.kv_rank, ..rope }),
            scale: mixer.scale,
            clamp: None,
            softcap: None,
            mask: self.mask(mixer.mask),
            sinks: self.sinks(mixer.sinks, prefix)?,
            key_constant: None,
            relative_bias: None,
            alibi_slopes: None,
            key_storage: KeyStorage::BehindValue,
            temperature: mixer.temperature,
            gate: mixer.gate.map_or(OutputGate::SIGMOID, |(_, gate)| gate),
        };
        let kv_norm = self.norm_of(prefix, mixer.kv_norm, NormGroup::Row)?;
        let rope_norm = self.norm_of(prefix, mixer.rope_norm, NormGroup::Row)?;
        let gate = mixer.gate.map(|(stem, _)| self.adapted(&name(stem))).transpose()?;
        let kv_down = self.adapted(&name(mixer.kv_down))?;
        let widths = &mut self.widths;
        let output_width = shape.head_count * shape.value_dim;
        let gate_buffer = mixer
            .gate
            .map_or(0, |(_, gate)| width_index(&mut widths.gate, gate.width(shape.head_count, shape.value_dim)));
        Ok(LatentWeights {
            q_down,
            q,
            kv_down,
            gate,
            indexer,
            reads_chosen: mixer.choice != KeyChoice::All,
            q_buffer: width_index(&mut widths.q, shape.head_count * shape.head_dim()),
            latent_buffer: width_index(&mut widths.latent, shape.key_dim()),
            values_buffer: width_index(&mut widths.v, shape.kv_rank),
            absorbed_buffer: width_index(&mut widths.absorbed, shape.head_count * shape.key_dim()),
            gate_buffer,
            mixed_buffers: (
                width_index(&mut widths.absorbed_mixed, shape.head_count * shape.kv_rank),
                width_index(&mut widths.mixed, output_width),
            ),
            region: lair_compute::LatentAttention {
                attention,
                kv_norm,
                rope_norm,
                nope_dim: shape.nope_dim,
                rope_dim: shape.rope_dim,
                k_up,
                v_up,
                value_dim: shape.value_dim,
            },
        })
    }

    /// The layer of the cache that keeps the compressed rows.
    fn latent_layer(&mut self, shape: LatentShape, layer_index: usize) -> usize {
        let memory = &mut self.memory;
        // The compressed row: the part that is turned, and the latents, which are keys and values at once.
        memory.kv.push(KvLayerLayout { kv_head_count: 1, key_dim: shape.rope_dim, value_dim: shape.kv_rank });
        memory.kv_of_layer[layer_index] = Some(memory.kv.len() - 1);
        memory.kv.len() - 1
    }

    /// What takes queries to the compressed space, and results back.
    fn widening(
        &self,
        mixer: &spec::LatentAttention,
        shape: LatentShape,
        prefix: &str,
    ) -> Result<(Option<Linear<B>>, Linear<B>), ModelError> {
        let both = format!("{prefix}{}.weight", mixer.kv_up);
        if !self.source.has(&both) {
            let k_up = self.linear(&format!("{prefix}{}", mixer.k_up))?;
            return Ok((Some(k_up), self.linear(&format!("{prefix}{}", mixer.v_up))?));
        }
        let LatentShape { head_count, nope_dim, kv_rank, value_dim, .. } = shape;
        let rows = nope_dim + value_dim;
        let stacked =
            MatrixBytes { stored_rows: rows, count: head_count, ..self.source.matrix(&both, RowSelection::All) };
        // Parts of a tensor that it is not multiplied as: what is learned of their inputs has names of its own.
        let values =
            MatrixBytes { name: format!("{both} (values)"), selection: RowSelection::Range(nope_dim..rows), ..stacked };
        let plain = |weight| Linear { weight, bias: None, scale: 1.0 };
        let v_up = plain(self.backend.matrix(&values)?);
        if nope_dim == 0 {
            return Ok((None, v_up));
        }
        // Keys are made from latents by rows of latents; queries are taken there by the same numbers, turned over.
        let numbers = self.values(&both)?;
        let mut turned = Vec::with_capacity(4 * head_count * kv_rank * nope_dim);
        for head in numbers.chunks_exact(rows * kv_rank) {
            for element in 0..kv_rank {
                for row in 0..nope_dim {
                    turned.extend(head[row * kv_rank + element].to_le_bytes());
                }
            }
        }
        let keys = MatrixBytes {
            name: format!("{both} (keys)"),
            bytes: Arc::new(turned),
            tensor_type: TensorType::F32,
            columns: nope_dim,
            stored_rows: kv_rank,
            count: head_count,
            selection: RowSelection::All,
        };
        Ok((Some(plain(self.backend.matrix(&keys)?)), v_up))
    }
}
