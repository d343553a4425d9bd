//! The runner of a loaded model: the model itself, its backend, and the memory that steps change.

use std::sync::Arc;

use lair_compute::{Backend, Batch, ComputeError, KvElement, PageId, StateSlot};
use lair_model::{Activations, Encoded, EncoderFrame, Memory, Model, ModelError};

use crate::{EmbeddingShape, Runner};

/// What memory a runner gets.
#[derive(Clone, Copy, Debug)]
pub struct MemoryOptions {
    /// How keys and values are kept.
    pub kv_element: KvElement,
    /// Pages of keys and values, shared by all sequences.
    pub page_count: usize,
    /// Slots of recurrent state: one for each sequence that is computed at a time, the rest are checkpoints. Not used by
    /// a model without recurrent layers.
    pub state_slot_count: usize,
    /// Rows that a step may have.
    pub rows_max: usize,
}

/// A model that computes steps on a backend. The model can be shared; the rest is this runner's alone.
pub struct ModelRunner<B: Backend> {
    model: Arc<Model<B>>,
    backend: B,
    activations: Activations<B>,
    memory: Memory<B>,
    options: MemoryOptions,
    context_length: usize,
}

/// Why the memory of a runner cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The buffers of a step.
    #[error(transparent)]
    Activations(#[from] ModelError),
    /// The model has recurrent layers, so every sequence needs a slot.
    #[error("the model has recurrent layers, but no state slots are asked for")]
    NoStateSlots,
    /// Pages or slots.
    #[error(transparent)]
    Memory(#[from] ComputeError),
}

impl<B: Backend> ModelRunner<B> {
    /// Allocates all that steps need. `context_length` is what the model was loaded for.
    pub fn new(
        model: Arc<Model<B>>,
        mut backend: B,
        context_length: usize,
        options: MemoryOptions,
    ) -> Result<Self, RunnerError> {
        let activations = model.activations(&mut backend, options.rows_max)?;
        let kv = backend.kv(&model.kv_layout(options.kv_element, options.page_count))?;
        let states = match model.state_layout(options.state_slot_count) {
            Some(layout) if layout.slot_count == 0 => return Err(RunnerError::NoStateSlots),
            Some(layout) => Some(backend.states(&layout)?),
            None => None,
        };
        Ok(Self { model, backend, activations, memory: Memory { kv, states }, options, context_length })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model<B>> {
        &self.model
    }

    /// What computes for it.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Bytes that pages and slots take when all are in use.
    pub fn memory_bytes(&self) -> u64 {
        let pages = self.backend.page_bytes(&self.memory.kv) * self.options.page_count;
        let states = self.model.state_layout(self.options.state_slot_count);
        let states = states.map_or(0, |layout| layout.slot_bytes() * layout.slot_count);
        (pages + states) as u64
    }
}

impl<B: Backend> Runner for ModelRunner<B> {
    fn vocabulary_size(&self) -> usize {
        self.model.vocabulary_size()
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn page_count(&self) -> usize {
        self.options.page_count
    }

    fn state_slot_count(&self) -> usize {
        if self.memory.states.is_some() { self.options.state_slot_count } else { 0 }
    }

    fn rows_max(&self) -> usize {
        self.options.rows_max
    }

    fn adapter_count(&self) -> usize {
        self.model.adapters().len()
    }

    fn step(&mut self, batch: &Batch<'_>, rows_wanted: &[usize], logits: &mut [f32]) {
        let Self { model, backend, activations, memory, .. } = self;
        model.forward(backend, activations, memory, batch, rows_wanted, logits);
    }

    fn damage(&self) -> Option<String> {
        self.backend.damage()
    }

    fn encoder_frame(&self) -> Option<EncoderFrame> {
        self.model.encoder_frame()
    }

    fn encode(&mut self, batch: &Batch<'_>) {
        let Self { model, backend, activations, memory, .. } = self;
        model.encode(backend, activations, memory, batch);
    }

    fn step_encoded(&mut self, batch: &Batch<'_>, encoded: &[Encoded<'_>], rows_wanted: &[usize], logits: &mut [f32]) {
        let Self { model, backend, activations, memory, .. } = self;
        model.forward_encoded(backend, activations, memory, batch, encoded, rows_wanted, logits);
    }

    fn generates(&self) -> bool {
        self.model.has_logits()
    }

    fn embedding_shape(&self) -> Option<EmbeddingShape> {
        let (model, head) = (&self.model, self.model.pooled_head());
        if model.has_encoder() {
            // The decoder's hidden states tell about an answer, not about a text.
            return None;
        }
        let hidden_size = model.config().hidden_size;
        Some(EmbeddingShape {
            hidden_size,
            embedding_size: head.embedding_size(hidden_size),
            pooling: model.pooling(),
            classifier_pooling: head.classifier_pooling(),
            class_count: head.class_count(),
            scores_are_shares: head.scores_are_shares(),
            needs_whole_sequences: model.needs_whole_sequences(),
        })
    }

    fn hidden_states(&mut self, batch: &Batch<'_>, states: &mut [f32]) {
        let Self { model, backend, activations, memory, .. } = self;
        model.hidden_states(backend, activations, memory, batch, states);
    }

    fn embedding(&self, pooled: Vec<f32>) -> Vec<f32> {
        self.model.pooled_head().embedding(pooled)
    }

    fn scores(&self, pooled: &[f32]) -> Vec<f32> {
        self.model.pooled_head().scores(pooled)
    }

    fn copy_page(&mut self, from: PageId, to: PageId) {
        self.backend.copy_page(&mut self.memory.kv, from, to);
    }

    fn page_bytes(&self) -> usize {
        self.backend.page_bytes(&self.memory.kv)
    }

    fn read_page(&self, page: PageId, bytes: &mut [u8]) {
        self.backend.read_page(&self.memory.kv, page, bytes);
    }

    fn write_page(&mut self, page: PageId, bytes: &[u8]) {
        self.backend.write_page(&mut self.memory.kv, page, bytes);
    }

    fn state_bytes(&self) -> usize {
        self.memory.states.as_ref().map_or(0, |states| self.backend.state_bytes(states))
    }

    fn read_state(&self, slot: StateSlot, bytes: &mut [u8]) {
        if let Some(states) = &self.memory.states {
            self.backend.read_state(states, slot, bytes);
        }
    }

    fn write_state(&mut self, slot: StateSlot, bytes: &[u8]) {
        if let Some(states) = &mut self.memory.states {
            self.backend.write_state(states, slot, bytes);
        }
    }

    fn clear_state(&mut self, slot: StateSlot) {
        if let Some(states) = &mut self.memory.states {
            self.backend.clear_state(states, slot);
        }
    }

    fn copy_state(&mut self, from: StateSlot, to: StateSlot) {
        if let Some(states) = &mut self.memory.states {
            self.backend.copy_state(states, from, to);
        }
    }
}
