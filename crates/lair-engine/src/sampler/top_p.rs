//! Keep the most likely tokens that together have probability `top_p` (Holtzman et al., "The Curious Case of Neural Text
//! Degeneration").

use super::candidates::{Candidate, Candidates};

pub(super) fn apply(top_p: f32, candidates: &mut Candidates) {
    let total = candidates.weigh();
    keep(top_p, total, candidates);
}

/// As [`apply`], of weighed candidates with the most likely one among them, whose whole is `total` with what was left out.
/// Returns the last that is kept, if not all are.
pub(super) fn keep(top_p: f32, total: f64, candidates: &mut Candidates) -> Option<Candidate> {
    let greatest = candidates.greatest();
    let enough = f64::from(top_p) * total;
    candidates.keep_until(
        |candidate| distance(greatest, candidate.logit),
        Candidate::by_logit,
        |weight| weight >= enough,
    )
}

/// How far a logit is from the greatest.
pub(super) fn distance(greatest: f32, logit: f32) -> f64 {
    f64::from(greatest) - f64::from(logit)
}
