//! A loaded model that is fed tokens and asked for logits, without an engine: what measures predictions.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use lair_compute::cpu::{ActivationType, ActivationTypes, Cpu, CpuOptions, InputTaps};
use lair_compute::{Batch, KvElement, PAGE_LENGTH, PageId, SequenceRows, StateSlot};
use lair_engine::{MemoryOptions, ModelRunner, Runner};
use lair_gguf::GgufFile;
use lair_model::{LoadOptions, Model};
use lair_text::tokenizer::Tokenizer;

use crate::commands::run::KvChoice;
use crate::failure::{ExitCode, Failure};
use crate::session::{activations_of, check_weights_fit, model_failure};

/// Bytes of logits that are kept at a time; with a vocabulary of 150,000 tokens those of 200 places.
const LOGITS_BYTES: usize = 128 << 20;
/// Rows of a step: longer ones use caches no better.
const ROWS_MAX: usize = 512;
/// Fewer rows of a step would make it read the weights too often.
const ROWS_MIN: usize = 32;

/// What is not in the file but chosen when it is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precision {
    /// What activations are multiplied as.
    pub activations: ActivationTypes,
    /// How keys and values are kept.
    pub kv: KvElement,
}

impl Precision {
    /// What others are compared with.
    pub const REFERENCE: Precision =
        Precision { activations: ActivationTypes::all(ActivationType::F32), kv: KvElement::F16 };
}

/// What activations are multiplied as, where weights are quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ActivationChoice {
    /// Signed bytes with a scale for every 32
    Bytes,
    /// Two bytes: what the first leaves over is coded again
    Words,
    /// Single precision: several times slower
    F32,
}

impl ActivationChoice {
    /// The same as the backend names it, for all products.
    pub fn activation_types(self) -> ActivationTypes {
        ActivationTypes::all(match self {
            ActivationChoice::Bytes => ActivationType::Bytes,
            ActivationChoice::Words => ActivationType::Words,
            ActivationChoice::F32 => ActivationType::F32,
        })
    }
}

/// How a model is loaded, for commands that measure what it predicts.
#[derive(Args, Clone, Debug)]
pub struct PredictorArgs {
    /// What activations are multiplied as, where weights are quantised [default: words in narrow models and
    /// where errors cost most, else bytes]
    #[arg(long, value_enum, value_name = "TYPE")]
    activations: Option<ActivationChoice>,
    /// How keys and values are kept
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = KvChoice::F16)]
    kv_type: KvChoice,
    /// Threads to compute with [default: as many as this process may use]
    #[arg(long, short, value_name = "COUNT")]
    pub threads: Option<usize>,
}

impl PredictorArgs {
    /// The options for a file, and texts of `length` tokens.
    pub fn options(&self, file: &GgufFile, length: usize) -> PredictorOptions {
        let activations = self.activations.map_or_else(|| activations_of(file), ActivationChoice::activation_types);
        let precision = Precision { activations, kv: self.kv_type.element() };
        PredictorOptions { length, threads: self.threads, precision, taps: None }
    }
}

/// The tokenizer of a file.
///
/// # Errors
/// If it has none that can be used.
pub fn tokenizer_of(file: &GgufFile) -> Result<Tokenizer, Failure> {
    Tokenizer::from_gguf(file.metadata())
        .map_err(|error| Failure::new(ExitCode::BadModel, &error).with_hint(error.hint()))
}

/// How a model is loaded.
#[derive(Clone, Debug)]
pub struct PredictorOptions {
    /// Tokens of the longest text.
    pub length: usize,
    /// Threads; as many as the process may use if not given.
    pub threads: Option<usize>,
    /// What is chosen.
    pub precision: Precision,
    /// Where inputs of matrices are added up.
    pub taps: Option<InputTaps>,
}

/// A loaded model, and room for the logits of a step.
pub struct Predictor {
    runner: ModelRunner<Cpu>,
    pages: Vec<PageId>,
    rows_max: usize,
    logits: Vec<f32>,
    /// `[rows, hidden_size]`
    states: Vec<f32>,
}

