//! What passes the residual stream from layer to layer in other ways than by adding to it.

/// Attention over the residual stream (Kimi Team, "Attention Residuals"): the halves of a layer read a mean of the stream as it
/// stands and of states of it that earlier layers have kept, weighed by the softmax of scores `sum(score * rms_norm(state))`.
///
/// ```text
/// h = mean(kept, x);   if the layer keeps { kept.push(x); x = 0 };   x += mixer(mixer_norm(h))
/// x += ffn(ffn_norm(mean(kept, x)))
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BankedResidual {
    /// Stem of the scores of what the mixer reads, `[hidden_size]`.
    pub mixer_score: &'static str,
    /// Stem of the scores of what the feed-forward network reads, `[hidden_size]`.
    pub ffn_score: &'static str,
    /// Whether the layer keeps the stream and begins a new one.
    pub is_keeping: bool,
}

/// One of two states that take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnState {
    /// The one that changes in every turn; it begins as the model has learned it.
    Fast,
    /// The one that changes once in a cycle of turns; it begins as the embedding.
    Slow,
}

/// What a layer has to do with two states that take turns (Wang et al., "Hierarchical Reasoning Model", section 2): the stream
/// that a stack of layers reads is the sum of both, and what it makes of it replaces one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The state that is added to the stream before the layer; the stream is the other one.
    pub adds: Option<TurnState>,
    /// The state that the stream behind the layer becomes.
    pub becomes: Option<TurnState>,
}

impl Turn {
    /// Nothing.
    pub const NONE: Turn = Turn { adds: None, becomes: None };
}
