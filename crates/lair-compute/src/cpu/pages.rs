//! Which pages memory comes in: huge ones where they are at hand, small ones elsewhere.
//!
//! A huge page is the cheaper one by far, a fault for 512 of the others, where the system has one at hand. It has not
//! where the host of a virtual machine took free memory back, which it does with whole huge pages only, or where small
//! pages have to be moved to make one. What is left in small pieces is at hand even then: on a virtual machine 680 MiB
//! took two threads 1.1 s in huge pages and 0.15 s in small ones (`docs/decisions/0013-start.md`). So memory is looked
//! at in stretches: the first huge page of each is timed, and where it is slow the rest comes in small ones.
#![allow(unsafe_code)] // First writes to pages that nobody has.

use std::time::{Duration, Instant};

use super::memory::{HUGE_PAGE_BYTES, Mapping};

/// What a mapping is asked to lie in. It is advice: a system that cannot do otherwise does as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pages {
    Huge,
    Small,
}

/// How often it is looked, in bytes.
const STRETCH_BYTES: usize = 16 << 20;
/// So many pages in turn have to be slow: one may be so by chance.
const LOOKS: usize = 2;
/// A huge page that comes within this is at hand: clearing it takes 0.1 to 0.4 ms, one that the host has to find 6 ms.
const AT_HAND: Duration = Duration::from_millis(1);

/// What the pages of a mapping are, from its beginning on.
pub(super) struct PageChoice {
    /// Bytes for which it is decided. All of them may have been written by a look, with zeros.
    decided: usize,
    /// Where small pages begin; all behind them are small as well.
    small: usize,
    /// Bytes that are huge pages, or may become some in the background.
    settled: usize,
}

impl PageChoice {
    pub(super) const fn new() -> PageChoice {
        PageChoice { decided: 0, small: usize::MAX, settled: 0 }
    }

    /// Decides for at least the first `needed` of the `size_bytes` of a mapping, whole huge pages. Nobody else may know
    /// of what is not decided yet.
    pub(super) fn reach(&mut self, needed: usize, mapping: &Mapping, size_bytes: usize) {
        self.reach_timed(needed, mapping, size_bytes, clear_huge_page);
    }

    /// As [`PageChoice::reach`], where `look` says how long the huge page at an offset takes.
    fn reach_timed(
        &mut self,
        needed: usize,
        mapping: &Mapping,
        size_bytes: usize,
        look: impl Fn(&Mapping, usize) -> Duration,
    ) {
        while self.decided < needed.min(size_bytes) {
            let start = self.decided;
            let end = size_bytes.min(start + STRETCH_BYTES);
            mapping.advise(start..end, Pages::Huge);
            let mut looks = (start..end).step_by(HUGE_PAGE_BYTES).take(LOOKS);
            self.decided = end;
            if looks.all(|offset| look(mapping, offset) > AT_HAND) {
                self.small = end.min(start + LOOKS * HUGE_PAGE_BYTES);
                mapping.advise(self.small..size_bytes, Pages::Small);
                self.decided = size_bytes;
            }
        }
    }

    /// The first `filled` bytes will not be written any more: what lies in small pages may become huge ones, which the
    /// system makes in the background, a few in a second.
    pub(super) fn settle(&mut self, filled: usize, mapping: &Mapping) {
        let (start, end) = (self.small.max(self.settled), filled / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES);
        if start < end {
            mapping.advise(start..end, Pages::Huge);
            self.settled = end;
        }
    }
}

/// How long the system takes to give the huge page at an offset, cleared.
fn clear_huge_page(mapping: &Mapping, offset: usize) -> Duration {
    let start = Instant::now();
    // SAFETY: within the mapping, which holds zeros there and of which nobody else has this part.
    unsafe { mapping.start().add(offset).write_volatile(0) };
    start.elapsed()
}

