//! Keep tokens whose surprise is nearest to the expected one, until they together have more than `typical_p` (Meister et
//! al., "Locally Typical Sampling").

use super::candidates::{Candidate, Candidates};

pub(super) fn apply(typical_p: f32, candidates: &mut Candidates) {
    candidates.softmax();
    // Surprise is the logarithm of the sum of exponentials less the logit. The expected surprise is the entropy, so the
    // distance of the two is that of the logit from the expected logit.
    let expected: f64 =
        candidates.items().iter().map(|candidate| f64::from(candidate.probability) * f64::from(candidate.logit)).sum();
    let distance = |candidate: &Candidate| (f64::from(candidate.logit) - expected).abs();
    let mut sum = 0.0;
    candidates.keep_until(
        |left, right| distance(left).total_cmp(&distance(right)).then_with(|| left.by_logit(right)),
        |candidate| {
            sum += f64::from(candidate.probability);
            sum > f64::from(typical_p)
        },
    );
}
