//! Make tokens that were seen lately less likely.
//!
//! The repeat penalty divides a positive logit and multiplies another one (Keskar et al., "CTRL", section 4.1, with the
//! usual correction for negative logits); presence and frequency penalties are OpenAI's.

use super::{Changes, Sampling};

pub(super) fn apply(
    sampling: &Sampling,
    history: &[u32],
    recent: &mut Vec<u32>,
    logits: &mut [f32],
    changes: &mut Changes,
) {
    let is_off =
        sampling.repeat_penalty == 1.0 && sampling.presence_penalty == 0.0 && sampling.frequency_penalty == 0.0;
    if is_off || sampling.penalty_last_n == 0 {
        return;
    }
    recent.clear();
    recent.extend_from_slice(&history[history.len().saturating_sub(sampling.penalty_last_n)..]);
    recent.sort_unstable();
    for run in recent.chunk_by(|left, right| left == right) {
        let seen = run.len() as f32 * sampling.frequency_penalty + sampling.presence_penalty;
        let repeat = sampling.repeat_penalty;
        changes.change(
            logits,
            run[0],
            |logit| if logit <= 0.0 { logit * repeat - seen } else { logit / repeat - seen },
        );
    }
}
