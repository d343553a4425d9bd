//! Sums of a span's values under the weights of a strip of queries.
//!
//! A value page is `[panel of 16 elements][position][element]`: a vector holds sixteen elements of a position (or of
//! two, as bytes), a weight is a factor of all lanes, sums stay in registers over the whole span.
//!
//! Codes are summed exactly: weights of 15 bits times codes of 7, over 256 positions, are at most
//! 32767 x 127 x 256 = 1.07e9, below 2^31. With VNNI that is 32 multiplications an instruction; as f32 it would be 16,
//! and the error of 15 bits (1.5e-5 of the largest weight) is far below that of the codes themselves.

use std::ops::Range;

use lair_simd::Isa;

use super::lanes::{Lanes, STRIP_MAX, WIDTH, Work, run};
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
    /// `[query, run]`, for values that are codes, with the factor of each.
    Integers(&'a [PageWeights], &'a [f32]),
}

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
    pub(super) fn sum(
        &self,
        isa: Isa,
        (first, count): (usize, usize),
        positions: Range<usize>,
        sums: &mut [f32],
    ) {
        const { assert!(STRIP_MAX == 8) };
        let sums = &mut sums[first * self.stride..];
        match count {
            0 => {}
            1 => run(isa, Strip::<1> { values: self, first, positions, sums }),
            2 => run(isa, Strip::<2> { values: self, first, positions, sums }),
            3 => run(isa, Strip::<3> { values: self, first, positions, sums }),
            4 => run(isa, Strip::<4> { values: self, first, positions, sums }),
            5 => run(isa, Strip::<5> { values: self, first, positions, sums }),
            6 => run(isa, Strip::<6> { values: self, first, positions, sums }),
            7 => run(isa, Strip::<7> { values: self, first, positions, sums }),
            _ => run(isa, Strip::<8> { values: self, first, positions, sums }),
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
            (KvElement::F32, Weights::Numbers(weights)) => self.numbers::<L, 64>(l, weights, L::load_f32),
            (KvElement::F16, Weights::Numbers(weights)) => self.numbers::<L, 32>(l, weights, L::load_f16),
            (KvElement::Q8_0, Weights::Integers(weights, factors)) => {
                self.codes(l, weights, factors, |l, pairs, weights, sums| {
                    for (index, pair) in pairs.iter().enumerate() {
                        let values = l.pair_of_bytes(pair);
                        for t in 0..T {
                            sums[t] = l.add_products(values, weights[t][index], sums[t]);
                        }
                    }
                });
            }
            (KvElement::Q4_0, Weights::Integers(weights, factors)) => {
                self.codes(l, weights, factors, |l, fours, weights, sums| {
                    for (index, four) in fours.iter().enumerate() {
                        let values = l.pairs_of_nibbles(four);
                        for t in 0..T {
                            sums[t] = l.add_products(values[0], weights[t][2 * index], sums[t]);
                            sums[t] = l.add_products(values[1], weights[t][2 * index + 1], sums[t]);
                        }
                    }
                });
            }
            _ => unreachable!("weights are made for the type of the values"),
        }
    }
}

impl<const T: usize> Strip<'_, T> {
    #[inline(always)]
    fn numbers<L: Lanes, const BYTES: usize>(
        self,
        l: L,
        weights: &[PageScores],
        load: impl Fn(L, &[u8; BYTES]) -> L::F,
    ) {
        let Values { layout, pages, stride, .. } = *self.values;
        let weights: [&[f32]; T] = std::array::from_fn(|t| weights[self.first + t].as_flattened());
        for panel in 0..layout.value_panels() {
            let mut totals: [L::F; T] = std::array::from_fn(|t| l.load(panel_of(self.sums, t * stride, panel)));
            for (page, record) in pages.iter() {
                let start = page * PAGE_LENGTH;
                let from = self.positions.start.max(start);
                let to = self.positions.end.min(start + PAGE_LENGTH);
                if from >= to {
                    continue;
                }
                let (values, _) = record[layout.value_codes + panel * layout.panel_bytes..][..layout.panel_bytes]
                    .as_chunks::<BYTES>();
                let seen: [&[f32]; T] = std::array::from_fn(|t| &weights[t][from..to]);
                for (k, value) in values[from - start..to - start].iter().enumerate() {
                    let value = load(l, value);
                    for t in 0..T {
                        totals[t] = l.fma(value, l.splat(seen[t][k]), totals[t]);
                    }
                }
            }
            for t in 0..T {
                l.store(totals[t], panel_of(self.sums, t * stride, panel));
            }
        }
    }

    #[inline(always)]
    fn codes<L: Lanes>(
        self,
        l: L,
        weights: &[PageWeights],
        factors: &[f32],
        add: impl Fn(L, &[[u8; 32]], &[&[i32; PAGE_LENGTH / 2]; T], &mut [L::I; T]),
    ) {
        let Values { layout, pages, stride, .. } = *self.values;
        let runs = layout.value_runs();
        for panel in 0..layout.value_panels() {
            let run = panel * WIDTH / layout.value_run();
            let weights: [&PageWeights; T] = std::array::from_fn(|t| &weights[(self.first + t) * runs + run]);
            let mut totals = [l.zero(); T];
            for (page, record) in pages.iter() {
                let (codes, _) =
                    record[layout.value_codes + panel * layout.panel_bytes..][..layout.panel_bytes].as_chunks::<32>();
                let weights: [&[i32; PAGE_LENGTH / 2]; T] = std::array::from_fn(|t| &weights[t][page]);
                add(l, codes, &weights, &mut totals);
            }
            for t in 0..T {
                let factor = l.splat(factors[(self.first + t) * runs + run]);
                l.store(l.mul(l.to_float(totals[t]), factor), panel_of(self.sums, t * stride, panel));
            }
        }
    }
}

/// The sums of a panel of the query whose sums begin at `start`.
#[inline(always)]
fn panel_of(sums: &mut [f32], start: usize, panel: usize) -> &mut [f32; WIDTH] {
    sums[start + panel * WIDTH..].first_chunk_mut().expect("sums have whole panels")
}
