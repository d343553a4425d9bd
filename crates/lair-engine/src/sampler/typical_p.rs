//! Keep tokens whose surprise is nearest to the expected one, until they together have more than `typical_p` (Meister et
//! al., "Locally Typical Sampling").

use super::candidates::{Arrangement, Candidates};

pub(super) fn apply(typical_p: f32, candidates: &mut Candidates) {
    candidates.softmax();
    let surprise = |probability: f32| if probability > 0.0 { -probability.ln() } else { f32::INFINITY };
    let entropy: f64 = candidates
        .items()
        .iter()
        .filter(|candidate| candidate.probability > 0.0)
        .map(|candidate| f64::from(candidate.probability * surprise(candidate.probability)))
        .sum();
    let distance = |probability: f32| (surprise(probability) - entropy as f32).abs();
    candidates.sort_unstable_by(|left, right| {
        distance(left.probability).total_cmp(&distance(right.probability)).then_with(|| left.by_logit(right))
    });
    let mut sum = 0.0;
    let last = candidates.items().iter().position(|candidate| {
        sum += f64::from(candidate.probability);
        sum > f64::from(typical_p)
    });
    if let Some(last) = last {
        candidates.keep_first(last + 1, Arrangement::None);
    }
}