impl Predictor {
    /// Loads a model.
    ///
    /// # Errors
    /// If the model cannot be loaded, has no logits, or there is no memory for it.
    pub fn load(file: &GgufFile, options: &PredictorOptions) -> Result<Predictor, Failure> {
        check_weights_fit(file, crate::machine::available_memory_bytes())?;
        let backend = Cpu::new(CpuOptions { threads: options.threads, ..CpuOptions::default() })
            .map_err(|error| Failure::new(ExitCode::Engine, error))?
            .with_activations(options.precision.activations);
        let backend = match &options.taps {
            Some(taps) => backend.with_input_taps(taps),
            None => backend,
        };
        let length = options.length;
        let model = Model::load(file, &backend, LoadOptions { context_length: Some(length) }).map_err(model_failure)?;
        if !model.generates_one_by_one() {
            let cause = "a model that does not predict token by token cannot be measured so";
            return Err(Failure::new(ExitCode::BadModel, cause));
        }
        file.check_unchanged()?;
        let vocabulary_size = model.vocabulary_size();
        let rows_max = logits_rows_max(vocabulary_size);
        let hidden_size = model.config().hidden_size;
        let page_count = length.div_ceil(PAGE_LENGTH);
        let memory = MemoryOptions { kv_element: options.precision.kv, page_count, state_slot_count: 1, rows_max };
        let runner = ModelRunner::new(Arc::new(model), backend, length, memory)
            .map_err(|error| Failure::new(ExitCode::DoesNotFit, error))?;
        Ok(Predictor {
            runner,
            pages: (0..page_count as u32).map(PageId).collect(),
            rows_max,
            logits: vec![0.0; rows_max * vocabulary_size],
            states: vec![0.0; rows_max * hidden_size],
        })
    }

    /// Tokens of the vocabulary.
    pub fn vocabulary_size(&self) -> usize {
        self.runner.vocabulary_size()
    }

    /// Computes `tokens`, the whole text, and calls `see` with the logits of places from `first` on that predict a token of
    /// it: the index of the place in the text, and the logits of it and of those after it, `[places, vocabulary]`.
    ///
    /// # Errors
    /// As `see`.
    pub fn predict(
        &mut self,
        tokens: &[u32],
        first: usize,
        mut see: impl FnMut(usize, &[f32]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let last = tokens.len().saturating_sub(1);
        let mut position = 0;
        while position < last {
            let end = (position + self.rows_max).min(last);
            let wanted: Vec<usize> = (0..end - position).filter(|row| position + row >= first).collect();
            let logits = self.step(&tokens[position..end], position, &wanted);
            if let Some(row) = wanted.first() {
                see(position + row, logits)?;
            }
            position = end;
        }
        Ok(())
    }

    /// Computes `tokens`, the whole text, every one of them in every layer, which [`Predictor::predict`] does not. Logits
    /// are made, and `see` is called as there, for all places of a step in which one from `first` on lies.
    ///
    /// # Errors
    /// As `see`.
    pub fn run_through(
        &mut self,
        tokens: &[u32],
        first: Option<usize>,
        mut see: impl FnMut(usize, &[f32]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for (index, step) in tokens.chunks(self.rows_max).enumerate() {
            let position = index * self.rows_max;
            if first.is_some_and(|first| position + step.len() > first) {
                let all: Vec<usize> = (0..step.len()).collect();
                see(position, self.step(step, position, &all))?;
            } else {
                self.hidden_states(step, position);
            }
        }
        Ok(())
    }

    fn step(&mut self, tokens: &[u32], position: usize, wanted: &[usize]) -> &[f32] {
        self.clear_state_at(position);
        let rows = rows(tokens, position, &self.pages, state_slot(&self.runner));
        let batch = Batch { tokens, sequences: std::slice::from_ref(&rows) };
        let logits = &mut self.logits[..wanted.len() * self.runner.vocabulary_size()];
        self.runner.step(&batch, wanted, logits);
        logits
    }

    fn hidden_states(&mut self, tokens: &[u32], position: usize) {
        self.clear_state_at(position);
        let rows = rows(tokens, position, &self.pages, state_slot(&self.runner));
        let batch = Batch { tokens, sequences: std::slice::from_ref(&rows) };
        let length = self.states.len() / self.rows_max * tokens.len();
        self.runner.hidden_states(&batch, &mut self.states[..length]);
    }

    fn clear_state_at(&mut self, position: usize) {
        if let (0, Some(slot)) = (position, state_slot(&self.runner)) {
            self.runner.clear_state(slot);
        }
    }
}

/// Rows of a step whose logits are all wanted.
pub fn logits_rows_max(vocabulary_size: usize) -> usize {
    (LOGITS_BYTES / (4 * vocabulary_size.max(1))).clamp(ROWS_MIN, ROWS_MAX)
}

fn state_slot(runner: &ModelRunner<Cpu>) -> Option<StateSlot> {
    (runner.state_slot_count() > 0).then_some(StateSlot(0))
}

fn rows<'a>(tokens: &[u32], position: usize, pages: &'a [PageId], slot: Option<StateSlot>) -> SequenceRows<'a> {
    SequenceRows {
        first_row: 0,
        row_count: tokens.len(),
        first_position: position,
        page_table: pages,
        state_slot: slot,
        adapter_scales: &[],
    }
}
