//! Divide the logits: below 1 sharpens, above 1 flattens.

use super::candidates::Candidates;

pub(super) fn apply(temperature: f32, candidates: &mut Candidates) {
    // Relative to the greatest, so that a tiny temperature sends the others to minus infinity and not all to plus.
    let greatest = candidates.greatest();
    for candidate in candidates.items_mut() {
        // Still finite, or a filter that drops the greatest would leave no distribution.
        candidate.logit = ((candidate.logit - greatest) / temperature).max(f32::MIN);
    }
}

#[cfg(test)]
mod tests {
    use lair_simd::{Isa, IsaChoice};

    use super::*;
    use crate::sampler::Candidate;

    #[test]
    fn the_least_temperature_leaves_the_greatest_logit() {
        let mut candidates = Candidates::new(Isa::detect(IsaChoice::Auto), 3);
        let candidate = |(token, logit)| Candidate { token, logit, probability: 0.0 };
        candidates.fill(|found| found.extend((0..).zip([1.0, 30.0, 2.0]).map(candidate)));
        apply(f32::MIN_POSITIVE, &mut candidates);
        candidates.softmax();
        assert_eq!(candidates.items().iter().map(|item| item.probability).collect::<Vec<_>>(), [0.0, 1.0, 0.0]);
    }
}
