//! Keep tokens whose surprise is nearest to the expected one, until they together have more than `typical_p` (Meister et
//! al., "Locally Typical Sampling").

use super::{
    candidates::{Candidate, Candidates},
    weights::on_grid,
};

pub(super) fn apply(typical_p: f32, candidates: &mut Candidates) {
    let total = candidates.weigh();
    // Surprise is the logarithm of the sum of exponentials less the logit. The expected surprise is the entropy, so the
    // distance of the two is that of the logit from the expected logit, both relative to the greatest. A weight times
    // its relative logit is at most 1/e, so its sums have no order either.
    let greatest = candidates.greatest();
    let relative = |candidate: &Candidate| candidate.logit - greatest;
    let weighted = |candidate: &Candidate| {
        if candidate.probability == 0.0 { 0.0 } else { on_grid(candidate.probability * relative(candidate)) }
    };
    let expected = candidates.items().iter().map(weighted).sum::<f64>() / total;
    let distance = |candidate: &Candidate| (f64::from(relative(candidate)) - expected).abs();
    let enough = f64::from(typical_p) * total;
    candidates.keep_until(
        |left, right| distance(left).total_cmp(&distance(right)).then_with(|| left.by_logit(right)),
        |weight| weight > enough,
    );
}
