//! Who is next: users take turns by what was computed for each.
//!
//! A [`PrefixScope`] is a user. While it has open requests there is a count of the tokens that were computed for it, and
//! a free place goes to the user with the least: one with a thousand requests delays one with a single request by no
//! more than what is being computed already (the virtual token counter of Sheng et al., "Fairness in Serving Large
//! Language Models", 2024). Who comes anew begins with the least count there is: having been away is no credit.

use std::collections::HashMap;

use crate::PrefixScope;

/// The users that have open requests.
#[derive(Default)]
pub(crate) struct Shares {
    entries: Vec<Share>,
    index: HashMap<PrefixScope, ShareIndex>,
    free: Vec<ShareIndex>,
}

/// Names the user of a sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShareIndex(usize);

struct Share {
    scope: PrefixScope,
    open_count: usize,
    /// Tokens computed for it.
    served: u64,
    /// Sequences in the step that is planned which are more than a token behind.
    behind_count: usize,
}

impl Shares {
    /// One more request of a user.
    pub(crate) fn enter(&mut self, scope: PrefixScope) -> ShareIndex {
        if let Some(&index) = self.index.get(&scope) {
            self.entries[index.0].open_count += 1;
            return index;
        }
        let present = self.entries.iter().filter(|share| share.open_count > 0);
        let served = present.map(|share| share.served).min().unwrap_or(0);
        let share = Share { scope, open_count: 1, served, behind_count: 0 };
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index.0] = share;
                index
            }
            None => {
                self.entries.push(share);
                ShareIndex(self.entries.len() - 1)
            }
        };
        self.index.insert(scope, index);
        index
    }

    /// One request less.
    pub(crate) fn leave(&mut self, index: ShareIndex) {
        let share = &mut self.entries[index.0];
        share.open_count = share.open_count.checked_sub(1).expect("who leaves has entered");
        if share.open_count == 0 {
            self.index.remove(&share.scope);
            self.free.push(index);
        }
    }

    /// Notes tokens that were computed for a user.
    pub(crate) fn charge(&mut self, index: ShareIndex, tokens: usize) {
        self.entries[index.0].served += tokens as u64;
    }

    /// Tokens computed for a user: the one with the least is next.
    pub(crate) fn served(&self, index: ShareIndex) -> u64 {
        self.entries[index.0].served
    }

    /// Begins to count who is behind.
    pub(crate) fn clear_behind(&mut self) {
        self.entries.iter_mut().for_each(|share| share.behind_count = 0);
    }

    /// One more sequence that is behind; returns whether it is the first of its user.
    pub(crate) fn note_behind(&mut self, index: ShareIndex) -> bool {
        let count = &mut self.entries[index.0].behind_count;
        *count += 1;
        *count == 1
    }

    /// Sequences of this user that are behind; at least 1.
    pub(crate) fn behind_count(&self, index: ShareIndex) -> usize {
        self.entries[index.0].behind_count.max(1)
    }

    /// Asserts that users are counted right.
    ///
    /// # Panics
    /// If not, which is a bug of the engine.
    pub(crate) fn check_integrity(&self, open: impl Iterator<Item = (ShareIndex, PrefixScope)>) {
        let mut counts = vec![0; self.entries.len()];
        for (index, scope) in open {
            counts[index.0] += 1;
            assert_eq!(self.entries[index.0].scope, scope, "a sequence counts for another user");
        }
        assert!(self.entries.iter().map(|share| share.open_count).eq(counts), "users are counted wrong");
        assert_eq!(self.index.len() + self.free.len(), self.entries.len());
    }
}
