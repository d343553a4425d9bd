//! Keep tokens at least `min_p` times as likely as the most likely (Nguyen et al., "Min-p Sampling").

use super::candidates::Candidates;

pub(super) fn apply(min_p: f32, candidates: &mut Candidates) {
    let least = candidates.greatest() + min_p.ln();
    candidates.keep_if(|candidate| candidate.logit >= least);
}
