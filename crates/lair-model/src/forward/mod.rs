//! The one forward pass: walks the declared layers over a batch and calls the backend's regions.
//!
//! Nothing is allocated here, and nothing can fail: buffers, pages and slots were made before, and what they must hold
//! is asserted.

mod activations;
mod adapters;
mod attention;
mod banked;
mod compressed;
mod cross;
mod decayed_attention;
mod delta_net;
mod ffn;
mod gated_streams;
mod indexer;
mod key_delta;
mod latent;
mod mamba;
mod mamba2;
mod mixer;
mod observer;
mod per_layer;
mod rwkv;
mod short_convolution;
mod streams;
mod switch;
mod turns;

use lair_compute::{Backend, Batch};

pub use activations::{Activations, Memory};
pub use cross::{Encoded, EncoderFrame};
use ffn::work_on_tokens;
use mixer::{mix, mixer_input, project};
pub use observer::{Observer, Place};

use crate::model::Model;
use crate::weights::HeadWeights;

impl<B: Backend> Model<B> {
    /// Computes one step: keys, values and states of every row of `batch` are stored in `memory`, and
    /// `logits`, `[rows_wanted, vocabulary_size]`, receives the rows asked for, by their index in the batch.
    ///
    /// # Panics
    /// If the batch is inconsistent, has more rows than `activations`, a token outside of the vocabulary, or `logits`
    /// has the wrong size: bugs of the caller, who has checked what users ask for.
    pub fn forward(
        &self,
        backend: &mut B,
        activations: &mut Activations<B>,
        memory: &mut Memory<B>,
        batch: &Batch<'_>,
        rows_wanted: &[usize],
        logits: &mut [f32],
    ) {
        self.forward_encoded(backend, activations, memory, batch, &[], rows_wanted, logits);
    }

