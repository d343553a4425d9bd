//! Make tokens that were seen lately less likely.
//!
//! The repeat penalty divides a positive logit and multiplies another one (Keskar et al., "CTRL", section 4.1, with the
//! usual correction for negative logits); presence and frequency penalties are OpenAI's.

use super::{Changes, Sampling};

/// How often each token was seen lately: all zero between two tokens that are chosen.
pub(super) struct Seen {
    /// `[vocabulary_size]`.
    counts: Vec<u32>,
    /// The tokens that have a count.
    tokens: Vec<u32>,
}

impl Seen {
    pub(super) fn new(vocabulary_size: usize) -> Self {
        Self { counts: vec![0; vocabulary_size], tokens: Vec::with_capacity(vocabulary_size) }
    }
}

/// Cost: one count for each of the last `penalty_last_n` tokens, one change for each that is new among them.
pub(super) fn apply(sampling: &Sampling, history: &[u32], seen: &mut Seen, logits: &mut [f32], changes: &mut Changes) {
    let is_off =
        sampling.repeat_penalty == 1.0 && sampling.presence_penalty == 0.0 && sampling.frequency_penalty == 0.0;
    if is_off || sampling.penalty_last_n == 0 {
        return;
    }
    for &token in &history[history.len().saturating_sub(sampling.penalty_last_n)..] {
        let count = &mut seen.counts[token as usize];
        if *count == 0 {
            seen.tokens.push(token);
        }
        *count += 1;
    }
    for token in seen.tokens.drain(..) {
        let count = std::mem::take(&mut seen.counts[token as usize]);
        let penalty = count as f32 * sampling.frequency_penalty + sampling.presence_penalty;
        let repeat = sampling.repeat_penalty;
        changes.change(
            logits,
            token,
            |logit| if logit <= 0.0 { logit * repeat - penalty } else { logit / repeat - penalty },
        );
    }
}
