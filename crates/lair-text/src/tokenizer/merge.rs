//! The merging of neighbours that both kinds of byte-pair encoding share.
//!
//! A piece of text starts as a row of symbols. The best pair of neighbours (lowest priority number, leftmost of equals)
//! becomes one symbol, again and again, until no pair is left. Symbols form a linked list; pairs wait in a queue of
//! eight bytes each: O(n log n) time, 20 + 8 bytes for each symbol, no recursion. A pair that changed since it was
//! queued is recognised and dropped.
//!
//! The queue is a sorted list that is read from front to back. New pairs that are due before its end go into a heap
//! beside it; those that are due later are gathered and become the next list. On a run of one character, where a heap of
//! all pairs would miss the cache at every level, the lists arise in order and the heap stays empty.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::pieces::NONE;
use super::uncovered::Uncovered;
use super::vocabulary::{TokenId, Vocabulary};

/// Rows up to this many symbols are merged by looking at all pairs each time, which is faster than a queue.
const SCAN_SYMBOLS_MAX: usize = 24;

/// A symbol: a stretch of text that so far is one unit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Symbol {
    /// Its token, or [`NONE`] while it has none.
    pub(crate) token: TokenId,
    /// Where it starts, in bytes. It ends where the next one starts.
    pub(crate) start: u32,
    previous: u32,
    next: u32,
    /// The merge with the next symbol, or [`NONE`].
    merge: u32,
}

/// Which neighbours may merge.
pub(crate) trait Merges {
    /// The merge of two neighbours, `right` ending before byte `end`; [`NONE`] if they do not merge.
    fn find(&self, left: &Symbol, right: &Symbol, end: u32) -> u32;
    /// How early the merge happens: lower is earlier.
    fn priority(&self, merge: u32) -> u32;
    /// The token it makes.
    fn token(&self, merge: u32) -> TokenId;
}

/// The memory of a merge run, reused from piece to piece, and how many steps it took.
#[derive(Debug, Default)]
pub(crate) struct MergeBuffer {
    symbols: Vec<Symbol>,
    /// The pairs of the current list, sorted.
    due: Vec<u64>,
    /// Pairs found since that are due before the list ends.
    heap: BinaryHeap<Reverse<u64>>,
    /// Pairs found since that are due after it.
    later: Vec<u64>,
    /// Pairs looked up, queued or taken so far: the measure of work, for tests of linearity.
    pub(crate) step_count: u64,
}

impl MergeBuffer {
    /// Starts a new row.
    pub(crate) fn clear(&mut self) {
        self.symbols.clear();
    }

    /// Appends a symbol to the row.
    #[inline]
    pub(crate) fn push(&mut self, token: TokenId, start: u32) {
        let index = self.symbols.len() as u32;
        self.symbols.push(Symbol { token, start, previous: index.wrapping_sub(1), next: index + 1, merge: NONE });
    }

    /// Starts a new row with the characters of a word; those that are no piece have no token.
    pub(crate) fn begin_with_characters(&mut self, vocabulary: &Vocabulary, word: &str) {
        self.clear();
        for (start, character) in word.char_indices() {
            let piece = &word.as_bytes()[start..start + character.len_utf8()];
            self.push(vocabulary.find(piece).unwrap_or(NONE), start as u32);
        }
    }

    /// Merges the row of a word and appends its tokens to those of a text, which begin at `first_id`.
    pub(crate) fn encode(
        &mut self,
        merges: &impl Merges,
        uncovered: &Uncovered,
        word: &str,
        first_id: usize,
        ids: &mut Vec<TokenId>,
    ) {
        let bytes = word.as_bytes();
        self.run(merges, bytes.len() as u32, |token, range| {
            if token == NONE {
                uncovered.encode(&bytes[range.start as usize..range.end as usize], first_id, ids);
            } else {
                ids.push(token);
            }
        });
    }

    /// Merges the row, which ends at byte `end`, and hands each remaining symbol's token and byte range to `emit`.
    fn run(&mut self, merges: &impl Merges, end: u32, mut emit: impl FnMut(TokenId, std::ops::Range<u32>)) {
        let Some(last) = self.symbols.last_mut() else { return };
        last.next = NONE;
        for index in 0..self.symbols.len() {
            self.look_up(merges, index as u32, end);
        }
        if self.symbols.len() <= SCAN_SYMBOLS_MAX {
            self.merge_by_scan(merges, end);
        } else {
            self.merge_by_queue(merges, end);
        }
        let mut index = 0;
        while index != NONE {
            let symbol = self.symbols[index as usize];
            emit(symbol.token, symbol.start..self.end_of(&symbol, end));
            index = symbol.next;
        }
    }

    /// Where `symbol` ends.
    fn end_of(&self, symbol: &Symbol, end: u32) -> u32 {
        if symbol.next == NONE { end } else { self.symbols[symbol.next as usize].start }
    }

