//! Keep tokens whose surprise is nearest to the expected one, until they together have more than `typical_p` (Meister et
//! al., "Locally Typical Sampling").

use super::{
    candidates::{Candidate, Candidates},
    weights::weighted_logit,
};

/// What is typical of a distribution.
///
/// Surprise is the logarithm of the sum of exponentials less the logit. The expected surprise is the entropy, so the
/// distance of the two is that of the logit from the expected logit, both relative to the greatest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Typical {
    /// The greatest logit.
    pub(super) greatest: f32,
    /// The expected logit, relative to the greatest.
    pub(super) expected: f64,
}

impl Typical {
    /// How far a token of this logit is from what is expected.
    pub(super) fn distance(&self, logit: f32) -> f64 {
        (f64::from(logit - self.greatest) - self.expected).abs()
    }

    /// The least logit within a distance.
    pub(super) fn least_logit(&self, distance: f64) -> f32 {
        // A little lower, for sum and difference are rounded.
        let least = f64::from(self.greatest) + self.expected - distance;
        (least - 1e-3 - 1e-6 * f64::from(self.greatest.abs())) as f32
    }
}

pub(super) fn apply(typical_p: f32, candidates: &mut Candidates) {
    let total = candidates.weigh();
    let greatest = candidates.greatest();
    let weighted = |candidate: &Candidate| weighted_logit(candidate.probability, candidate.logit - greatest);
    let expected = candidates.items().iter().map(weighted).sum::<f64>() / total;
    keep(typical_p, total, Typical { greatest, expected }, candidates);
}

/// As [`apply`], of weighed candidates, whose whole is `total` with what was left out. Returns the last that is kept, if not
/// all are.
pub(super) fn keep(typical_p: f32, total: f64, typical: Typical, candidates: &mut Candidates) -> Option<Candidate> {
    let distance = |candidate: &Candidate| typical.distance(candidate.logit);
    let enough = f64::from(typical_p) * total;
    candidates.keep_until(
        distance,
        |left, right| distance(left).total_cmp(&distance(right)).then_with(|| left.by_logit(right)),
        |weight| weight > enough,
    )
}
