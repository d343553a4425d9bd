//! Keep the most likely tokens that together have probability `top_p` (Holtzman et al., "The Curious Case of Neural Text
//! Degeneration").

use super::candidates::{Candidate, Candidates};

pub(super) fn apply(top_p: f32, candidates: &mut Candidates) {
    let total = candidates.weigh();
    keep(top_p, total, candidates);
}

/// As [`apply`], of weighed candidates, whose whole is `total` with what was left out.
pub(super) fn keep(top_p: f32, total: f64, candidates: &mut Candidates) {
    let enough = f64::from(top_p) * total;
    candidates.keep_until(Candidate::by_logit, |weight| weight >= enough);
}

/// A weight of which all lesser ones of so many tokens together are not needed: they have less than half of what the
/// nucleus leaves, the other half is room for rounding.
pub(super) fn negligible_weight(top_p: f32, total: f64, count: usize) -> f64 {
    0.5 * (1.0 - f64::from(top_p)) * total / count as f64
}