    /// Computes one step as [`Model::forward`] does, of a model with an encoder: `encoded` tells for each sequence of the
    /// batch what [`Model::encode`] has stored.
    ///
    /// # Panics
    /// As [`Model::forward`], and if what was encoded does not belong to the batch.
    #[allow(clippy::too_many_arguments)] // As `forward`, and what was encoded.
    pub fn forward_encoded(
        &self,
        backend: &mut B,
        activations: &mut Activations<B>,
        memory: &mut Memory<B>,
        batch: &Batch<'_>,
        encoded: &[Encoded<'_>],
        rows_wanted: &[usize],
        logits: &mut [f32],
    ) {
        let HeadWeights::Logits(head) = &self.head else { panic!("a model that gives hidden states has no logits") };
        assert_eq!(logits.len(), rows_wanted.len() * self.vocabulary_size(), "logits and rows wanted differ in number");
        assert!(rows_wanted.iter().all(|row| *row < batch.row_count()), "a row wanted is not in the batch");
        let ascends = rows_wanted.is_sorted_by(|row, next| row < next);
        // What was encoded, and several streams, are looked at by all rows to the end.
        let can_keep = ascends && self.encoder.is_none() && self.streams.is_none();
        let kept = (can_keep && rows_wanted.len() < batch.row_count()).then_some(rows_wanted);
        self.run(backend, activations, memory, batch, (encoded, kept), &mut ());
        if !rows_wanted.is_empty() {
            let rows = if kept.is_some() { &activations.first_rows[..rows_wanted.len()] } else { rows_wanted };
            backend.head(head, rows, &activations.residual, logits);
        }
        if let Some((first, end)) = (self.architecture().head)(self.config()).left_out {
            for logits in logits.chunks_exact_mut(self.vocabulary_size()) {
                let end = end.min(logits.len());
                logits[first.min(end)..end].fill(f32::MIN);
            }
        }
    }

    /// Computes one step as [`Model::forward`] does, and copies what the head reads, normalised, for every row to
    /// `values`, `[rows, hidden_size]`: what embeddings are pooled from.
    ///
    /// # Panics
    /// As [`Model::forward`].
    pub fn hidden_states(
        &self,
        backend: &mut B,
        activations: &mut Activations<B>,
        memory: &mut Memory<B>,
        batch: &Batch<'_>,
        values: &mut [f32],
    ) {
        let rows = batch.row_count();
        assert_eq!(values.len(), rows * self.config().hidden_size, "values and rows of the batch differ in number");
        self.run(backend, activations, memory, batch, (&[], None), &mut ());
        let norm = match &self.head {
            HeadWeights::Logits(head) => head.norm.as_ref(),
            HeadWeights::HiddenState(norm) => norm.as_ref(),
        };
        norm_stream(norm, backend, activations, rows);
        backend.read(rows, &activations.residual, values);
    }

    /// Runs the layers. Of the last one, what comes after its mixer is computed for the rows of `kept` only, if given, and
    /// they are the first rows of the residual stream then: nothing reads the others. For the last chunk of a prompt
    /// that leaves one row instead of hundreds.
    fn run(
        &self,
        backend: &mut B,
        activations: &mut Activations<B>,
        memory: &mut Memory<B>,
        batch: &Batch<'_>,
        (encoded, kept): (&[Encoded<'_>], Option<&[usize]>),
        observer: &mut impl Observer<B>,
    ) {
        self.assert_fits(activations, batch);
        match &mut activations.adapters {
            Some(room) => room.begin(batch),
            None => assert!(
                batch.sequences.iter().all(|sequence| sequence.adapter_scales.is_empty()),
                "a sequence has factors for adapters, the model has none"
            ),
        }
        assert_eq!(self.encoder.is_some(), !encoded.is_empty(), "what was encoded belongs to a model with an encoder");
        let rows_that_see = match encoded {
            [] => Vec::new(),
            encoded => cross::rows_that_see(batch, encoded),
        };
        let rows_that_see = Batch { tokens: batch.tokens, sequences: &rows_that_see };
        let rows_that_see = (!encoded.is_empty()).then_some(&rows_that_see);
        activations.take_tokens(batch.tokens);
        if let Some(weights) = &self.switch {
            switch::begin(weights, backend, activations, memory, batch);
        }
        self.embed(backend, activations, batch);
        observer.see(backend, Place::Embedding, batch.row_count(), &activations.residual);
        let mut rows = batch.row_count();
        for (layer_index, layer) in self.layers.iter().enumerate() {
            let kept = kept.filter(|_| layer_index + 1 == self.layers.len());
            turns::add(layer, backend, activations, rows);
            if let Some(ngrams) = &layer.ngrams {
                gated_streams::add_ngrams(ngrams, backend, activations, memory, batch);
            }
            let Some(left) = mix(layer, backend, activations, memory, batch, rows_that_see, kept) else { return };
            rows = left;
            observer.see(backend, Place::Mixer(layer_index), rows, &activations.residual);
            work_on_tokens(layer, backend, activations, rows);
            turns::keep(layer, backend, activations, rows);
            observer.see(backend, Place::Layer(layer_index), rows, &activations.residual);
        }
        if let Some(streams) = &self.streams {
            per_layer::gather(streams, backend, activations, batch.row_count());
        }
        if let Some(weights) = &self.gated_head {
            gated_streams::gather(weights, backend, activations, rows);
        }
        if let Some(score) = &self.banked_head {
            banked::gather(score, backend, activations, rows);
        }
        if let Some(mix) = &self.hyper_head {
            streams::read(mix, backend, activations, rows);
        }
    }

    fn assert_fits(&self, activations: &Activations<B>, batch: &Batch<'_>) {
        batch.assert_consistent();
        let rows = batch.row_count();
        assert!(rows <= activations.rows_max, "{rows} rows in a step, room was made for {}", activations.rows_max);
        let vocabulary_size = self.vocabulary_size();
        assert!(
            batch.tokens.iter().all(|token| (*token as usize) < vocabulary_size),
            "a token is not in the vocabulary"
        );
        if self.embedding.positions.is_some() {
            let context_length = self.context_length();
            assert!(batch.positions().all(|position| position < context_length), "a position has no embedding");
        }
        if self.needs_whole_sequences() {
            assert!(batch.sequences.iter().all(|rows| rows.first_position == 0), "a sequence is continued");
        }
    }

    fn embed(&self, backend: &mut B, activations: &mut Activations<B>, batch: &Batch<'_>) {
        let embedding = &self.embedding;
        let table = match (&embedding.table, &self.head) {
            (Some(table), _) => table,
            (None, HeadWeights::Logits(head)) => &head.linear.weight,
            (None, HeadWeights::HiddenState(_)) => unreachable!("only a head with logits shares the table"),
        };
        backend.embed(table, &activations.tokens, embedding.scale, &mut activations.residual);
        if let Some(positions) = &embedding.positions {
            backend.embed_positions(positions, batch, &mut activations.residual);
        }
        norm_stream(embedding.norm.as_ref(), backend, activations, batch.row_count());
        if let Some(embedding) = &mut activations.embedding {
            backend.copy(batch.row_count(), &activations.residual, embedding);
        }
        gated_streams::begin(backend, activations, batch.row_count());
        if let Some(fast) = &embedding.fast_state {
            turns::begin(fast, backend, activations, batch.row_count());
        }
        if let Some(weights) = &embedding.per_layer {
            per_layer::embed(weights, backend, activations, batch);
        }
        if let Some(streams) = &self.streams {
            per_layer::spread(streams, backend, activations, batch.row_count());
        }
        streams::begin(backend, activations, batch.row_count());
    }
}

/// Norms the residual stream itself.
fn norm_stream<B: Backend>(
    norm: Option<&lair_compute::Norm<B>>,
    backend: &mut B,
    activations: &mut Activations<B>,
    rows: usize,
) {
    let Some(norm) = norm else { return };
    let Activations { residual, hidden, .. } = activations;
    backend.norm(rows, norm, residual, hidden);
    std::mem::swap(residual, hidden);
}

/// Some of the rooms, all different ones.
fn rooms<Buffer, const COUNT: usize>(rooms: &mut [Buffer], indices: [usize; COUNT]) -> [&mut Buffer; COUNT] {
    rooms.get_disjoint_mut(indices).expect("a layer's rooms are different ones")
}
