//! Keep tokens whose surprise is nearest to the expected one, until they together have more than `typical_p` (Meister et
//! al., "Locally Typical Sampling").

use std::cmp::Ordering;

use super::candidates::{Candidate, Candidates};
use super::nucleus::Nearest;
use super::weights::weighted_logit;

/// Tokens in the order of how typical they are, and the weight that is wanted of them.
///
/// Surprise is the logarithm of the sum of exponentials less the logit. The expected surprise is the entropy, so the
/// distance of the two is that of the logit from the expected logit, both relative to the greatest.
#[derive(Clone, Copy, Debug)]
pub(super) struct TypicalP {
    greatest: f32,
    /// The expected logit, relative to the greatest.
    expected: f64,
    enough: f64,
}

impl TypicalP {
    /// Of tokens with this greatest logit that weigh `total`; `weighted` is the sum of weights times relative logits.
    pub(super) fn new(typical_p: f32, greatest: f32, (total, weighted): (f64, f64)) -> Self {
        Self { greatest, expected: weighted / total, enough: f64::from(typical_p) * total }
    }
}

impl Nearest for TypicalP {
    fn distance(&self, logit: f32) -> f64 {
        (f64::from(logit - self.greatest) - self.expected).abs()
    }

    fn compare(&self, left: &Candidate, right: &Candidate) -> Ordering {
        self.distance(left.logit).total_cmp(&self.distance(right.logit)).then_with(|| left.by_logit(right))
    }

    fn enough(&self) -> f64 {
        self.enough
    }

    fn is_enough(&self, weight: f64) -> bool {
        weight > self.enough
    }

    fn center(&self) -> f32 {
        (f64::from(self.greatest) + self.expected) as f32
    }
}

pub(super) fn apply(typical_p: f32, candidates: &mut Candidates) {
    let total = candidates.weigh();
    let greatest = candidates.greatest();
    let weighted = |candidate: &Candidate| weighted_logit(candidate.probability, candidate.logit - greatest);
    let weighted = candidates.items().iter().map(weighted).sum();
    candidates.keep_until(&TypicalP::new(typical_p, greatest, (total, weighted)));
}
