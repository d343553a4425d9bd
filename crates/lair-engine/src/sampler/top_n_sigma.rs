//! Keep logits within `n` standard deviations of the greatest (Tang et al., "Top-n-sigma: Not All Logits Are You Need").

use super::candidates::Candidates;

pub(super) fn apply(n: f32, candidates: &mut Candidates) {
    let count = candidates.items().len() as f64;
    let mean = candidates.items().iter().map(|candidate| f64::from(candidate.logit)).sum::<f64>() / count;
    let variance =
        candidates.items().iter().map(|candidate| (f64::from(candidate.logit) - mean).powi(2)).sum::<f64>() / count;
    let least = f64::from(candidates.greatest()) - f64::from(n) * variance.sqrt();
    candidates.keep_if(|candidate| f64::from(candidate.logit) >= least);
}
