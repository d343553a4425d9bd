//! Sums of a span's values under the weights of a strip of queries.
//!
//! A value page is `[panel of 16 elements][position][element]`: a vector holds sixteen elements of a position (or of
//! two, as bytes), a weight is a factor of all lanes, sums stay in registers over the whole span.
//!
//! Codes are summed exactly: weights of 15 bits times codes of 7, over 256 positions, are at most
//! 32767 x 127 x 256 = 1.07e9, below 2^31. With VNNI that is 32 multiplications an instruction; as f32 it would be 16,
//! and the error of 15 bits (1.5e-5 of the largest weight) is far below that of the codes themselves.

#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use std::ops::Range;

use lair_simd::Isa;

use super::lanes::{Lanes, STRIP_MAX, WIDTH, Work, run, run_wide};
use super::scores::{F16Keys, F32Keys, Numbers};
use super::span::{PageScores, Pages, SPAN_PAGES};
use crate::kv_layout::RecordLayout;
use crate::{KvElement, PAGE_LENGTH};

/// Weights of a page as integers, two to a word.
pub(super) type PageWeights = [[i32; PAGE_LENGTH / 2]; SPAN_PAGES];

/// Weights of a strip.
#[derive(Clone, Copy)]
pub(super) enum Weights<'a> {
    /// `[query]`, for values that are numbers.
    Numbers(&'a [PageScores]),
    /// `[run, query]`, for values that are codes, with the factor of each.
    Integers(&'a [StripWeights], &'a [[f32; STRIP_MAX]]),
}

/// Integer weights of a strip's queries.
pub(super) type StripWeights = [PageWeights; STRIP_MAX];

/// What is summed.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) layout: &'a RecordLayout,
    pub(super) pages: &'a Pages<'a>,
    pub(super) weights: Weights<'a>,
    /// Elements from one query's sums to the next one's.
    pub(super) stride: usize,
}

impl Values<'_> {
    /// Adds the numbers at `positions` of the span to the sums of queries `first ..`, `count` of them; or makes the sums
    /// those of the codes of all pages, whose weights are zero where a query does not see a position.
    pub(super) fn sum(&self, isa: Isa, (first, count): (usize, usize), positions: Range<usize>, sums: &mut [f32]) {
        const { assert!(STRIP_MAX == 8) };
        let sums = &mut sums[first * self.stride..];
        match count {
            0 => {}
            1 => run(isa, Strip::<1> { values: self, first, positions, sums }),
            2 => run(isa, Strip::<2> { values: self, first, positions, sums }),
            3 => run(isa, Strip::<3> { values: self, first, positions, sums }),
            4 => run(isa, Strip::<4> { values: self, first, positions, sums }),
            5 => run_wide(isa, Strip::<5> { values: self, first, positions, sums }),
            6 => run_wide(isa, Strip::<6> { values: self, first, positions, sums }),
            7 => run_wide(isa, Strip::<7> { values: self, first, positions, sums }),
            _ => run_wide(isa, Strip::<8> { values: self, first, positions, sums }),
        }
    }
}

struct Strip<'a, const T: usize> {
    values: &'a Values<'a>,
    first: usize,
    positions: Range<usize>,
    sums: &'a mut [f32],
}

impl<const T: usize> Work for Strip<'_, T> {
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        match (self.values.layout.element, self.values.weights) {
            (KvElement::F32, Weights::Numbers(weights)) => self.numbers::<L, F32Keys, 64>(l, weights),
            (KvElement::F16, Weights::Numbers(weights)) => self.numbers::<L, F16Keys, 32>(l, weights),
            (KvElement::Q8_0, Weights::Integers(weights, factors)) => {
                self.codes::<L, ByteValues, 256>(l, weights, factors);
            }
            (KvElement::Q4_0, Weights::Integers(weights, factors)) => {
                self.codes::<L, NibbleValues, 128>(l, weights, factors);
            }
            _ => unreachable!("weights are made for the type of the values"),
        }
    }
}

