//! How far a model with fewer bits in its activations, keys and values is from itself with more: both predict the same
//! tokens, and their distributions are compared place by place.
//!
//! The Kullback-Leibler divergence needs far less text than the difference of two perplexities: it is a sum of positive
//! terms, while rounding that favours some tokens and hurts others leaves a difference that wanders about its mean by
//! about `sqrt(2 * divergence / tokens)`.

use std::sync::Arc;

use lair_compute::cpu::{ActivationType, Cpu, CpuOptions};
use lair_compute::{Batch, KvElement, PAGE_LENGTH, PageId, SequenceRows, StateSlot};
use lair_engine::sampler::{NonFiniteLogits, log_sum_exp};
use lair_engine::{MemoryOptions, ModelRunner, Runner};
use lair_gguf::GgufFile;
use lair_model::{LoadOptions, Model};

use crate::failure::{ExitCode, Failure};
use crate::session::model_failure;

/// Rows whose logits are kept at a time: for a vocabulary of 150,000 tokens 40 MB on either side.
const ROWS_MAX: usize = 64;

/// What is not in the file but chosen when it is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precision {
    /// What activations are multiplied as.
    pub activations: ActivationType,
    /// How keys and values are kept.
    pub kv: KvElement,
}

impl Precision {
    /// What others are compared with.
    pub const REFERENCE: Precision = Precision { activations: ActivationType::F32, kv: KvElement::F16 };
}

/// A loaded model, and room for the logits of a step.
pub struct Predictor {
    runner: ModelRunner<Cpu>,
    pages: Vec<PageId>,
    logits: Vec<f32>,
}

impl Predictor {
    /// Loads a model for texts of `length` tokens.
    ///
    /// # Errors
    /// If the model cannot be loaded, has no logits, or there is no memory for it.
    pub fn load(
        file: &GgufFile,
        length: usize,
        threads: Option<usize>,
        precision: Precision,
    ) -> Result<Predictor, Failure> {
        let engine_failure = |error: &dyn std::error::Error| Failure::new(ExitCode::Engine, error.to_string());
        let backend =
            Cpu::new(CpuOptions { threads, ..CpuOptions::default() }).map_err(|error| engine_failure(&error))?;
        let backend = backend.with_activations(precision.activations);
        let options = LoadOptions { context_length: Some(length) };
        let model = Model::load(file, &backend, options).map_err(model_failure)?;
        if !model.generates_one_by_one() {
            return Err(Failure::new(
                ExitCode::BadModel,
                "a model that does not predict token by token cannot be measured so",
            ));
        }
        let page_count = length.div_ceil(PAGE_LENGTH);
        let memory = MemoryOptions { kv_element: precision.kv, page_count, state_slot_count: 1, rows_max: ROWS_MAX };
        let runner = ModelRunner::new(Arc::new(model), backend, length, memory)
            .map_err(|error| Failure::new(ExitCode::DoesNotFit, error))?;
        let logits = vec![0.0; ROWS_MAX * runner.vocabulary_size()];
        Ok(Predictor { runner, pages: (0..page_count as u32).map(PageId).collect(), logits })
    }

    /// Computes `tokens`, at most [`ROWS_MAX`] of a text that stands before them up to `position`; gives the logits of
    /// each, `[token, vocabulary]`, if `is_wanted`.
    fn step(&mut self, tokens: &[u32], position: usize, wanted: &[usize]) -> &[f32] {
        let state_slot = (self.runner.state_slot_count() > 0).then_some(StateSlot(0));
        if let (0, Some(slot)) = (position, state_slot) {
            self.runner.clear_state(slot);
        }
        let rows = SequenceRows {
            first_row: 0,
            row_count: tokens.len(),
            first_position: position,
            page_table: &self.pages,
            state_slot,
            adapter_scales: &[],
        };
        let batch = Batch { tokens, sequences: std::slice::from_ref(&rows) };
        let logits = &mut self.logits[..wanted.len() * self.runner.vocabulary_size()];
        self.runner.step(&batch, wanted, logits);
        logits
    }
}

/// Sums over tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Divergence {
    /// Tokens that were predicted.
    pub tokens: usize,
    /// Of those, how many have the same likeliest token on both sides.
    pub same_likeliest: usize,
    divergence: Moments,
    /// Of the negative log-probability, and how much larger it is than the reference's.
    surprise: Moments,
    excess: Moments,
}

