//! Keep so many of the most likely tokens; of equal ones at the edge, the lower tokens.

use super::candidates::Candidates;

pub(super) fn apply(top_k: usize, candidates: &mut Candidates) {
    candidates.keep_greatest(top_k);
}
