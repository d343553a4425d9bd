//! A span of keys: the unit that softmax is computed over at once, and that sums are split at.
//!
//! Spans lie at fixed positions, so the sum over a query's keys is cut into the same parts, added in the same order,
//! whoever computes them: results depend neither on threads nor on how a prompt is cut into steps. Within a span the
//! largest score is known before the first weight is computed, so nothing is rescaled; between spans
//! `a exp(m_a) + b exp(m_b)` is folded against the larger `m` (Milakov and Gimelshein, "Online normalizer calculation
//! for softmax"). For d = 64 a fold costs 64 multiply-adds where a span costs 256 x 2 x 64.

use std::ops::Range;

use lair_simd::Isa;

use super::lanes::{Lanes, WIDTH, Work, exp, run};
use super::values::PageWeights;
use crate::PAGE_LENGTH;
use crate::kv_layout::RecordLayout;

/// Pages of a span.
pub(super) const SPAN_PAGES: usize = 16;
/// Positions of a span.
pub(super) const SPAN: usize = SPAN_PAGES * PAGE_LENGTH;

/// Scores of one query with a span, then weights: `[page][position]`.
pub(super) type PageScores = [[f32; PAGE_LENGTH]; SPAN_PAGES];

/// Which positions a query reads where it does not read all that it sees: a bit for each position of a page.
pub(super) type PageMasks = [u16; SPAN_PAGES];

/// The largest 15-bit weight.
const WEIGHT_MAX: f32 = 32767.0;

/// The records of one key and value head in a span; those outside of `range` are empty.
pub(super) struct Pages<'a> {
    pub(super) records: [&'a [u8]; SPAN_PAGES],
    pub(super) range: Range<usize>,
    /// Those of the span after it, to be fetched ahead while this one is computed; empty where there is none.
    ///
    /// Pages lie scattered, and the hardware does not follow from one to the next: without this a decode over a long
    /// context waits for memory at every page.
    pub(super) next: [&'a [u8]; SPAN_PAGES],
}

impl<'a> Pages<'a> {
    /// Places within the span, and records.
    #[inline(always)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &'a [u8])> + '_ {
        self.records[self.range.clone()].iter().enumerate().map(|(index, record)| (self.range.start + index, *record))
    }
}

/// The pages of a span that hold these positions of it.
pub(super) fn pages_of(positions: &Range<usize>) -> Range<usize> {
    positions.start / PAGE_LENGTH..positions.end.div_ceil(PAGE_LENGTH)
}

/// Turns a query's scores with a span into weights: `exp(score - largest)`, zero outside of `seen`.
pub(super) struct Softmax<'a> {
    pub(super) scores: &'a mut PageScores,
    /// Positions of the span; not empty.
    pub(super) seen: Range<usize>,
    /// Which of them are read, where not all are; some are.
    pub(super) masks: Option<&'a PageMasks>,
    /// Factor on the scores.
    pub(super) scale: f32,
    /// ALiBi: the slope, and the distance of the span's first position from the query's.
    pub(super) bias: Option<(f32, f32)>,
    /// The largest score, and the sum of the weights.
    pub(super) result: &'a mut (f32, f32),
}

impl Work for Softmax<'_> {
    /// About 25 vector instructions for sixteen positions, 15 of them the exponential's.
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let pages = pages_of(&self.seen);
        // What is no number is no candidate for the largest, whatever the scale.
        fill_unseen(self.scores, &self.seen, f32::NAN);
        fill_unread(self.scores, &pages, self.masks, f32::NAN);
        if let Some((slope, distance)) = self.bias {
            let lanes = l.load(&std::array::from_fn(|lane| lane as f32));
            for page in pages.clone() {
                let distances = l.add(l.splat(distance + (page * PAGE_LENGTH) as f32), lanes);
                let score = l.mul(l.load(&self.scores[page]), l.splat(self.scale));
                let bias = l.mul(l.splat(slope), distances);
                // Keys behind the query are as far away as those before it.
                let bias = l.max(bias, l.sub(l.splat(0.0), bias));
                l.store(l.sub(score, bias), &mut self.scores[page]);
            }
        }
        let scale = l.splat(if self.bias.is_some() { 1.0 } else { self.scale });
        let mut highest = [l.splat(f32::NEG_INFINITY); CHAINS];
        for page in 0..SPAN_PAGES {
            let chain = &mut highest[page % CHAINS];
            *chain = l.max(l.mul(l.load(&self.scores[page]), scale), *chain);
        }
        let highest = l.max(l.max(highest[0], highest[1]), l.max(highest[2], highest[3]));
        let largest = l.largest(highest, f32::NEG_INFINITY);
        for scores in &mut self.scores[pages.clone()] {
            let score = l.mul(l.load(scores), scale);
            l.store(exp(l, l.sub(score, l.splat(largest))), scores);
        }
        fill_unseen(self.scores, &self.seen, 0.0);
        fill_unread(self.scores, &pages, self.masks, 0.0);
        let mut sums = [l.splat(0.0); CHAINS];
        for page in 0..SPAN_PAGES {
            sums[page % CHAINS] = l.add(sums[page % CHAINS], l.load(&self.scores[page]));
        }
        let sum = l.add(l.add(sums[0], sums[1]), l.add(sums[2], sums[3]));
        *self.result = (largest, l.sum(sum));
    }
}

/// Running results side by side, so that none waits for the one before.
const CHAINS: usize = 4;

