//! Keep the most likely tokens that together have probability `top_p` (Holtzman et al., "The Curious Case of Neural Text
//! Degeneration").

use super::candidates::{Candidate, Candidates};

pub(super) fn apply(top_p: f32, candidates: &mut Candidates) {
    candidates.softmax();
    // All tokens below this together have less than `1 - top_p`, so none of them is needed. Mostly that is nearly all.
    // Half of it leaves room for rounding.
    let negligible = 0.5 * (1.0 - top_p) / candidates.items().len() as f32;
    candidates.keep_if(|candidate| candidate.probability >= negligible);
    let mut sum = 0.0;
    candidates.keep_until(Candidate::by_logit, |candidate| {
        sum += f64::from(candidate.probability);
        sum >= f64::from(top_p)
    });
}
