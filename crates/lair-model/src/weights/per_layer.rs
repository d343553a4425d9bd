//! The weights of embeddings for each layer, of several residual streams, and of the narrow path beside a mixer.

use std::sync::Arc;

use lair_compute::{Backend, Linear, MatrixBytes, Norm, NormGroup, NormKind, RowSelection, VectorBytes};
use lair_gguf::TensorType;

use super::Builder;
use crate::ModelError;
use crate::spec::{AltUp, Embedding, Head, Laurel, PerLayerEmbedding, PerLayerInput};

/// A second, small embedding for every layer.
pub(crate) struct PerLayerEmbeddingWeights<B: Backend> {
    pub(crate) table: B::Matrix,
    pub(crate) scale: f32,
    pub(crate) projection: Linear<B>,
    /// Of each layer's part by itself.
    pub(crate) norm: Option<Norm<B>>,
    pub(crate) sum_scale: f32,
}

/// What a layer does with its own embedding.
pub(crate) struct PerLayerInputWeights<B: Backend> {
    pub(crate) gate: Linear<B>,
    pub(crate) projection: Linear<B>,
    pub(crate) norm: Option<Norm<B>>,
    /// Where the layer's part of the embeddings begins.
    pub(crate) start: usize,
}

/// The products that make further residual streams, and those that bring them back.
pub(crate) struct StreamWeights<B: Backend> {
    pub(crate) spread: Vec<Linear<B>>,
    pub(crate) gather: Vec<Linear<B>>,
}

impl<B: Backend> StreamWeights<B> {
    /// All streams.
    pub(crate) fn count(&self) -> usize {
        self.spread.len() + 1
    }
}

/// How the residual streams pass through a layer.
pub(crate) struct AltUpWeights<B: Backend> {
    /// Divided by the width of the residual stream.
    pub(crate) router: Linear<B>,
    pub(crate) router_norm: Option<Norm<B>>,
    pub(crate) predict: Linear<B>,
    /// With a bias of ones.
    pub(crate) correct: Linear<B>,
    /// Factors on the first stream, as a norm that is nothing else.
    pub(crate) correct_scale: Norm<B>,
}

/// A narrow path beside the mixer.
pub(crate) struct LaurelWeights<B: Backend> {
    pub(crate) left: Linear<B>,
    pub(crate) right: Linear<B>,
    pub(crate) norm: Option<Norm<B>>,
}

/// Widths of what these need.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PerLayerWidths {
    /// Embeddings of all layers, and of one.
    pub(crate) embeddings: Option<(usize, usize)>,
    /// Residual streams.
    pub(crate) streams: Option<usize>,
    /// Rank of the path beside the mixer.
    pub(crate) laurel: Option<usize>,
}

impl<B: Backend> Builder<'_, B> {
    pub(super) fn per_layer_embedding(
        &mut self,
        declared: &PerLayerEmbedding,
    ) -> Result<PerLayerEmbeddingWeights<B>, ModelError> {
        let width = declared.size * self.config.layer_count;
        self.widths.width_max = self.widths.width_max.max(width);
        self.widths.per_layer.embeddings = Some((width, declared.size));
        let projection = self.linear(declared.projection)?;
        Ok(PerLayerEmbeddingWeights {
            table: self.matrix(&format!("{}.weight", declared.table))?,
            scale: declared.scale,
            projection: Linear { scale: projection.scale * declared.projection_scale, ..projection },
            norm: self.norm_of("", declared.norm, NormGroup::Run(declared.size))?,
            sum_scale: declared.sum_scale,
        })
    }

    pub(super) fn per_layer_input(
        &self,
        declared: &PerLayerInput,
        prefix: &str,
        layer_index: usize,
    ) -> Result<PerLayerInputWeights<B>, ModelError> {
        Ok(PerLayerInputWeights {
            gate: self.linear(&format!("{prefix}{}", declared.gate))?,
            projection: self.linear(&format!("{prefix}{}", declared.projection))?,
            norm: self.norm(prefix, declared.norm)?,
            start: layer_index * declared.size,
        })
    }

    /// The products around the layers of a model with several residual streams.
    pub(crate) fn streams(
        &mut self,
        embedding: &Embedding,
        head: &Head,
    ) -> Result<Option<StreamWeights<B>>, ModelError> {
        let (Some(streams), Some(gather)) = (&embedding.streams, head.streams) else { return Ok(None) };
        self.widths.per_layer.streams = Some(streams.count);
        let matrices = |stem: &str| -> Result<Vec<Linear<B>>, ModelError> {
            (1..streams.count).map(|index| self.matrix_of_stack(stem, index - 1)).collect()
        };
        Ok(Some(StreamWeights { spread: matrices(streams.projection)?, gather: matrices(gather)? }))
    }

    /// One of several square matrices in one tensor, which are no experts: every token takes all.
    fn matrix_of_stack(&self, stem: &str, index: usize) -> Result<Linear<B>, ModelError> {
        let width = self.config.hidden_size;
        let stack =
            self.source.matrix(&format!("{stem}.weight"), RowSelection::Range(index * width..(index + 1) * width));
        let matrix = MatrixBytes { stored_rows: stack.stored_rows * stack.count, count: 1, ..stack };
        Ok(Linear { weight: self.backend.matrix(&matrix)?, bias: None, scale: 1.0 })
    }

    pub(super) fn altup(&self, declared: &AltUp, prefix: &str) -> Result<AltUpWeights<B>, ModelError> {
        let linear = |stem: &str| self.linear(&format!("{prefix}{stem}"));
        let router = linear(declared.router)?;
        let ones = self.constants(prefix, &vec![1.0; declared.count])?;
        Ok(AltUpWeights {
            router: Linear { scale: router.scale / self.config.hidden_size as f32, ..router },
            router_norm: self.norm(prefix, declared.router_norm)?,
            predict: linear(declared.predict)?,
            correct: Linear { bias: Some(ones), ..linear(declared.correct)? },
            correct_scale: Norm {
                kind: NormKind::None,
                group: NormGroup::Row,
                weight: Some(self.vector(&format!("{prefix}{}.weight", declared.correct_scale))?),
                bias: None,
                epsilon: 0.0,
            },
        })
    }

    pub(super) fn laurel(&mut self, declared: &Laurel, prefix: &str) -> Result<LaurelWeights<B>, ModelError> {
        self.widths.per_layer.laurel = Some(declared.rank);
        Ok(LaurelWeights {
            left: self.linear(&format!("{prefix}{}", declared.left))?,
            right: self.linear(&format!("{prefix}{}", declared.right))?,
            norm: self.norm(prefix, declared.norm)?,
        })
    }

    /// A vector that is in no file.
    pub(super) fn constants(&self, name: &str, values: &[f32]) -> Result<B::Vector, ModelError> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(self.backend.vector(&VectorBytes {
            name: name.to_owned(),
            bytes: Arc::new(bytes),
            tensor_type: TensorType::F32,
            length: values.len(),
            selection: RowSelection::All,
        })?)
    }
}
