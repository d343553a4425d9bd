//! Products of a strip of queries with the keys of a span: `scores[query][page][position]`.
//!
//! A key page is `[element][position]`, so one vector holds an element of all sixteen positions (or four elements, as
//! bytes) and a query's element is a factor of all lanes. Eight bits, d = 64, a strip of eight queries: a page is read
//! once (1 KiB) for 16 x 8 x 64 = 8192 multiplications, 64 of them an instruction with VNNI.

use super::lanes::{Lanes, QueryBlock, STRIP_MAX, WIDTH, Work, run};
use super::span::{PageScores, Pages};
use crate::KvElement;
use crate::kv_layout::{KEY_BLOCK, RecordLayout};
use lair_simd::Isa;

/// The queries of a block: as they are for keys that are numbers, as integers for keys that are codes.
pub(super) struct Queries<'a> {
    /// `[query, key_dim]`.
    pub(super) values: &'a [f32],
    /// `[query, key_dim / 32]`.
    pub(super) blocks: &'a [QueryBlock],
}

/// Computes the scores of queries `first ..`, as many as `scores` has room for, with the keys of `pages`.
pub(super) fn score(
    isa: Isa,
    layout: &RecordLayout,
    pages: &Pages<'_>,
    queries: &Queries<'_>,
    first: usize,
    scores: &mut [PageScores],
) {
    const { assert!(STRIP_MAX == 8) };
    match scores.len() {
        0 => {}
        1 => run(isa, Strip::<1> { layout, pages, queries, first, scores }),
        2 => run(isa, Strip::<2> { layout, pages, queries, first, scores }),
        3 => run(isa, Strip::<3> { layout, pages, queries, first, scores }),
        4 => run(isa, Strip::<4> { layout, pages, queries, first, scores }),
        5 => run(isa, Strip::<5> { layout, pages, queries, first, scores }),
        6 => run(isa, Strip::<6> { layout, pages, queries, first, scores }),
        7 => run(isa, Strip::<7> { layout, pages, queries, first, scores }),
        _ => run(isa, Strip::<8> { layout, pages, queries, first, scores }),
    }
}

struct Strip<'a, const T: usize> {
    layout: &'a RecordLayout,
    pages: &'a Pages<'a>,
    queries: &'a Queries<'a>,
    first: usize,
    scores: &'a mut [PageScores],
}

impl<const T: usize> Work for Strip<'_, T> {
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        match self.layout.element {
            KvElement::F32 => self.numbers::<L, 64>(l, L::load_f32),
            KvElement::F16 => self.numbers::<L, 32>(l, L::load_f16),
            KvElement::Q8_0 => self.codes(l, KEY_BLOCK / 4, L::dots_of_bytes::<T>),
            KvElement::Q4_0 => self.codes(l, KEY_BLOCK / 8, L::dots_of_nibbles::<T>),
        }
    }
}

impl<const T: usize> Strip<'_, T> {
    /// Keys as numbers: elements in order, one fused multiply-add each.
    #[inline(always)]
    fn numbers<L: Lanes, const BYTES: usize>(self, l: L, load: impl Fn(L, &[u8; BYTES]) -> L::F) {
        let dim = self.layout.key_dim;
        let queries: [&[f32]; T] = std::array::from_fn(|t| &self.queries.values[(self.first + t) * dim..][..dim]);
        for (page, record) in self.pages.iter() {
            let (keys, _) = record[..dim * BYTES].as_chunks::<BYTES>();
            let mut sums = [l.splat(0.0); T];
            for (k, key) in keys.iter().enumerate() {
                let key = load(l, key);
                for t in 0..T {
                    sums[t] = l.fma(key, l.splat(queries[t][k]), sums[t]);
                }
            }
            for t in 0..T {
                l.store(sums[t], &mut self.scores[t][page]);
            }
        }
    }

    /// Keys as codes, `lines` lines of 64 bytes a block: exact integer products of a block, blocks in order.
    #[inline(always)]
    fn codes<L: Lanes>(
        self,
        l: L,
        lines: usize,
        dots: impl Fn(L, &[[u8; 64]], &[&QueryBlock; T]) -> [L::I; T],
    ) {
        let blocks = self.layout.key_dim.div_ceil(KEY_BLOCK);
        let queries: [&[QueryBlock]; T] =
            std::array::from_fn(|t| &self.queries.blocks[(self.first + t) * blocks..][..blocks]);
        for (page, record) in self.pages.iter() {
            let (codes, _) = record[..self.layout.key_scales].as_chunks::<64>();
            let (scales, _) = record[self.layout.key_scales..self.layout.value_codes].as_chunks::<{ 2 * WIDTH }>();
            let mut sums = [l.splat(0.0); T];
            for (index, (codes, scales)) in codes.chunks(lines).zip(scales).enumerate() {
                let blocks: [&QueryBlock; T] = std::array::from_fn(|t| &queries[t][index]);
                let products = if codes.len() == lines && lines == KEY_BLOCK / 4 {
                    // Of known length, the loop over groups is unrolled.
                    dots(l, &codes[..KEY_BLOCK / 4], &blocks)
                } else {
                    dots(l, codes, &blocks)
                };
                let scales = l.load_f16(scales);
                for t in 0..T {
                    let factor = l.mul(scales, l.splat(blocks[t].scale));
                    sums[t] = l.fma(l.to_float(products[t]), factor, sums[t]);
                }
            }
            for t in 0..T {
                l.store(sums[t], &mut self.scores[t][page]);
            }
        }
    }
}

/// Queries as integers: blocks of 32 with a scale, the largest magnitude 127. `values` is `[key_dim]`.
pub(super) fn quantise(isa: Isa, values: &[f32], blocks: &mut [QueryBlock]) {
    for (values, block) in values.chunks(KEY_BLOCK).zip(blocks) {
        let mut padded = [0.0; KEY_BLOCK];
        padded[..values.len()].copy_from_slice(values);
        let mut quantised = [super::super::quantise::QuantisedBlock::ZERO];
        super::super::quantise::quantise_row(isa, &padded, &mut quantised);
        let [quantised] = quantised;
        let (fours, _) = quantised.codes.as_chunks::<4>();
        block.fours = std::array::from_fn(|index| i32::from_le_bytes(fours[index].map(|code| code as u8)));
        block.scale = quantised.scale;
        block.sum = quantised.sums[0];
    }
}