/// Bytes of a small page.
pub(super) fn page_bytes() -> usize {
    // SAFETY: asks the system for a number.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const MIB: usize = 1 << 20;
    const QUICK: Duration = Duration::from_micros(300);
    const SLOW: Duration = Duration::from_millis(6);

    /// Where it was looked in 256 MiB, if a huge page takes so long; in MiB.
    fn looks(choice: &mut PageChoice, needed: usize, mapping: &Mapping, time: Duration) -> Vec<usize> {
        looks_within(choice, needed, (mapping, 256 * MIB), time)
    }

    /// The same in the first bytes of a mapping.
    fn looks_within(
        choice: &mut PageChoice,
        needed: usize,
        (mapping, size_bytes): (&Mapping, usize),
        time: Duration,
    ) -> Vec<usize> {
        let seen = RefCell::new(Vec::new());
        choice.reach_timed(needed, mapping, size_bytes, |_, offset| {
            seen.borrow_mut().push(offset / MIB);
            time
        });
        seen.into_inner()
    }

    /// Whether the page at this offset may be a huge one, by the system's own word; `None` where it has none.
    fn may_be_huge(mapping: &Mapping, offset: usize) -> Option<bool> {
        let text = std::fs::read_to_string("/proc/self/smaps").ok()?;
        let address = mapping.start().addr() + offset;
        let mut is_here = false;
        for line in text.lines() {
            let range = line.split(' ').next()?.split_once('-').and_then(|(from, to)| {
                Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?)
            });
            is_here = range.map_or(is_here, |range| range.contains(&address));
            if let (true, Some(flags)) = (is_here, line.strip_prefix("VmFlags:")) {
                return flags.split(' ').find_map(|flag| match flag {
                    "hg" => Some(true),
                    "nh" => Some(false),
                    _ => None,
                });
            }
        }
        None
    }

    fn expect_huge(mapping: &Mapping, expected: &[(usize, bool)]) {
        if may_be_huge(mapping, expected[0].0 * MIB).is_none() {
            lair_testkit::skipped("this system does not say which memory may lie in huge pages");
            return;
        }
        for (at, is_huge) in expected {
            assert_eq!(may_be_huge(mapping, at * MIB), Some(*is_huge), "at {at} MiB");
        }
    }

    #[test]
    fn huge_pages_are_taken_where_they_are_at_hand() {
        let (mapping, mut choice) = (Mapping::new(256 * MIB).expect("addresses"), PageChoice::new());
        assert_eq!(looks(&mut choice, 1, &mapping, QUICK), [0]);
        assert_eq!(looks(&mut choice, 16 * MIB, &mapping, QUICK), [0; 0]);
        assert_eq!(looks(&mut choice, 33 * MIB, &mapping, QUICK), [16, 32]);
        expect_huge(&mapping, &[(0, true), (2, true), (15, true), (47, true)]);
    }

    #[test]
    fn small_pages_are_taken_where_huge_ones_are_not() {
        let (mapping, mut choice) = (Mapping::new(256 * MIB).expect("addresses"), PageChoice::new());
        assert_eq!(looks(&mut choice, 20 * MIB, &mapping, QUICK), [0, 16]);
        assert_eq!(looks(&mut choice, 40 * MIB, &mapping, SLOW), [32, 34]);
        assert_eq!(looks(&mut choice, 256 * MIB, &mapping, QUICK), [0; 0]);
        expect_huge(&mapping, &[(0, true), (31, true), (35, true), (36, false), (255, false)]);
    }

    #[test]
    fn one_slow_page_is_chance() {
        let (mapping, mut choice) = (Mapping::new(256 * MIB).expect("addresses"), PageChoice::new());
        choice.reach_timed(1, &mapping, 256 * MIB, |_, offset| if offset == 0 { SLOW } else { QUICK });
        assert_eq!(choice.decided, STRETCH_BYTES);
        expect_huge(&mapping, &[(2, true), (15, true)]);
        // There may be no second one.
        let mut choice = PageChoice::new();
        assert_eq!(looks_within(&mut choice, 1, (&mapping, HUGE_PAGE_BYTES), SLOW), [0]);
        assert_eq!(choice.decided, HUGE_PAGE_BYTES);
    }

    #[test]
    fn small_pages_may_become_huge_ones_when_they_are_filled() {
        let (mapping, mut choice) = (Mapping::new(256 * MIB).expect("addresses"), PageChoice::new());
        looks(&mut choice, 48 * MIB, &mapping, SLOW);
        choice.settle(3 * MIB, &mapping);
        expect_huge(&mapping, &[(4, false)]);
        choice.settle(41 * MIB, &mapping);
        expect_huge(&mapping, &[(4, true), (39, true), (40, false), (255, false)]);
        choice.settle(60 * MIB, &mapping);
        expect_huge(&mapping, &[(40, true), (59, true), (60, false)]);
    }

    #[test]
    fn what_was_looked_at_is_zero_and_can_be_written() {
        let mapping = Mapping::new(2 * HUGE_PAGE_BYTES).expect("addresses");
        PageChoice::new().reach(1, &mapping, 2 * HUGE_PAGE_BYTES);
        // SAFETY: all of the mapping, which nobody else has.
        let bytes = unsafe { std::slice::from_raw_parts_mut(mapping.start(), 2 * HUGE_PAGE_BYTES) };
        assert!(bytes.iter().all(|byte| *byte == 0));
        bytes.fill(1);
    }
}
