//! Keep tokens at least `min_p` times as likely as the most likely (Nguyen et al., "Min-p Sampling").

use super::candidates::Candidates;

pub(super) fn apply(min_p: f32, candidates: &mut Candidates) {
    let least = least_logit(min_p, candidates.greatest());
    candidates.keep_if(|candidate| candidate.logit >= least);
}

/// The least logit that is kept.
pub(super) fn least_logit(min_p: f32, greatest: f32) -> f32 {
    greatest + min_p.ln()
}
