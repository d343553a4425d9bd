//! A model that computes one sequence, for the examples that time its steps.

use std::{error::Error, path::Path, sync::Arc, time::Instant};

use lair_compute::cpu::{Cpu, CpuOptions};
use lair_compute::{Batch, KvElement, PAGE_LENGTH, PageId, SequenceRows, StateSlot};
use lair_engine::{MemoryOptions, ModelRunner, Runner};
use lair_gguf::GgufFile;
use lair_model::{LoadOptions, Model, ModelCost};

/// Tokens that are computed at a time before anything is timed.
const PREFILL_ROWS: usize = 256;

/// A loaded model, and the cache of one sequence.
pub struct OneSequence {
    runner: ModelRunner<Cpu>,
    pages: Vec<PageId>,
    /// Logits of as many rows as were asked for at most.
    pub logits: Vec<f32>,
    pub vocabulary_size: usize,
    /// Bytes of weights that a step of one token reads.
    pub weight_bytes: usize,
}

impl OneSequence {
    /// Loads a file; the sequence has room for `length` tokens, and logits for `logit_rows`.
    pub fn load(
        path: &Path,
        options: CpuOptions,
        kv_element: KvElement,
        (length, logit_rows): (usize, usize),
    ) -> Result<OneSequence, Box<dyn Error>> {
        let file = GgufFile::open(path)?;
        let backend = Cpu::new(options)?;
        let model = Arc::new(Model::load(&file, &backend, LoadOptions::default())?);
        let weight_bytes = ModelCost::of(file.metadata(), file.tensors())?.weight_bytes(1, 1) as usize;
        let vocabulary_size = model.vocabulary_size();
        let page_count = length.div_ceil(PAGE_LENGTH);
        let memory = MemoryOptions { kv_element, page_count, state_slot_count: 1, rows_max: PREFILL_ROWS };
        Ok(OneSequence {
            runner: ModelRunner::new(model, backend, length, memory)?,
            pages: (0..page_count as u32).map(PageId).collect(),
            logits: vec![0.0; logit_rows * vocabulary_size],
            vocabulary_size,
            weight_bytes,
        })
    }

    /// Computes the tokens from `begin` to `end`, and the logits of the last so many of them; returns the seconds. What was there
    /// from `begin` on is written over.
    pub fn step(&mut self, begin: usize, end: usize, logit_rows: usize) -> f64 {
        let state_slot = (self.runner.state_slot_count() > 0).then_some(StateSlot(0));
        let row_count = end - begin;
        let rows = SequenceRows {
            first_row: 0,
            row_count,
            first_position: begin,
            page_table: &self.pages,
            state_slot,
            adapter_scales: &[],
        };
        let tokens: Vec<u32> = (begin..end).map(|place| (place * 7919 % self.vocabulary_size) as u32).collect();
        let batch = Batch { tokens: &tokens, sequences: &[rows] };
        let wanted: Vec<usize> = (row_count - logit_rows..row_count).collect();
        let start = Instant::now();
        self.runner.step(&batch, &wanted, &mut self.logits[..logit_rows * self.vocabulary_size]);
        start.elapsed().as_secs_f64()
    }

    /// Computes the first `length` tokens.
    pub fn prefill(&mut self, length: usize) {
        for begin in (0..length).step_by(PREFILL_ROWS) {
            self.step(begin, length.min(begin + PREFILL_ROWS), 0);
        }
    }
}
