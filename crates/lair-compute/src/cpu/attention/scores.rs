//! Products of a strip of queries with the keys of a span: `scores[query][page][position]`.
//!
//! A key page is `[element][position]`, so one vector holds an element of all sixteen positions (or four elements, as
//! bytes) and a query's element is a factor of all lanes. Eight bits, d = 64, a strip of eight queries: a page is read
//! once (1 KiB) for 16 x 8 x 64 = 8192 multiplications, 64 of them an instruction with VNNI.

#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use super::lanes::{Lanes, QueryBlock, STRIP_MAX, WIDTH, Work, run, run_wide};
use super::span::{PageScores, Pages};
use crate::KvElement;
use crate::kv_layout::{KEY_BLOCK, RecordLayout};
use lair_simd::Isa;

/// The queries of a strip, as numbers or as integers: what stands at one place of all of them lies together.
#[derive(Clone, Copy)]
pub(super) enum Queries<'a> {
    /// `[key_dim, query]`, for keys that are numbers.
    Numbers(&'a [f32]),
    /// `[key_dim / 32, query]`, for keys that are codes.
    Integers(&'a [QueryBlock]),
}

/// Computes the scores of as many queries as `scores` has room for with the keys of `pages`.
pub(super) fn score(
    isa: Isa,
    layout: &RecordLayout,
    pages: &Pages<'_>,
    queries: Queries<'_>,
    scores: &mut [PageScores],
) {
    const { assert!(STRIP_MAX == 8) };
    match scores.len() {
        0 => {}
        1 => run(isa, Strip::<1> { layout, pages, queries, scores: first(scores) }),
        2 => run(isa, Strip::<2> { layout, pages, queries, scores: first(scores) }),
        3 => run(isa, Strip::<3> { layout, pages, queries, scores: first(scores) }),
        4 => run(isa, Strip::<4> { layout, pages, queries, scores: first(scores) }),
        5 => run_wide(isa, Strip::<5> { layout, pages, queries, scores: first(scores) }),
        6 => run_wide(isa, Strip::<6> { layout, pages, queries, scores: first(scores) }),
        7 => run_wide(isa, Strip::<7> { layout, pages, queries, scores: first(scores) }),
        _ => run_wide(isa, Strip::<8> { layout, pages, queries, scores: first(scores) }),
    }
}

fn first<const T: usize>(scores: &mut [PageScores]) -> &mut [PageScores; T] {
    scores.first_chunk_mut().expect("a strip has been matched by its length")
}

struct Strip<'a, const T: usize> {
    layout: &'a RecordLayout,
    pages: &'a Pages<'a>,
    queries: Queries<'a>,
    scores: &'a mut [PageScores; T],
}

impl<const T: usize> Work for Strip<'_, T> {
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        match (self.layout.element, self.queries) {
            (KvElement::F32, Queries::Numbers(queries)) => self.numbers::<L, F32Keys, 64>(l, queries),
            (KvElement::F16, Queries::Numbers(queries)) => self.numbers::<L, F16Keys, 32>(l, queries),
            (KvElement::Q8_0, Queries::Integers(queries)) => self.codes::<L, ByteKeys, 8>(l, queries),
            (KvElement::Q4_0, Queries::Integers(queries)) => self.codes::<L, NibbleKeys, 4>(l, queries),
            _ => unreachable!("queries are made for the type of the keys"),
        }
    }
}

