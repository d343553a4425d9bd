//! Exclude top choices: with some probability, drop all tokens of at least `threshold` but the least likely of them
//! (text-generation-webui PR 6335).

use super::{
    Draws,
    candidates::{Candidate, Candidates},
};

pub(super) fn apply(probability: f32, threshold: f32, candidates: &mut Candidates, draws: &mut Draws) {
    // Above one half at most one token is likely enough, and it is kept.
    if threshold > 0.5 || candidates.items().len() < 2 || draws.uniform() >= f64::from(probability) {
        return;
    }
    candidates.softmax();
    let is_likely = |candidate: &Candidate| candidate.probability >= threshold;
    let least = candidates.items().iter().filter(|item| is_likely(item)).max_by(|left, right| left.by_logit(right));
    if let Some(&least) = least {
        candidates.keep_if(|candidate| !is_likely(candidate) || candidate.token == least.token);
    }
}
