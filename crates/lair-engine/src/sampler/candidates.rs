//! The tokens that are still in, with their logits.

use std::cmp::Ordering;

/// A token that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: u32,
    /// Its logit, as changed so far.
    pub logit: f32,
    /// Its probability among the candidates; stands only after a softmax.
    pub probability: f32,
}

impl Candidate {
    /// Greater logits first, then lower tokens: a total order, for logits are not NaN.
    pub(crate) fn by_logit(&self, other: &Self) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.token.cmp(&other.token))
    }
}

/// How candidates are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrangement {
    ByToken,
    ByLogit,
    None,
}

/// The candidates of one token; never empty once filled.
pub(crate) struct Candidates {
    items: Vec<Candidate>,
    arrangement: Arrangement,
}

/// Least room for finding the greatest: fewer would be cut down too often.
const ROOM_MIN: usize = 128;

impl Candidates {
    pub(crate) fn new(vocabulary_size: usize) -> Self {
        Self { items: Vec::with_capacity(vocabulary_size.max(2 * ROOM_MIN)), arrangement: Arrangement::ByToken }
    }

    pub(crate) fn items(&self) -> &[Candidate] {
        &self.items
    }

    pub(crate) fn items_mut(&mut self) -> &mut [Candidate] {
        &mut self.items
    }

    /// All tokens of a finite logit. At least one is.
    pub(crate) fn fill(&mut self, logits: &[f32]) {
        self.items.clear();
        for (token, &logit) in logits.iter().enumerate() {
            if logit > f32::NEG_INFINITY {
                self.items.push(Candidate { token: token as u32, logit, probability: 0.0 });
            }
        }
        self.arrangement = Arrangement::ByToken;
    }

    /// The `count` first by logit, of all with a finite logit.
    ///
    /// One scan: only tokens above the least of the `count` best so far are looked at again, and those are cut back
    /// to `count` when there are twice as many.
    pub(crate) fn fill_greatest(&mut self, logits: &[f32], count: usize) {
        if count >= logits.len() / 4 {
            self.fill(logits);
            return self.keep_greatest(count);
        }
        self.items.clear();
        let room = 2 * count.max(ROOM_MIN);
        let mut least = f32::NEG_INFINITY;
        for (token, &logit) in logits.iter().enumerate() {
            // One equal to the least comes after `count` lower tokens that are at least as great.
            if logit > least {
                self.items.push(Candidate { token: token as u32, logit, probability: 0.0 });
                if self.items.len() == room {
                    self.items.select_nth_unstable_by(count - 1, Candidate::by_logit);
                    self.items.truncate(count);
                    least = self.items[count - 1].logit;
                }
            }
        }
        self.arrangement = Arrangement::None;
        self.keep_greatest(count);
    }

    /// Keeps the `count` first by logit.
    pub(crate) fn keep_greatest(&mut self, count: usize) {
        if count >= self.items.len() {
            return;
        }
        if self.arrangement != Arrangement::ByLogit {
            self.items.select_nth_unstable_by(count - 1, Candidate::by_logit);
            self.arrangement = Arrangement::None;
        }
        self.items.truncate(count);
    }

    pub(crate) fn sort_by_logit(&mut self) {
        if self.arrangement != Arrangement::ByLogit {
            self.items.sort_unstable_by(Candidate::by_logit);
            self.arrangement = Arrangement::ByLogit;
        }
    }

    pub(crate) fn sort_by_token(&mut self) {
        if self.arrangement != Arrangement::ByToken {
            self.items.sort_unstable_by_key(|candidate| candidate.token);
            self.arrangement = Arrangement::ByToken;
        }
    }

    /// Keeps the first candidates in the order of `compare`, which must be total: as few as fulfil `is_enough`, which sees
    /// them one after the other; all if it is never fulfilled.
    ///
    /// Most of the time few are enough, and sorting 150k takes ten milliseconds, so some are sorted first, then more.
    pub(crate) fn keep_until(
        &mut self,
        compare: impl Fn(&Candidate, &Candidate) -> Ordering,
        mut is_enough: impl FnMut(&Candidate) -> bool,
    ) {
        const SORTED_FIRST: usize = 256;
        let (mut begin, mut count) = (0, SORTED_FIRST);
        while begin < self.items.len() {
            let rest = &mut self.items[begin..];
            if count < rest.len() {
                rest.select_nth_unstable_by(count, &compare);
            }
            count = count.min(rest.len());
            rest[..count].sort_unstable_by(&compare);
            if let Some(last) = rest[..count].iter().position(&mut is_enough) {
                self.items.truncate(begin + last + 1);
                break;
            }
            begin += count;
            count *= 4;
        }
        self.arrangement = Arrangement::None;
    }

    /// Drops the first `count` as they are arranged.
    pub(crate) fn drop_first(&mut self, count: usize) {
        debug_assert!(count < self.items.len());
        self.items.drain(..count);
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

    /// Sets the probabilities. Sums in f64, so that the order of the candidates does not show.
    pub(crate) fn softmax(&mut self) {
        let greatest = self.greatest();
        let mut sum = 0.0;
        for candidate in &mut self.items {
            candidate.probability = (candidate.logit - greatest).exp();
            sum += f64::from(candidate.probability);
        }
        for candidate in &mut self.items {
            candidate.probability = (f64::from(candidate.probability) / sum) as f32;
        }
    }

    /// The token at which the cumulated probability, by token, passes `uniform`.
    pub(crate) fn draw(&mut self, uniform: f64) -> u32 {
        self.sort_by_token();
        let greatest = self.greatest();
        let mut sum = 0.0;
        for candidate in &mut self.items {
            candidate.probability = (candidate.logit - greatest).exp();
            sum += f64::from(candidate.probability);
        }
        let mut left = uniform * sum;
        let mut drawn = self.items[0].token;
        for candidate in &self.items {
            if candidate.probability > 0.0 {
                drawn = candidate.token;
                left -= f64::from(candidate.probability);
                if left < 0.0 {
                    break;
                }
            }
        }
        drawn
    }
}
