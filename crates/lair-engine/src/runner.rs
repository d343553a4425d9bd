//! What computes a step, as the engine sees it.

use lair_compute::{Batch, PageId, StateSlot};
use lair_model::{Encoded, EncoderFrame};

use crate::EmbeddingShape;

/// A loaded model with its memory: pages of keys and values, slots of recurrent state.
///
/// All memory was allocated when the runner was made, so nothing here can fail. The logits of a row depend on the tokens
/// of its own sequence only, never on the other rows of the batch nor on how a sequence was cut into steps.
pub trait Runner: Send {
    /// Logits of a row; tokens are below it.
    fn vocabulary_size(&self) -> usize;

    /// Tokens that a sequence of this model may have.
    fn context_length(&self) -> usize;

    /// Pages that were allocated.
    fn page_count(&self) -> usize;

    /// Slots of recurrent state that were allocated; 0 if the model has no recurrent layers.
    fn state_slot_count(&self) -> usize;

    /// Rows that a step may have.
    fn rows_max(&self) -> usize;

    /// Computes a batch; `logits` is `[rows_wanted, vocabulary_size]`. `rows_wanted` ascends and may be empty.
    fn step(&mut self, batch: &Batch<'_>, rows_wanted: &[usize], logits: &mut [f32]);

    /// Why the weights are not what they were when they were loaded, if so: what was computed since is wrong. Asked after
    /// each step.
    fn damage(&self) -> Option<String> {
        None
    }

    /// The tokens around a prompt that an encoder reads; `None` where the prompt itself is continued. With an encoder
    /// [`Runner::encode`] and [`Runner::step_encoded`] are called in place of [`Runner::step`].
    fn encoder_frame(&self) -> Option<EncoderFrame> {
        None
    }

    /// Runs the encoder over whole prompts, and keeps what the decoder attends to in the pages of the batch's sequences.
    fn encode(&mut self, _batch: &Batch<'_>) {
        unreachable!("a runner without an encoder is not asked to encode");
    }

    /// Computes a batch as [`Runner::step`] does; `encoded` tells for each of its sequences what was encoded.
    fn step_encoded(
        &mut self,
        _batch: &Batch<'_>,
        _encoded: &[Encoded<'_>],
        _rows_wanted: &[usize],
        _logits: &mut [f32],
    ) {
        unreachable!("a runner without an encoder is not told of any");
    }

    /// Low-rank adapters that sequences can use.
    fn adapter_count(&self) -> usize {
        0
    }

    /// Whether there are logits at all; [`Runner::step`] is not called otherwise.
    fn generates(&self) -> bool {
        true
    }

    /// What embeddings are made of; `None` if there are none, and then nothing below that is about them is called.
    fn embedding_shape(&self) -> Option<EmbeddingShape> {
        None
    }

    /// Computes a batch as [`Runner::step`] does; `states` is `[rows, hidden_size]`.
    fn hidden_states(&mut self, _batch: &Batch<'_>, _states: &mut [f32]) {
        unreachable!("a runner without embeddings is not asked for any");
    }

    /// The embedding of a pooled hidden state.
    fn embedding(&self, pooled: Vec<f32>) -> Vec<f32> {
        pooled
    }

    /// The scores that a classifier gives a pooled hidden state.
    fn scores(&self, _pooled: &[f32]) -> Vec<f32> {
        unreachable!("a runner without a classifier is not asked for scores");
    }

    /// Copies a page on every layer.
    fn copy_page(&mut self, from: PageId, to: PageId);

    /// Bytes of a page as they are read and written.
    fn page_bytes(&self) -> usize;

    /// Copies a page on every layer to bytes, which only the same model in the same setup understands.
    fn read_page(&self, page: PageId, bytes: &mut [u8]);

    /// Copies such bytes to a page.
    fn write_page(&mut self, page: PageId, bytes: &[u8]);

    /// Bytes of a slot as they are read and written; 0 if the model has no recurrent layers.
    fn state_bytes(&self) -> usize;

    /// Copies a slot to bytes, which only the same model in the same setup understands.
    fn read_state(&self, slot: StateSlot, bytes: &mut [u8]);

    /// Copies such bytes to a slot.
    fn write_state(&mut self, slot: StateSlot, bytes: &[u8]);

    /// Sets a slot to the state before the first token.
    fn clear_state(&mut self, slot: StateSlot);

    /// Copies a slot: takes a checkpoint or returns to one.
    fn copy_state(&mut self, from: StateSlot, to: StateSlot);
}
