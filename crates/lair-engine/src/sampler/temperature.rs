//! Divide the logits by a number: below 1 sharpens, above 1 flattens.

use super::Sampling;
use super::candidates::Candidates;
use super::weights;

pub(super) fn apply(temperature: f32, candidates: &mut Candidates) {
    // Relative to the greatest, so that a tiny temperature sends the others to minus infinity and not all to plus.
    let (greatest, inverse) = (candidates.greatest(), weights::inverse(temperature));
    for candidate in candidates.items_mut() {
        // Still finite, or a filter that drops the greatest would leave no distribution.
        candidate.logit = ((candidate.logit - greatest) * inverse).max(f32::MIN);
    }
}

/// A temperature between `temperature - range` and `temperature + range`, the higher the more evenly the candidates share
/// the probability: by the ratio of their entropy to the greatest they could have, to the power of the exponent ("Dynamic
/// Temperature", koboldcpp PR 464; as llama.cpp's `temp_ext`).
pub(super) fn apply_dynamic(sampling: &Sampling, candidates: &mut Candidates) {
    if candidates.items().len() < 2 {
        return;
    }
    candidates.sort_by_token();
    candidates.softmax();
    let surprise = |probability: f64| if probability > 0.0 { -probability * probability.ln() } else { 0.0 };
    let entropy: f64 = candidates.items().iter().map(|item| surprise(f64::from(item.probability))).sum();
    // Rounding may take it a little past what is possible.
    let evenness = (entropy / (candidates.items().len() as f64).ln()).clamp(0.0, 1.0);
    let (middle, range) = (f64::from(sampling.temperature), f64::from(sampling.temperature_range));
    let least = (middle - range).max(0.0);
    let dynamic = least + (middle + range - least) * evenness.powf(f64::from(sampling.temperature_exponent));
    apply((dynamic as f32).max(f32::MIN_POSITIVE), candidates);
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
