//! Exclude top choices: with some probability, drop all tokens of at least `threshold` but the least likely of them
//! (text-generation-webui PR 6335).

use super::{Draws, candidates::Candidates};

pub(super) fn apply(probability: f32, threshold: f32, candidates: &mut Candidates, draws: &mut Draws) {
    // Above one half at most one token is likely enough, and it is kept.
    if threshold > 0.5 || candidates.items().len() < 2 || draws.uniform() >= f64::from(probability) {
        return;
    }
    candidates.softmax();
    candidates.sort_by_logit();
    let likely = candidates.items().iter().take_while(|candidate| candidate.probability >= threshold).count();
    if likely > 1 {
        candidates.drop_first(likely - 1);
    }
}
