//! What a step delivers.

use std::time::Duration;

use crate::{SequenceId, sampler::NonFiniteLogits};

/// Something that happened to a sequence in a step.
#[derive(Clone, Debug)]
pub enum Event {
    /// The whole prompt is computed, and these are the log-probabilities of its tokens from the second on.
    PromptLogprobs {
        /// The sequence.
        id: SequenceId,
        /// `logprobs[i]` is of token `i + 1`, given the tokens before it.
        logprobs: Vec<f32>,
        /// Beside each, the most likely tokens there, best first.
        top: Vec<Vec<TokenLogprob>>,
    },
    /// A token was chosen.
    Token {
        /// The sequence.
        id: SequenceId,
        /// The token.
        token: u32,
        /// Its log-probability before penalties, temperature and filters, if asked for.
        logprob: Option<f32>,
        /// The most likely tokens, best first, as many as were asked for.
        top: Vec<TokenLogprob>,
    },
    /// The sequence ended; its memory is free.
    Finished {
        /// The sequence.
        id: SequenceId,
        /// Why.
        reason: FinishReason,
        /// What was counted.
        usage: Usage,
        /// What was measured.
        timings: Timings,
    },
    /// The sequence ended with an error; its memory is free.
    Failed {
        /// The sequence.
        id: SequenceId,
        /// Why.
        error: SequenceError,
    },
}

impl Event {
    /// The sequence it happened to.
    pub fn id(&self) -> SequenceId {
        match self {
            Self::PromptLogprobs { id, .. }
            | Self::Token { id, .. }
            | Self::Finished { id, .. }
            | Self::Failed { id, .. } => *id,
        }
    }

    /// Whether nothing follows for this sequence.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Finished { .. } | Self::Failed { .. })
    }
}

/// A token and its log-probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub token: u32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// Why a sequence ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// A stop token was chosen.
    Stop {
        /// Which.
        token: u32,
    },
    /// The constraint is fulfilled, and nothing may follow.
    Complete,
    /// As many tokens as were asked for.
    MaxTokens,
    /// The context, or the memory for it, is full.
    ContextFull,
}

/// What a request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, found in the prefix cache when the sequence was first taken up.
    pub cached_tokens: usize,
    /// Tokens chosen, the stop token included.
    pub completion_tokens: usize,
    /// Tokens that were guessed and computed with.
    pub guessed_tokens: usize,
    /// Of these, the ones that were the tokens chosen: each saved a step.
    pub accepted_tokens: usize,
}

/// How long a request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// From its arrival until it was first taken up.
    pub waiting: Duration,
    /// From there until the first token was chosen.
    pub prefill: Duration,
    /// From the first token to the end.
    pub decode: Duration,
}

/// Why a sequence ended badly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// The model computed something that is not a distribution.
    #[error("the model produces non-finite logits: {cause} after {position} tokens")]
    NonFiniteLogits {
        /// What was found.
        cause: NonFiniteLogits,
        /// Tokens before it.
        position: usize,
    },
    /// The constraint leaves no token that the model gives a finite logit.
    #[error("the constraint allows no token after {position} tokens")]
    NothingAllowed {
        /// Tokens before it.
        position: usize,
    },
    /// The constraint cannot say what may follow.
    #[error("the constraint cannot go on: {cause}")]
    ConstraintFailed {
        /// Why.
        cause: String,
    },
    /// The constraint itself failed.
    #[error("the constraint panicked: {cause}")]
    ConstraintPanicked {
        /// Its message.
        cause: String,
    },
    /// The model computed an embedding that is not made of numbers.
    #[error("the model produces a non-finite embedding (number {place} of text {input})")]
    NonFiniteEmbedding {
        /// Index of the text in the request.
        input: usize,
        /// Index of the first number that is none.
        place: usize,
    },
    /// The weights are not what they were.
    #[error("the model's weights were lost while they were used: {cause}; load the model again")]
    WeightsLost {
        /// How.
        cause: String,
    },
    /// Nobody took what was generated.
    #[error("nothing of the answer was taken for {seconds} seconds")]
    NotTaken {
        /// How long.
        seconds: u64,
    },
    /// The engine ended while the sequence was open.
    #[error("the engine has stopped: {cause}")]
    EngineStopped {
        /// What ended it.
        cause: String,
    },
}

impl SequenceError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NonFiniteLogits { .. } | Self::NonFiniteEmbedding { .. } => {
                Some("the model file may be damaged; compare its digest or get it again".to_owned())
            }
            Self::NothingAllowed { .. } | Self::ConstraintFailed { .. } => {
                Some("relax the grammar or schema".to_owned())
            }
            Self::NotTaken { .. } => Some("read answers as they come".to_owned()),
            Self::ConstraintPanicked { .. } | Self::EngineStopped { .. } | Self::WeightsLost { .. } => None,
        }
    }
}
