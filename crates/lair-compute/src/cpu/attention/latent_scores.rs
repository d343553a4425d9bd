//! Products of a strip of queries with the values of a span, where keys begin with their values (latent attention):
//! `scores[query][page][position]` grow by them.
//!
//! Keys are kept element by element, so that products need no sum across lanes; values are kept position by position. A
//! value serves for both here, at the price of one sum across lanes for each position and query: for a rank of 512, after
//! 32 multiply-adds. Keeping it twice would cost the cache 1088 elements a position instead of 576.

#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use lair_simd::Isa;

use super::lanes::{Lanes, STRIP_MAX, WIDTH, Work, run, run_wide};
use super::scores::{F16Keys, F32Keys, Numbers};
use super::span::{PageScores, Pages};
use crate::kv_layout::RecordLayout;
use crate::{KvElement, PAGE_LENGTH};

/// Adds to the scores of as many queries as there are the products of `queries`, `[query, value panel][16]`, with the
/// values of `pages`.
pub(super) fn add_latent_scores(
    isa: Isa,
    layout: &RecordLayout,
    pages: &Pages<'_>,
    queries: &[f32],
    scores: &mut [PageScores],
) {
    const { assert!(STRIP_MAX == 8) };
    match scores.len() {
        0 => {}
        1 => run(isa, Strip::<1> { layout, pages, queries, scores }),
        2 => run(isa, Strip::<2> { layout, pages, queries, scores }),
        3 => run(isa, Strip::<3> { layout, pages, queries, scores }),
        4 => run(isa, Strip::<4> { layout, pages, queries, scores }),
        5 => run_wide(isa, Strip::<5> { layout, pages, queries, scores }),
        6 => run_wide(isa, Strip::<6> { layout, pages, queries, scores }),
        7 => run_wide(isa, Strip::<7> { layout, pages, queries, scores }),
        _ => run_wide(isa, Strip::<8> { layout, pages, queries, scores }),
    }
}

struct Strip<'a, const T: usize> {
    layout: &'a RecordLayout,
    pages: &'a Pages<'a>,
    queries: &'a [f32],
    scores: &'a mut [PageScores],
}

impl<const T: usize> Work for Strip<'_, T> {
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        match self.layout.element {
            KvElement::F32 => self.numbers::<L, F32Keys, 64>(l),
            KvElement::F16 => self.numbers::<L, F16Keys, 32>(l),
            KvElement::Q8_0 => self.codes::<L, ByteCodes, 256>(l),
            KvElement::Q4_0 => self.codes::<L, NibbleCodes, 128>(l),
        }
    }
}

impl<const T: usize> Strip<'_, T> {
    #[inline(always)]
    fn numbers<L: Lanes, N: Numbers<BYTES>, const BYTES: usize>(self, l: L) {
        let Strip { layout, pages, queries, scores } = self;
        let panels = layout.value_panels();
        for (page, record) in pages.iter() {
            let (vectors, _) = record[layout.value_codes..].as_chunks::<BYTES>();
            for position in 0..PAGE_LENGTH {
                let mut totals = [l.splat(0.0); T];
                for panel in 0..panels {
                    let value = N::load(l, &vectors[panel * PAGE_LENGTH + position]);
                    add_panel(l, value, queries, (panel, panels), &mut totals);
                }
                for t in 0..T {
                    scores[t][page][position] += l.sum(totals[t]);
                }
            }
        }
    }

    #[inline(always)]
    fn codes<L: Lanes, C: Codes<BYTES>, const BYTES: usize>(self, l: L) {
        let Strip { layout, pages, queries, scores } = self;
        let (panels, run) = (layout.value_panels(), layout.value_run());
        for (page, record) in pages.iter() {
            let (codes, _) = record[layout.value_codes..layout.value_scales].as_chunks::<BYTES>();
            let (scales, _) = record[layout.value_scales..].as_chunks::<{ 2 * WIDTH }>();
            for position in 0..PAGE_LENGTH {
                let mut totals = [l.splat(0.0); T];
                let mut of_run = [0.0; WIDTH];
                for panel in 0..panels {
                    if (panel * WIDTH).is_multiple_of(run) {
                        l.store(l.load_f16(&scales[panel * WIDTH / run]), &mut of_run);
                    }
                    let value = l.mul(C::load(l, &codes[panel], position), l.splat(of_run[position]));
                    add_panel(l, value, queries, (panel, panels), &mut totals);
                }
                for t in 0..T {
                    scores[t][page][position] += l.sum(totals[t]);
                }
            }
        }
    }
}

#[inline(always)]
fn add_panel<L: Lanes, const T: usize>(
    l: L,
    value: L::F,
    queries: &[f32],
    (panel, panels): (usize, usize),
    totals: &mut [L::F; T],
) {
    for t in 0..T {
        let query = queries[(t * panels + panel) * WIDTH..].first_chunk().expect("queries have whole panels");
        totals[t] = l.fma(value, l.load(query), totals[t]);
    }
}

/// Values that are codes, `BYTES` to a panel of a page.
trait Codes<const BYTES: usize> {
    /// The codes of one position.
    fn load<L: Lanes>(l: L, codes: &[u8; BYTES], position: usize) -> L::F;
}

struct ByteCodes;
struct NibbleCodes;

/// One of the two positions of a pair.
#[inline(always)]
fn one_of<L: Lanes>(l: L, pair: L::P, position: usize) -> L::F {
    l.to_float(l.add_products(pair, 1 << (16 * (position % 2)), l.zero()))
}

impl Codes<256> for ByteCodes {
    #[inline(always)]
    fn load<L: Lanes>(l: L, codes: &[u8; 256], position: usize) -> L::F {
        one_of(l, l.pair_of_bytes(&codes.as_chunks().0[position / 2]), position)
    }
}

impl Codes<128> for NibbleCodes {
    #[inline(always)]
    fn load<L: Lanes>(l: L, codes: &[u8; 128], position: usize) -> L::F {
        one_of(l, l.pairs_of_nibbles(&codes.as_chunks().0[position / 4])[position / 2 % 2], position)
    }
}
