//! Keep logits within `n` standard deviations of the greatest (Tang et al., "Top-n-sigma: Not All Logits Are You Need").

use super::candidates::Candidates;

/// Sums are of this many running sums, by the candidates' places in the order of tokens.
const RUNNING_SUMS: usize = 8;

pub(super) fn apply(n: f32, candidates: &mut Candidates) {
    candidates.sort_by_token();
    let count = candidates.items().len() as f64;
    let sum_of = |function: &dyn Fn(f64) -> f64| {
        let mut sums = [0.0; RUNNING_SUMS];
        for run in candidates.items().chunks(RUNNING_SUMS) {
            sums.iter_mut().zip(run).for_each(|(sum, candidate)| *sum += function(f64::from(candidate.logit)));
        }
        sums.iter().sum::<f64>()
    };
    let mean = sum_of(&|logit| logit) / count;
    let variance = sum_of(&|logit| (logit - mean).powi(2)) / count;
    let least = f64::from(candidates.greatest()) - f64::from(n) * variance.sqrt();
    candidates.keep_if(|candidate| f64::from(candidate.logit) >= least);
}
