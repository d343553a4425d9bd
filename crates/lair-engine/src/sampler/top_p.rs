//! Keep the most likely tokens that together have probability `top_p` (Holtzman et al., "The Curious Case of Neural Text
//! Degeneration").

use super::candidates::{Arrangement, Candidates};

/// Tokens sorted at first; most nuclei are smaller, and a full sort of 150k takes milliseconds.
const SORTED_FIRST: usize = 256;

pub(super) fn apply(top_p: f32, candidates: &mut Candidates) {
    candidates.softmax();
    let count = candidates.items().len();
    let mut sorted = SORTED_FIRST;
    loop {
        let mut sum = 0.0;
        let nucleus = candidates.sort_first_by_logit(sorted).iter().position(|candidate| {
            sum += f64::from(candidate.probability);
            sum >= f64::from(top_p)
        });
        if let Some(last) = nucleus {
            return candidates.keep_first(last + 1, Arrangement::ByLogit);
        }
        if sorted >= count {
            return;
        }
        sorted *= 8;
    }
}
