//! The tokens that are still in, with their logits.

use std::cmp::Ordering;

use lair_simd::Isa;

use super::weights;

/// A token that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: u32,
    /// Its logit, as changed so far.
    pub logit: f32,
    /// Its probability among the candidates. While tokens are dropped it is the weight, which is not divided by the sum.
    pub probability: f32,
}

impl Candidate {
    /// Greater logits first, then lower tokens: a total order, for logits are not NaN.
    pub(crate) fn by_logit(&self, other: &Self) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.token.cmp(&other.token))
    }

    fn by_token(&self, other: &Self) -> Ordering {
        self.token.cmp(&other.token)
    }

    fn weight(&self) -> f64 {
        f64::from(self.probability)
    }
}

/// The candidates of one token, in no order that counts; never empty once filled.
pub(crate) struct Candidates {
    isa: Isa,
    items: Vec<Candidate>,
    is_by_token: bool,
}

impl Candidates {
    pub(crate) fn new(isa: Isa, vocabulary_size: usize) -> Self {
        Self { isa, items: Vec::with_capacity(vocabulary_size), is_by_token: true }
    }

    pub(crate) fn items(&self) -> &[Candidate] {
        &self.items
    }

    pub(crate) fn items_mut(&mut self) -> &mut [Candidate] {
        &mut self.items
    }

    /// Takes the candidates that `fill` names, by token; there must be one.
    pub(crate) fn fill(&mut self, fill: impl FnOnce(&mut dyn FnMut(u32, f32))) {
        self.items.clear();
        fill(&mut |token, logit| self.items.push(Candidate { token, logit, probability: 0.0 }));
        self.is_by_token = true;
        debug_assert!(!self.items.is_empty() && self.items.is_sorted_by_key(|candidate| candidate.token));
    }

    /// Keeps the `count` first by logit.
    pub(crate) fn keep_greatest(&mut self, count: usize) {
        if count >= self.items.len() {
            return;
        }
        self.items.select_nth_unstable_by(count - 1, Candidate::by_logit);
        self.items.truncate(count);
        self.is_by_token = false;
    }

    pub(crate) fn sort_by_token(&mut self) {
        if !self.is_by_token {
            self.items.sort_unstable_by(Candidate::by_token);
            self.is_by_token = true;
        }
    }

    /// Keeps the first candidates in the order of `compare`, which must be total: as few as have the weight that
    /// `is_enough` asks for; all if they never have. The candidates must be weighed.
    pub(crate) fn keep_until(
        &mut self,
        compare: impl Fn(&Candidate, &Candidate) -> Ordering,
        is_enough: impl Fn(f64) -> bool,
    ) {
        let kept = arrange_by_weight(&mut self.items, compare, is_enough).map_or(self.items.len(), |last| last + 1);
        self.items.truncate(kept);
        self.is_by_token = false;
    }

    /// Keeps those that fulfil a condition; at least one must.
    pub(crate) fn keep_if(&mut self, condition: impl Fn(&Candidate) -> bool) {
        self.items.retain(condition);
        debug_assert!(!self.items.is_empty());
    }

    /// The greatest logit.
    pub(crate) fn greatest(&self) -> f32 {
        self.items.iter().fold(f32::NEG_INFINITY, |greatest, candidate| greatest.max(candidate.logit))
    }

    /// Sets the weights, relative to the greatest logit; returns their sum.
    pub(crate) fn weigh(&mut self) -> f64 {
        let greatest = self.greatest();
        weights::weigh(self.isa, &mut self.items, greatest)
    }

    /// Sets the probabilities.
    pub(crate) fn softmax(&mut self) {
        let sum = self.weigh();
        for candidate in &mut self.items {
            candidate.probability = (candidate.weight() / sum) as f32;
        }
    }

    /// The first token, by token, at which the cumulated weight passes `uniform` times the whole.
    pub(crate) fn draw(&mut self, uniform: f64) -> u32 {
        let target = uniform * self.weigh();
        let place = arrange_by_weight(&mut self.items, Candidate::by_token, |weight| weight > target);
        self.is_by_token = false;
        let drawn = place.map(|place| self.items[place]);
        // `uniform` is below 1, but its product with the sum may be rounded up to it.
        let last = || self.items.iter().filter(|candidate| candidate.probability > 0.0).max_by_key(|item| item.token);
        drawn.or_else(|| last().copied()).unwrap_or(self.items[0]).token
    }
}

/// Fewer candidates than this are sorted.
const SORTED: usize = 48;

/// Finds the first candidate, in the order of `compare`, with which the cumulated weight `is_reached`; puts all before it
/// there and returns its place. Weights sum to the same in any order, so nothing needs to be sorted: the part that has
/// the candidate is cut in two, over and over, in linear time.
fn arrange_by_weight(
    items: &mut [Candidate],
    compare: impl Fn(&Candidate, &Candidate) -> Ordering,
    is_reached: impl Fn(f64) -> bool,
) -> Option<usize> {
    let (mut begin, mut end, mut before) = (0, items.len(), 0.0);
    while end - begin > SORTED {
        // Mostly few are enough, so the cut is nearer to the begin.
        let cut = begin + (end - begin) / 4;
        items[begin..end].select_nth_unstable_by(cut - begin, &compare);
        let with_first = before + items[begin..cut].iter().map(Candidate::weight).sum::<f64>();
        if is_reached(with_first) {
            end = cut;
        } else {
            (begin, before) = (cut, with_first);
        }
    }
    items[begin..end].sort_unstable_by(&compare);
    let reached = items[begin..end].iter().position(|candidate| {
        before += candidate.weight();
        is_reached(before)
    });
    reached.map(|place| begin + place)
}