    /// Finds out how symbol `index` merges with the one after it.
    fn look_up(&mut self, merges: &impl Merges, index: u32, end: u32) -> u32 {
        self.step_count += 1;
        let left = self.symbols[index as usize];
        let merge = if left.next == NONE {
            NONE
        } else {
            let right = self.symbols[left.next as usize];
            merges.find(&left, &right, self.end_of(&right, end))
        };
        self.symbols[index as usize].merge = merge;
        merge
    }

    fn merge_by_scan(&mut self, merges: &impl Merges, end: u32) {
        loop {
            let mut best = None;
            let mut index = 0;
            while index != NONE {
                let symbol = &self.symbols[index as usize];
                if symbol.merge != NONE {
                    let priority = merges.priority(symbol.merge);
                    if best.is_none_or(|(lowest, _)| priority < lowest) {
                        best = Some((priority, index));
                    }
                }
                index = symbol.next;
                self.step_count += 1;
            }
            let Some((_, index)) = best else { return };
            let (before, at) = self.join(merges, index);
            for changed in [before, at] {
                if changed != NONE {
                    self.look_up(merges, changed, end);
                }
            }
        }
    }

    fn merge_by_queue(&mut self, merges: &impl Merges, end: u32) {
        self.later.clear();
        for (index, symbol) in self.symbols.iter().enumerate() {
            if symbol.merge != NONE {
                self.later.push(queue_key(merges.priority(symbol.merge), index as u32));
            }
        }
        while !self.later.is_empty() {
            std::mem::swap(&mut self.due, &mut self.later);
            self.later.clear();
            self.due.sort_unstable();
            let last = self.due[self.due.len() - 1];
            let mut place = 0;
            while let Some(key) = self.take_next(&mut place) {
                self.step_count += 1;
                let index = key as u32;
                let merge = self.symbols[index as usize].merge;
                // A symbol that was merged away has no merge; one that changed has another priority, or an equal one,
                // in which case it is due now just the same.
                if merge == NONE || u64::from(merges.priority(merge)) != key >> 32 {
                    continue;
                }
                let (before, at) = self.join(merges, index);
                for changed in [before, at].into_iter().filter(|&changed| changed != NONE) {
                    let merge = self.look_up(merges, changed, end);
                    if merge == NONE {
                        continue;
                    }
                    let key = queue_key(merges.priority(merge), changed);
                    if key <= last {
                        self.heap.push(Reverse(key));
                    } else {
                        self.later.push(key);
                    }
                }
            }
        }
    }

    /// The next pair of the list, from `place` on, or of the heap.
    fn take_next(&mut self, place: &mut usize) -> Option<u64> {
        let listed = self.due.get(*place).copied();
        match self.heap.peek() {
            Some(&Reverse(found)) if listed.is_none_or(|listed| found < listed) => {
                self.heap.pop();
                Some(found)
            }
            _ => {
                *place += 1;
                listed
            }
        }
    }

    /// Carries out the merge of symbol `index`; returns the symbols whose merge with their successor has changed.
    fn join(&mut self, merges: &impl Merges, index: u32) -> (u32, u32) {
        let left = self.symbols[index as usize];
        let right = self.symbols[left.next as usize];
        self.symbols[left.next as usize].merge = NONE;
        self.symbols[index as usize].token = merges.token(left.merge);
        self.symbols[index as usize].next = right.next;
        if right.next != NONE {
            self.symbols[right.next as usize].previous = index;
        }
        (left.previous, index)
    }
}

/// Orders by priority, then from left to right.
fn queue_key(priority: u32, index: u32) -> u64 {
    u64::from(priority) << 32 | u64::from(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Digits merge when their sum is below ten; small sums first, so order matters a lot.
    struct Sums;

    impl Merges for Sums {
        fn find(&self, left: &Symbol, right: &Symbol, _end: u32) -> u32 {
            let sum = left.token + right.token;
            if sum < 10 { sum } else { NONE }
        }
        fn priority(&self, merge: u32) -> u32 {
            merge / 2
        }
        fn token(&self, merge: u32) -> TokenId {
            merge
        }
    }

    /// The definition, word for word: quadratic and plain.
    fn merge_plainly(mut digits: Vec<u32>) -> Vec<u32> {
        loop {
            let best = (0..digits.len().saturating_sub(1))
                .filter(|&index| digits[index] + digits[index + 1] < 10)
                .min_by_key(|&index| ((digits[index] + digits[index + 1]) / 2, index));
            let Some(index) = best else { return digits };
            digits[index] += digits.remove(index + 1);
        }
    }

    proptest! {
        #[test]
        fn merging_follows_the_definition(digits in proptest::collection::vec(prop_oneof![0u32..10, 0u32..2], 1..160)) {
            let mut buffer = MergeBuffer::default();
            for (index, &digit) in digits.iter().enumerate() {
                buffer.push(digit, index as u32);
            }
            let mut merged = Vec::new();
            let mut ends = Vec::new();
            buffer.run(&Sums, digits.len() as u32, |token, range| {
                merged.push(token);
                ends.push(range.end);
            });
            prop_assert_eq!(merged, merge_plainly(digits.clone()));
            prop_assert_eq!(ends.last().copied(), Some(digits.len() as u32));
        }
    }
}