/// Sets what is not seen.
#[inline(always)]
fn fill_unseen(scores: &mut PageScores, seen: &Range<usize>, value: f32) {
    if *seen != (0..SPAN) {
        let scores = scores.as_flattened_mut();
        scores[..seen.start].fill(value);
        scores[seen.end..].fill(value);
    }
}

/// Sets what is seen and not read.
#[inline(always)]
fn fill_unread(scores: &mut PageScores, pages: &Range<usize>, masks: Option<&PageMasks>, value: f32) {
    let Some(masks) = masks else { return };
    for page in pages.clone() {
        for (position, score) in scores[page].iter_mut().enumerate() {
            if masks[page] >> position & 1 == 0 {
                *score = value;
            }
        }
    }
}

/// Makes integers of weights times the scales of one run of the values: `weight * scale ~ integer * factor`.
pub(super) struct Integers<'a> {
    pub(super) layout: &'a RecordLayout,
    pub(super) pages: &'a Pages<'a>,
    pub(super) run: usize,
    pub(super) seen: Range<usize>,
    /// As [`Softmax::masks`].
    pub(super) masks: Option<&'a PageMasks>,
    pub(super) weights: &'a PageScores,
    pub(super) products: &'a mut PageScores,
    /// Zeros for pages that are not seen.
    pub(super) integers: &'a mut PageWeights,
    /// NaN if a scale is.
    pub(super) factor: &'a mut f32,
}

impl Work for Integers<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let seen_pages = pages_of(&self.seen);
        let place = self.layout.value_scales + self.run * 2 * PAGE_LENGTH;
        for page in seen_pages.clone() {
            let record = self.pages.records[page];
            let scales = record[place..].first_chunk::<{ 2 * WIDTH }>().expect("a record has the scales of every run");
            let product = l.mul(l.load(&self.weights[page]), l.load_f16(scales));
            l.store(product, &mut self.products[page]);
        }
        // What is not seen may never have been written: zero times that need not be zero.
        fill_unseen(self.products, &self.seen, 0.0);
        fill_unread(self.products, &seen_pages, self.masks, 0.0);
        let zero = l.splat(0.0);
        let (mut highest, mut fault) = ([zero; CHAINS], [zero; CHAINS]);
        for page in 0..SPAN_PAGES {
            let (chain, product) = (page % CHAINS, l.load(&self.products[page]));
            highest[chain] = l.max(l.max(product, l.sub(zero, product)), highest[chain]);
            fault[chain] = l.fma(product, zero, fault[chain]);
        }
        let highest = l.max(l.max(highest[0], highest[1]), l.max(highest[2], highest[3]));
        let fault = l.add(l.add(fault[0], fault[1]), l.add(fault[2], fault[3]));
        let largest = l.largest(highest, 0.0);
        let inverse = WEIGHT_MAX / largest;
        // Weights too small to have an inverse are as good as zero.
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        let factor = if inverse == 0.0 { 0.0 } else { largest / WEIGHT_MAX };
        *self.factor = factor + l.sum(fault);
        for page in self.pages.range.clone() {
            if seen_pages.contains(&page) {
                let scaled = l.mul(l.load(&self.products[page]), l.splat(inverse));
                l.store_i16(scaled, &mut self.integers[page]);
            } else {
                self.integers[page] = [0; PAGE_LENGTH / 2];
            }
        }
    }
}

/// A query's state: sums of values `[value panel][16]`, then the largest score, the sum of the weights, and padding.
pub(super) fn state_length(layout: &RecordLayout) -> usize {
    layout.value_panels() * WIDTH + WIDTH
}

/// The largest score and the sum of the weights of a state.
pub(super) fn totals(state: &[f32]) -> (f32, f32) {
    (state[state.len() - WIDTH], state[state.len() - WIDTH + 1])
}

/// Sets them.
pub(super) fn set_totals(state: &mut [f32], (largest, sum): (f32, f32)) {
    let end = state.len();
    state[end - WIDTH..end - WIDTH + 2].copy_from_slice(&[largest, sum]);
}

/// The state before the first key. A sink is a score that is there already and has no value.
pub(super) fn begin(state: &mut [f32], sink: Option<f32>) {
    state.fill(0.0);
    set_totals(state, sink.map_or((f32::NEG_INFINITY, 0.0), |sink| (sink, 1.0)));
}

/// Folds a span's sums into a query's state.
pub(super) fn fold(isa: Isa, state: &mut [f32], span: &[f32]) {
    // A span that has a key in sight has a weight of one, or is at fault: no sum is zero.
    if totals(span).1 != 0.0 {
        run(isa, Fold { state, span });
    }
}

struct Fold<'a> {
    state: &'a mut [f32],
    span: &'a [f32],
}

impl Work for Fold<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let ((old_largest, old_sum), (span_largest, span_sum)) = (totals(self.state), totals(self.span));
        let largest = if span_largest > old_largest { span_largest } else { old_largest };
        let mut differences = [0.0; WIDTH];
        differences[..2].copy_from_slice(&[old_largest - largest, span_largest - largest]);
        let mut factors = [0.0; WIDTH];
        l.store(exp(l, l.load(&differences)), &mut factors);
        let (old, new) = (l.splat(factors[0]), l.splat(factors[1]));
        let length = self.state.len() - WIDTH;
        let (sums, _) = self.state[..length].as_chunks_mut::<WIDTH>();
        for (sum, add) in sums.iter_mut().zip(self.span.as_chunks().0) {
            l.store(l.fma(l.load(sum), old, l.mul(l.load(add), new)), sum);
        }
        set_totals(self.state, (largest, old_sum.mul_add(factors[0], span_sum * factors[1])));
    }
}
