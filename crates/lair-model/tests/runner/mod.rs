//! Runs one sequence through a model: what the parity tests share.

use lair_compute::{Backend, Batch, KvElement, PAGE_LENGTH, PageId, SequenceRows, StateSlot};
use lair_gguf::GgufFile;
use lair_model::{Activations, Encoded, LoadOptions, Memory, Model};

/// A model with memory for one sequence.
pub struct Runner<B: Backend> {
    pub model: Model<B>,
    backend: B,
    activations: Activations<B>,
    memory: Memory<B>,
    page_table: Vec<PageId>,
    /// Pages for what an encoder makes, and how many tokens it has read.
    encoded_table: Vec<PageId>,
    encoded_length: usize,
    position: usize,
    /// Factors of the model's adapters.
    pub adapter_scales: Vec<f32>,
}

impl<B: Backend> Runner<B> {
    /// Loads the model and makes room for `length` positions in F32, in steps of up to `rows_max` rows.
    #[allow(dead_code)] // Some tests load with adapters.
    pub fn new(file: &GgufFile, backend: B, length: usize, rows_max: usize) -> Runner<B> {
        let model = Model::load(file, &backend, LoadOptions::default())
            .unwrap_or_else(|error| panic!("{}: {error}", file.path().display()));
        Runner::of(model, backend, length, rows_max)
    }

    /// Makes the same room for a model that is loaded already.
    pub fn of(model: Model<B>, backend: B, length: usize, rows_max: usize) -> Runner<B> {
        Runner::keeping(model, backend, KvElement::F32, (length, rows_max))
    }

    /// The same with keys and values of this type.
    pub fn keeping(
        model: Model<B>,
        mut backend: B,
        element: KvElement,
        (length, rows_max): (usize, usize),
    ) -> Runner<B> {
        let page_count = length.div_ceil(PAGE_LENGTH);
        let kv = backend.kv(&model.kv_layout(element, 2 * page_count + 1)).expect("room for the cache");
        let states = model.state_layout(2).map(|layout| backend.states(&layout).expect("room for the states"));
        let activations = model.activations(&mut backend, rows_max).expect("room for the buffers");
        // Pages in reverse order: a page's place must not matter.
        let page_table = (1..=page_count as u32).rev().map(PageId).collect();
        let encoded_table = (page_count as u32 + 1..=2 * page_count as u32).map(PageId).collect();
        Runner {
            model,
            backend,
            activations,
            memory: Memory { kv, states },
            page_table,
            encoded_table,
            encoded_length: 0,
            position: 0,
            adapter_scales: Vec::new(),
        }
    }

    /// What computes.
    #[allow(dead_code)] // Only some tests look at it.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Copies the recurrent state to host memory, and tells how many tokens it has seen.
    #[allow(dead_code)] // Only tests of recurrent models use it.
    pub fn checkpoint(&self) -> (Vec<u8>, usize) {
        let states = self.memory.states.as_ref().expect("a recurrent model");
        let mut bytes = vec![0; self.backend.state_bytes(states)];
        self.backend.read_state(states, StateSlot(1), &mut bytes);
        (bytes, self.position)
    }

    /// Goes back to a checkpoint; keys and values behind it are written anew.
    #[allow(dead_code)] // As above.
    pub fn restore(&mut self, (bytes, position): &(Vec<u8>, usize)) {
        let states = self.memory.states.as_mut().expect("a recurrent model");
        // By way of another slot, as the cache of prefixes does it.
        self.backend.write_state(states, StateSlot(0), bytes);
        self.backend.copy_state(states, StateSlot(0), StateSlot(1));
        self.position = *position;
    }

    /// Feeds tokens in one step; returns the logits, or the hidden states, of all of them.
    #[allow(dead_code)] // Some tests want some rows only.
    pub fn step(&mut self, tokens: &[u32]) -> Vec<f32> {
        let all: Vec<usize> = (0..tokens.len()).collect();
        self.step_wanting(tokens, &all)
    }

    /// Runs the encoder over the tokens that the steps after it attend to.
    pub fn encode(&mut self, tokens: &[u32]) {
        let sequence = SequenceRows {
            first_row: 0,
            row_count: tokens.len(),
            first_position: 0,
            page_table: &self.encoded_table,
            state_slot: None,
            adapter_scales: &[],
        };
        let batch = Batch { tokens, sequences: &[sequence] };
        self.model.encode(&mut self.backend, &mut self.activations, &mut self.memory, &batch);
        self.encoded_length = tokens.len();
    }

    /// Feeds tokens in one step; returns the logits of some of them, or the hidden states of all.
    ///
    /// An encoder reads the tokens of the first step, if it has read none before.
    pub fn step_wanting(&mut self, tokens: &[u32], rows_wanted: &[usize]) -> Vec<f32> {
        if self.model.has_encoder() && self.encoded_length == 0 {
            self.encode(tokens);
        }
        let encoded = [Encoded { page_table: &self.encoded_table, length: self.encoded_length }];
        let encoded = if self.model.has_encoder() { &encoded[..] } else { &[] };
        let sequence = SequenceRows {
            first_row: 0,
            row_count: tokens.len(),
            first_position: self.position,
            page_table: &self.page_table,
            state_slot: self.memory.states.as_ref().map(|_| StateSlot(1)),
            adapter_scales: &self.adapter_scales,
        };
        let batch = Batch { tokens, sequences: &[sequence] };
        let Runner { model, backend, activations, memory, .. } = self;
        if !model.has_logits() {
            let mut states = vec![f32::NAN; tokens.len() * model.config().hidden_size];
            model.hidden_states(backend, activations, memory, &batch, &mut states);
            return states;
        }
        let mut logits = vec![f32::NAN; rows_wanted.len() * model.vocabulary_size()];
        model.forward_encoded(backend, activations, memory, &batch, encoded, rows_wanted, &mut logits);
        self.position += tokens.len();
        lair_model::check_logits(&logits, self.model.vocabulary_size()).expect("finite logits");
        logits
    }
}