/// Sums of numbers and of their squares.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    sum: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, x: f64) {
        self.sum += x;
        self.squares += x * x;
    }

    /// The mean and its standard error.
    fn mean(&self, count: usize) -> (f64, f64) {
        let mean = self.sum / count as f64;
        let variance = (self.squares / count as f64 - mean * mean).max(0.0);
        (mean, (variance / count.saturating_sub(1).max(1) as f64).sqrt())
    }
}

impl Divergence {
    /// Adds what both sides say about `tokens`, from the middle on, each token having those before it as its context.
    ///
    /// # Errors
    /// If a side's logits are not finite.
    pub fn add_text(&mut self, sides: &mut [Predictor; 2], tokens: &[u32]) -> Result<(), Failure> {
        let last = tokens.len() - 1;
        let mut position = 0;
        while position < last {
            let end = (position + ROWS_MAX).min(last);
            let wanted: Vec<usize> = (0..end - position).filter(|row| position + row >= tokens.len() / 2).collect();
            let [candidate, reference] = sides;
            let vocabulary = candidate.runner.vocabulary_size();
            let found = candidate.step(&tokens[position..end], position, &wanted);
            let expected = reference.step(&tokens[position..end], position, &wanted);
            let rows = found.chunks_exact(vocabulary).zip(expected.chunks_exact(vocabulary));
            for (row, (found, expected)) in wanted.iter().zip(rows) {
                self.add(found, expected, tokens[position + row + 1])
                    .map_err(|error| Failure::new(ExitCode::Engine, error))?;
            }
            position = end;
        }
        Ok(())
    }

    /// Adds one place: logits of both sides, and the token that came.
    fn add(&mut self, found: &[f32], expected: &[f32], token: u32) -> Result<(), NonFiniteLogits> {
        let (found_total, expected_total) = (log_sum_exp(found)?, log_sum_exp(expected)?);
        let mut divergence = 0.0;
        let (mut likeliest, mut expected_likeliest) = (0, 0);
        for (index, (&x, &y)) in found.iter().zip(expected).enumerate() {
            let (x, y) = (f64::from(x) - found_total, f64::from(y) - expected_total);
            divergence += f64::from((y as f32).exp()) * (y - x);
            if found[index] > found[likeliest] {
                likeliest = index;
            }
            if expected[index] > expected[expected_likeliest] {
                expected_likeliest = index;
            }
        }
        let surprise = found_total - f64::from(found[token as usize]);
        let expected_surprise = expected_total - f64::from(expected[token as usize]);
        self.tokens += 1;
        self.same_likeliest += usize::from(likeliest == expected_likeliest);
        self.divergence.add(divergence);
        self.surprise.add(surprise);
        self.excess.add(surprise - expected_surprise);
        Ok(())
    }

    /// The mean Kullback-Leibler divergence of the candidate from the reference, in nats a token, and its standard error.
    pub fn mean(&self) -> (f64, f64) {
        self.divergence.mean(self.tokens)
    }

    /// The candidate's perplexity and its standard error.
    pub fn perplexity(&self) -> (f64, f64) {
        let (mean, error) = self.surprise.mean(self.tokens);
        (mean.exp(), mean.exp() * error)
    }

    /// The candidate's perplexity over the reference's, less one, and the standard error of that.
    pub fn excess(&self) -> (f64, f64) {
        let (mean, error) = self.excess.mean(self.tokens);
        (mean.exp_m1(), mean.exp() * error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_distributions_do_not_diverge_and_others_do_as_the_formula_has_it() {
        let mut same = Divergence::default();
        same.add(&[1.0, 2.0, 3.0], &[2.0, 3.0, 4.0], 1).expect("finite");
        assert!(same.mean().0.abs() < 1e-9 && same.excess().0.abs() < 1e-9);
        assert_eq!((same.tokens, same.same_likeliest), (1, 1));

        // Expected halves, found a quarter and three quarters: ln 2 - (ln 3)/2 nats; token 0 is half as likely.
        let mut other = Divergence::default();
        other.add(&[0.0, 3f32.ln()], &[0.0, 0.0], 0).expect("finite");
        assert!((other.mean().0 - (2f64.ln() * 2.0 - 3f64.ln()) / 2.0).abs() < 1e-6, "{other:?}");
        assert!((other.excess().0 - 1.0).abs() < 1e-6 && (other.perplexity().0 - 4.0).abs() < 1e-5);
        assert!(other.add(&[f32::NAN, 0.0], &[0.0, 0.0], 0).is_err());
    }
}
