//! Embeddings: hidden states of whole texts, pooled, beside the sequences that generate.
//!
//! A request brings many inputs. They are packed by rows into steps of their own, one after each step of generation, in
//! turn over the requests, so that one of two thousand texts does not keep one of a single text waiting. A model
//! whose tokens see those that follow computes an input in one step; of others a long input is computed in several.

mod pooler;
mod queue;
mod vector;

use lair_model::Pooling;

use crate::{Limits, Refusal, SequenceError, SequenceId};
pub(crate) use queue::EmbeddingQueue;
pub use vector::Normalization;

/// Inputs of a request.
pub const INPUTS_MAX: usize = 1 << 14;

/// What can be made of a model's hidden states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddingShape {
    /// Numbers in a hidden state.
    pub hidden_size: usize,
    /// Numbers in a pooled embedding.
    pub embedding_size: usize,
    /// How the model is pooled if nobody says otherwise.
    pub pooling: Pooling,
    /// What its classifier reads.
    pub classifier_pooling: Pooling,
    /// Scores of its classifier; 0 without one.
    pub class_count: usize,
    /// Whether its scores add up to 1 already.
    pub scores_are_shares: bool,
    /// Whether an input has to be computed in one step.
    pub needs_whole_sequences: bool,
}

/// Texts to be embedded, as tokens.
#[derive(Clone, Debug)]
pub struct EmbedRequest {
    /// The texts; each has at least one token.
    pub inputs: Vec<Vec<u32>>,
    /// How each becomes a vector: [`Pooling::Rank`] gives the scores of the classifier, [`Pooling::None`] the hidden
    /// states of all tokens.
    pub pooling: Pooling,
    /// The factor on what each of the model's adapters adds; empty uses none.
    pub adapter_scales: Vec<f32>,
}

/// What a request gives, in the order of its inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embedded {
    /// For each input `[width]`, or `[tokens, width]` without pooling. Not normalised.
    pub vectors: Vec<Vec<f32>>,
    /// Numbers in a vector.
    pub width: usize,
    /// Tokens of all inputs.
    pub token_count: usize,
}

/// How a request ended.
pub(crate) type Outcome = (SequenceId, Result<Embedded, SequenceError>);

impl EmbeddingShape {
    /// Numbers in a vector of this pooling.
    pub fn width(&self, pooling: Pooling) -> usize {
        match pooling {
            Pooling::None => self.hidden_size,
            Pooling::Rank => self.class_count,
            Pooling::Mean | Pooling::First | Pooling::Last => self.embedding_size,
        }
    }
}

impl EmbedRequest {
    /// Refuses what can never be computed under these limits.
    pub fn check(&self, limits: &Limits) -> Result<(), Refusal> {
        let shape = limits.embedding.ok_or(Refusal::NoEmbeddings)?;
        if self.pooling == Pooling::Rank && shape.class_count == 0 {
            return Err(Refusal::NoClassifier);
        }
        if !(1..=INPUTS_MAX).contains(&self.inputs.len()) {
            return Err(Refusal::InputCount { found: self.inputs.len() });
        }
        for (input, tokens) in self.inputs.iter().enumerate() {
            if tokens.is_empty() {
                return Err(Refusal::EmptyInput { input });
            }
            if tokens.len() > limits.input_length {
                let (token_count, length_max) = (tokens.len(), limits.input_length);
                return Err(Refusal::InputTooLong { input, token_count, length_max });
            }
            crate::request::check_tokens(tokens.iter().copied(), "input", limits)?;
        }
        crate::request::check_adapters(&self.adapter_scales, limits)
    }
}