impl<const T: usize> Strip<'_, T> {
    #[inline(always)]
    fn numbers<L: Lanes, N: Numbers<BYTES>, const BYTES: usize>(self, l: L, weights: &[PageScores]) {
        let Values { layout, pages, stride, .. } = *self.values;
        let weights: &[PageScores; T] = weights[self.first..].first_chunk().expect("every query has weights");
        for panel in 0..layout.value_panels() {
            let mut totals: [L::F; T] = std::array::from_fn(|t| l.load(panel_of(self.sums, t * stride, panel)));
            for (page, record) in pages.iter() {
                let start = page * PAGE_LENGTH;
                let from = self.positions.start.max(start);
                let to = self.positions.end.min(start + PAGE_LENGTH);
                let (values, _) = record[layout.value_codes + panel * layout.panel_bytes..].as_chunks::<BYTES>();
                let values: &[[u8; BYTES]; PAGE_LENGTH] = values.first_chunk().expect("a panel has a row a position");
                for position in from..to {
                    let value = N::load(l, &values[position % PAGE_LENGTH]);
                    for t in 0..T {
                        let weight = weights[t][page][position % PAGE_LENGTH];
                        totals[t] = l.fma(value, l.splat(weight), totals[t]);
                    }
                }
            }
            for t in 0..T {
                l.store(totals[t], panel_of(self.sums, t * stride, panel));
            }
        }
    }

    #[inline(always)]
    fn codes<L: Lanes, C: Codes<BYTES>, const BYTES: usize>(
        self,
        l: L,
        weights: &[StripWeights],
        factors: &[[f32; STRIP_MAX]],
    ) {
        let Values { layout, pages, stride, .. } = *self.values;
        for panel in 0..layout.value_panels() {
            let run = panel * WIDTH / layout.value_run();
            let weights: &[PageWeights; T] = weights[run].first_chunk().expect("a strip has at most so many queries");
            let place = layout.value_codes + panel * BYTES;
            let mut totals = [l.zero(); T];
            for (page, record) in pages.iter() {
                let codes: &[u8; BYTES] = record[place..].first_chunk().expect("a record has all panels");
                C::add(l, codes, page, weights, &mut totals);
            }
            for t in 0..T {
                let sums = l.mul(l.to_float(totals[t]), l.splat(factors[run][t]));
                l.store(sums, panel_of(self.sums, t * stride, panel));
            }
        }
    }
}

/// Values that are codes, `BYTES` to a panel of a page.
trait Codes<const BYTES: usize> {
    /// Adds a panel's codes times the weights of a page.
    fn add<L: Lanes, const T: usize>(
        l: L,
        codes: &[u8; BYTES],
        page: usize,
        weights: &[PageWeights; T],
        totals: &mut [L::I; T],
    );
}

struct ByteValues;
struct NibbleValues;

impl Codes<256> for ByteValues {
    #[inline(always)]
    fn add<L: Lanes, const T: usize>(
        l: L,
        codes: &[u8; 256],
        page: usize,
        weights: &[PageWeights; T],
        totals: &mut [L::I; T],
    ) {
        let (pairs, _) = codes.as_chunks::<32>();
        for pair in 0..8 {
            let values = l.pair_of_bytes(&pairs[pair]);
            for t in 0..T {
                totals[t] = l.add_products(values, weights[t][page][pair], totals[t]);
            }
        }
    }
}

impl Codes<128> for NibbleValues {
    #[inline(always)]
    fn add<L: Lanes, const T: usize>(
        l: L,
        codes: &[u8; 128],
        page: usize,
        weights: &[PageWeights; T],
        totals: &mut [L::I; T],
    ) {
        let (fours, _) = codes.as_chunks::<32>();
        for four in 0..4 {
            let values = l.pairs_of_nibbles(&fours[four]);
            for t in 0..T {
                totals[t] = l.add_products(values[0], weights[t][page][2 * four], totals[t]);
                totals[t] = l.add_products(values[1], weights[t][page][2 * four + 1], totals[t]);
            }
        }
    }
}

/// The sums of a panel of the query whose sums begin at `start`.
#[inline(always)]
fn panel_of(sums: &mut [f32], start: usize, panel: usize) -> &mut [f32; WIDTH] {
    sums[start + panel * WIDTH..].first_chunk_mut().expect("sums have whole panels")
}
