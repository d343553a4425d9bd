//! Keep the most likely tokens that together have probability `top_p` (Holtzman et al., "The Curious Case of Neural Text
//! Degeneration").

use std::cmp::Ordering;

use super::candidates::{Candidate, Candidates};
use super::nucleus::Nearest;

/// Tokens in the order of their likelihood, and the weight that is wanted of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct TopP {
    greatest: f32,
    enough: f64,
}

impl TopP {
    /// Of tokens with this greatest logit that weigh `total`.
    pub(super) fn new(top_p: f32, (greatest, total): (f32, f64)) -> Self {
        Self { greatest, enough: f64::from(top_p) * total }
    }
}

impl Nearest for TopP {
    fn distance(&self, logit: f32) -> f64 {
        f64::from(self.greatest) - f64::from(logit)
    }

    fn compare(&self, left: &Candidate, right: &Candidate) -> Ordering {
        left.by_logit(right)
    }

    fn enough(&self) -> f64 {
        self.enough
    }

    fn is_enough(&self, weight: f64) -> bool {
        weight >= self.enough
    }

    fn center(&self) -> f32 {
        self.greatest
    }
}

pub(super) fn apply(top_p: f32, candidates: &mut Candidates) {
    let total = candidates.weigh();
    let nearest = TopP::new(top_p, (candidates.greatest(), total));
    candidates.keep_until(&nearest);
}