impl<const T: usize> Strip<'_, T> {
    /// Keys as numbers: elements in order, one fused multiply-add each.
    #[inline(always)]
    fn numbers<L: Lanes, N: Numbers<BYTES>, const BYTES: usize>(self, l: L, queries: &[f32]) {
        let dim = self.layout.key_dim;
        let (queries, _) = queries.as_chunks::<T>();
        for (page, record) in self.pages.iter() {
            l.prefetch(self.pages.next[page]);
            let (keys, _) = record[..dim * BYTES].as_chunks::<BYTES>();
            let mut sums = [l.splat(0.0); T];
            for (key, query) in keys.iter().zip(queries) {
                let key = N::load(l, key);
                for t in 0..T {
                    sums[t] = l.fma(key, l.splat(query[t]), sums[t]);
                }
            }
            for t in 0..T {
                l.store(sums[t], &mut self.scores[t][page]);
            }
        }
    }

    /// Keys as codes, `LINES` lines of 64 bytes a block: exact integer products of a block, blocks in order.
    #[inline(always)]
    fn codes<L: Lanes, C: Codes, const LINES: usize>(self, l: L, queries: &[QueryBlock]) {
        let (queries, _) = queries.as_chunks::<T>();
        let layout = self.layout;
        for (page, record) in self.pages.iter() {
            l.prefetch(self.pages.next[page]);
            let (blocks, rest) = record[..layout.key_scales].as_chunks::<64>().0.as_chunks::<LINES>();
            let (scales, _) = record[layout.key_scales..layout.value_codes].as_chunks::<{ 2 * WIDTH }>();
            let mut sums = [l.splat(0.0); T];
            for ((codes, scales), queries) in blocks.iter().zip(scales).zip(queries) {
                let products = C::dots(l, codes, queries);
                add_scaled(l, products, scales, queries, &mut sums);
            }
            if !rest.is_empty() {
                let (scales, queries) = (&scales[blocks.len()], &queries[blocks.len()]);
                let products = C::dots(l, rest, queries);
                add_scaled(l, products, scales, queries, &mut sums);
            }
            for t in 0..T {
                l.store(sums[t], &mut self.scores[t][page]);
            }
        }
    }
}

#[inline(always)]
fn add_scaled<L: Lanes, const T: usize>(
    l: L,
    products: [L::I; T],
    scales: &[u8; 2 * WIDTH],
    queries: &[QueryBlock; T],
    sums: &mut [L::F; T],
) {
    let scales = l.load_f16(scales);
    for t in 0..T {
        let factor = l.mul(scales, l.splat(queries[t].scale));
        sums[t] = l.fma(l.to_float(products[t]), factor, sums[t]);
    }
}

/// Keys or values that are numbers of `BYTES / 16` bytes.
///
/// Types and not closures, here and below: their functions become part of the vector code around them.
pub(super) trait Numbers<const BYTES: usize> {
    fn load<L: Lanes>(l: L, bytes: &[u8; BYTES]) -> L::F;
}

pub(super) struct F32Keys;
pub(super) struct F16Keys;

impl Numbers<64> for F32Keys {
    #[inline(always)]
    fn load<L: Lanes>(l: L, bytes: &[u8; 64]) -> L::F {
        l.load_f32(bytes)
    }
}

impl Numbers<32> for F16Keys {
    #[inline(always)]
    fn load<L: Lanes>(l: L, bytes: &[u8; 32]) -> L::F {
        l.load_f16(bytes)
    }
}

/// Keys that are codes.
trait Codes {
    fn dots<L: Lanes, const T: usize>(l: L, lines: &[[u8; 64]], queries: &[QueryBlock; T]) -> [L::I; T];
}

struct ByteKeys;
struct NibbleKeys;

impl Codes for ByteKeys {
    #[inline(always)]
    fn dots<L: Lanes, const T: usize>(l: L, lines: &[[u8; 64]], queries: &[QueryBlock; T]) -> [L::I; T] {
        l.dots_of_bytes(lines, queries)
    }
}

impl Codes for NibbleKeys {
    #[inline(always)]
    fn dots<L: Lanes, const T: usize>(l: L, lines: &[[u8; 64]], queries: &[QueryBlock; T]) -> [L::I; T] {
        l.dots_of_nibbles(lines, queries)
    }
}

/// A query as integers: blocks of 32 with a scale, the largest magnitude 127. `values` is `[key_dim]`; the blocks lie
/// `stride` apart.
pub(super) fn quantise(isa: Isa, values: &[f32], blocks: &mut [QueryBlock], stride: usize) {
    for (values, block) in values.chunks(KEY_BLOCK).zip(blocks.iter_mut().step_by(stride)) {
        let mut padded = [0.0; KEY_BLOCK];
        padded[..values.len()].copy_from_slice(values);
        let mut quantised = [super::super::quantise::QuantisedBlock::ZERO];
        super::super::quantise::quantise_row(isa, &padded, &mut quantised);
        let [quantised] = quantised;
        let (fours, _) = quantised.codes.as_chunks::<4>();
        block.fours = std::array::from_fn(|index| i32::from_le_bytes(fours[index].map(|code| code as u8)));
        block.scale = quantised.scale;
        block.sum = quantised.sum(0);
    }
}
