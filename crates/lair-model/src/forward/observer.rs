//! Looking at the residual stream in the course of a step.

use lair_compute::{Backend, Batch};

use super::{Activations, Memory, norm_stream};
use crate::model::Model;
use crate::weights::HeadWeights;

/// Where in a step the residual stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Behind the embedding.
    Embedding,
    /// Behind the mixer of the layer of this index.
    Mixer(usize),
    /// Behind the layer of this index.
    Layer(usize),
    /// Behind the last norm: what the head reads.
    Head,
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Embedding => write!(formatter, "embedding"),
            Place::Mixer(layer_index) => write!(formatter, "layer.{layer_index}.mixer"),
            Place::Layer(layer_index) => write!(formatter, "layer.{layer_index}"),
            Place::Head => write!(formatter, "head"),
        }
    }
}

/// Looks at the residual stream in the course of a step. Steps that nobody observes have an observer that does nothing, and
/// cost nothing more.
pub trait Observer<B: Backend> {
    /// The stream's first `rows` rows, `[rows, hidden_size]`, at a place.
    fn see(&mut self, backend: &B, place: Place, rows: usize, stream: &B::Buffer);
}

impl<B: Backend> Observer<B> for () {
    #[inline(always)]
    fn see(&mut self, _backend: &B, _place: Place, _rows: usize, _stream: &B::Buffer) {}
}

impl<B: Backend> Model<B> {
    /// Computes one step as [`Model::forward`] does, of all rows, and shows the observer the stream behind the embedding,
    /// behind both halves of every layer, and as the head reads it.
    ///
    /// # Panics
    /// As [`Model::forward`], and if the model has an encoder.
    pub fn observe(
        &self,
        backend: &mut B,
        activations: &mut Activations<B>,
        memory: &mut Memory<B>,
        batch: &Batch<'_>,
        observer: &mut impl Observer<B>,
    ) {
        self.run(backend, activations, memory, batch, (&[], None), observer);
        let norm = match &self.head {
            HeadWeights::Logits(head) => head.norm.as_ref(),
            HeadWeights::HiddenState(norm) => norm.as_ref(),
        };
        norm_stream(norm, backend, activations, batch.row_count());
        observer.see(backend, Place::Head, batch.row_count(), &activations.residual);
    }
}
