//! An encoder that runs once before a decoder, and the decoder's attention to its output.

use lair_compute::{AttentionBuffers, Backend, Batch, PageId, SequenceRows};

use super::{Activations, Memory, mix, norm_stream, work_on_tokens};
use crate::model::Model;
use crate::weights::CrossWeights;

/// What an encoder has made of a sequence: keys and values for every layer of the decoder, in pages.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    /// The pages.
    pub page_table: &'a [PageId],
    /// Rows that were encoded.
    pub length: usize,
}

/// The tokens around what an encoder reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderFrame {
    /// Every prompt ends with it, where there is one.
    pub prompt_end: Option<u32>,
    /// The decoder goes on from it: every answer begins with it.
    pub decoder_start: u32,
}

impl<B: Backend> Model<B> {
    /// Whether an encoder runs before the decoder: then sequences are encoded first ([`Model::encode`]), and steps are told
    /// of it ([`Model::forward_encoded`]).
    pub fn has_encoder(&self) -> bool {
        self.encoder.is_some()
    }

    /// Runs the encoder over whole sequences and stores what the decoder attends to in the sequences' pages, which must not
    /// be those of the decoder.
    ///
    /// # Panics
    /// If the model has no encoder, or as [`Model::forward`].
    pub fn encode(&self, backend: &mut B, activations: &mut Activations<B>, memory: &mut Memory<B>, batch: &Batch<'_>) {
        let encoder = self.encoder.as_ref().expect("the caller has asked whether there is an encoder");
        assert!(batch.sequences.iter().all(|rows| rows.first_position == 0), "a sequence is continued");
        self.assert_fits(activations, batch);
        activations.take_tokens(batch.tokens);
        self.embed(backend, activations, batch);
        for layer in &encoder.layers {
            let rows = mix(layer, backend, activations, memory, batch, None, None);
            work_on_tokens(layer, backend, activations, rows.expect("all rows are kept"));
        }
        norm_stream(encoder.norm.as_ref(), backend, activations, batch.row_count());
        for weights in self.layers.iter().filter_map(|layer| layer.cross.as_ref()) {
            store(weights, backend, activations, memory, batch);
        }
    }
}

/// Keys and values of the encoder's output for one layer of the decoder.
fn store<B: Backend>(
    weights: &CrossWeights<B>,
    backend: &mut B,
    activations: &mut Activations<B>,
    memory: &mut Memory<B>,
    batch: &Batch<'_>,
) {
    let Activations { residual, q, k, v, mixed, .. } = activations;
    let (k, v) = (&mut k[weights.k_buffer], &mut v[weights.v_buffer]);
    backend.project(batch.row_count(), None, residual, &mut [(&weights.k, &mut *k), (&weights.v, &mut *v)]);
    let buffers = AttentionBuffers {
        q: &mut q[weights.q_buffer],
        kv: Some((k, v)),
        gate: None,
        chosen: None,
        output: &mut mixed[weights.mixed_buffer],
    };
    backend.attention(batch, &weights.store, &mut memory.kv, buffers);
}

/// The rows of a batch as sequences of one row, each of which sees all that was encoded of its own sequence.
pub(super) fn rows_that_see<'a>(batch: &Batch<'_>, encoded: &'a [Encoded<'a>]) -> Vec<SequenceRows<'a>> {
    assert_eq!(batch.sequences.len(), encoded.len(), "every sequence has been encoded");
    let rows = batch.sequences.iter().zip(encoded);
    rows.flat_map(|(sequence, encoded)| {
        assert!(encoded.length > 0, "a sequence of which nothing was encoded");
        (sequence.first_row..sequence.first_row + sequence.row_count).map(|first_row| SequenceRows {
            first_row,
            row_count: 1,
            first_position: encoded.length - 1,
            page_table: encoded.page_table,
            state_slot: None,
            adapter_scales: &[],
        })
    })
    .collect()
}

/// Attention of one layer to what was encoded, added to the residual stream.
pub(super) fn run<B: Backend>(
    weights: &CrossWeights<B>,
    backend: &mut B,
    activations: &mut Activations<B>,
    memory: &mut Memory<B>,
    rows_that_see: &Batch<'_>,
) {
    let rows = rows_that_see.row_count();
    let Activations { residual, q, mixed, .. } = activations;
    let (q, mixed) = (&mut q[weights.q_buffer], &mut mixed[weights.mixed_buffer]);
    backend.project(rows, weights.norm.as_ref(), residual, &mut [(&weights.q, &mut *q)]);
    let buffers = AttentionBuffers { q, kv: None, gate: None, chosen: None, output: &mut *mixed };
    backend.attention(rows_that_see, &weights.region, &mut memory.kv, buffers);
    backend.project_add(rows, mixed, &weights.output, None, 1.0, residual);
}
