//! Sixteen lanes of AVX-512, where rows are long and a chain of operations is: half as many of them wait for each other.

use std::arch::x86_64::*;

use crate::exponentials::{Exponentials, WEIGHTED_LANES, WEIGHTED_PART};
use crate::maxima::MAXIMA_BLOCK;
use crate::select::Range;
use crate::{Isa, math};

/// Elements of a vector.
const WIDTH: usize = 16;
/// Vectors whose counts are summed in 32 bits: of one value a count has 20 bits at most.
const VECTORS: usize = 64;
/// Vectors that are worked on side by side.
const GROUP: usize = 4;

/// See [`Exponentials::sum_blocks`].
pub(crate) fn sum_blocks(isa: Isa, how: Exponentials, values: &[f32], block: usize, sums: &mut Vec<f64>) {
    assert!(matches!(isa, Isa::Avx512Vnni(_)) && block > 0);
    // SAFETY: the instruction set was found on this machine.
    unsafe {
        match (how.fraction_bits, how.scale == 1.0, how.range == Range::ALL) {
            (34, true, true) => sum_blocks_with::<34, false, false>(how, values, block, sums),
            (34, true, false) => sum_blocks_with::<34, false, true>(how, values, block, sums),
            (34, false, true) => sum_blocks_with::<34, true, false>(how, values, block, sums),
            (34, false, false) => sum_blocks_with::<34, true, true>(how, values, block, sums),
            (40, true, true) => sum_blocks_with::<40, false, false>(how, values, block, sums),
            (40, ..) => sum_blocks_with::<40, true, true>(how, values, block, sums),
            _ => unreachable!("{how:?}"),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn sum_blocks_with<const BITS: i32, const SCALES: bool, const CHOOSES: bool>(
    how: Exponentials,
    values: &[f32],
    block: usize,
    sums: &mut Vec<f64>,
) {
    let mut left = values;
    while !left.is_empty() {
        let (mut values, rest) = left.split_at(block.min(left.len()));
        left = rest;
        let mut sum = 0;
        while !values.is_empty() {
            let mut counts = Counts::<BITS>::zero();
            let (vectors, _) = values.as_chunks::<WIDTH>();
            let vectors = &vectors[..vectors.len().min(VECTORS)];
            let (groups, single) = vectors.as_chunks::<GROUP>();
            for group in groups {
                // SAFETY: there are sixteen in each.
                let x = group.each_ref().map(|vector| unsafe { _mm512_loadu_ps(vector.as_ptr()) });
                add_those::<BITS, SCALES, CHOOSES, GROUP>(how, x, &mut counts);
            }
            for vector in single {
                // SAFETY: there are sixteen.
                let x = unsafe { _mm512_loadu_ps(vector.as_ptr()) };
                add_those::<BITS, SCALES, CHOOSES, 1>(how, [x], &mut counts);
            }
            values = &values[vectors.len() * WIDTH..];
            if values.len() < WIDTH {
                // What is not there is minus infinity, of which nothing is left.
                add_those::<BITS, SCALES, CHOOSES, 1>(how, [load_part(values, f32::NEG_INFINITY).0], &mut counts);
                values = &[];
            }
            sum += counts.total();
        }
        sums.push(how.value(sum));
    }
}

/// Adds the exponentials of some vectors, of values in the range where not all are wanted.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn add_those<const BITS: i32, const SCALES: bool, const CHOOSES: bool, const N: usize>(
    how: Exponentials,
    x: [__m512; N],
    counts: &mut Counts<BITS>,
) {
    let mut found = powers_of_two(binary_exponents::<SCALES, N>(how, x));
    if CHOOSES {
        for (found, x) in found.iter_mut().zip(x) {
            *found = _mm512_maskz_mov_ps(within(x, how.range), *found);
        }
    }
    counts.add(found);
}

/// See [`Exponentials::sum_weighted`]: the first as a count, the second by lanes and of powers of two.
pub(crate) fn sum_weighted(isa: Isa, how: Exponentials, values: &[f32]) -> (i64, [f64; WIDTH]) {
    assert!(matches!(isa, Isa::Avx512Vnni(_)) && how.fraction_bits == 34);
    // SAFETY: the instruction set was found on this machine.
    unsafe { sum_weighted_with(how, values) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn sum_weighted_with(how: Exponentials, values: &[f32]) -> (i64, [f64; WIDTH]) {
    const { assert!(WEIGHTED_LANES == WIDTH && WEIGHTED_PART == VECTORS * WIDTH) };
    let (mut sum, mut weighted) = (0, [_mm512_setzero_pd(); 2]);
    for values in values.chunks(WEIGHTED_PART) {
        let (mut counts, mut products) = (Counts::<34>::zero(), _mm512_setzero_ps());
        let (vectors, rest) = values.as_chunks::<WIDTH>();
        let (groups, single) = vectors.as_chunks::<GROUP>();
        for group in groups {
            // SAFETY: there are sixteen in each.
            let x = group.each_ref().map(|vector| unsafe { _mm512_loadu_ps(vector.as_ptr()) });
            add_weighted(how, x, &mut counts, &mut products);
        }
        for vector in single {
            // SAFETY: there are sixteen.
            let x = unsafe { _mm512_loadu_ps(vector.as_ptr()) };
            add_weighted(how, [x], &mut counts, &mut products);
        }
        if !rest.is_empty() {
            add_weighted(how, [load_part(rest, f32::NEG_INFINITY).0], &mut counts, &mut products);
        }
        sum += counts.total();
        let upper = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(products));
        let halves = [_mm512_castps512_ps256(products), _mm256_castpd_ps(upper)];
        weighted = std::array::from_fn(|i| _mm512_add_pd(weighted[i], _mm512_cvtps_pd(halves[i])));
    }
    let mut lanes = [0.0; WIDTH];
    for (lanes, weighted) in lanes.as_chunks_mut::<{ WIDTH / 2 }>().0.iter_mut().zip(weighted) {
        // SAFETY: there is room for eight.
        unsafe { _mm512_storeu_pd(lanes.as_mut_ptr(), weighted) };
    }
    (sum, lanes)
}

/// Adds the exponentials of some vectors, and the products of them with their exponents.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn add_weighted<const N: usize>(how: Exponentials, x: [__m512; N], counts: &mut Counts<34>, products: &mut __m512) {
    let exponents = binary_exponents::<false, N>(how, x);
    let found = powers_of_two(exponents);
    for (found, exponent) in found.iter().zip(exponents) {
        *products = _mm512_fmadd_ps(*found, exponent, *products);
    }
    counts.add(found);
}

/// At most sixteen values, and which of them are there; the others are `filler`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn load_part(values: &[f32], filler: f32) -> (__m512, u16) {
    let there = if values.len() >= WIDTH { u16::MAX } else { (1 << values.len()) - 1 };
    // SAFETY: only lanes that are there are read.
    let x = unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(filler), there, values.as_ptr()) };
    (x, there)
}

/// Sums of numbers from 0 to 1, each rounded down to a multiple of `2^-BITS`, as two counts: of `2^-FIRST`, and of the rest.
///
/// A number is added, rounded down, to one that stays so large that its last bit counts just that; what it grew by is what was added of
/// it, and the rest, which is exact, is added to another one in the same way. That takes two additions and two subtractions, and
/// conversions to integers, which take longer, only when there is no room left.
#[derive(Clone, Copy)]
struct Counts<const BITS: i32> {
    running: [__m512; 2],
    /// So many vectors are in those.
    added: usize,
    /// Counts of those before.
    before: [__m512i; 2],
}

impl<const BITS: i32> Counts<BITS> {
    const FIRST: i32 = BITS / 2;
    /// Vectors whose sums have room: the 23 bits of a fraction are those of a number, and of how many there are.
    const ROOM: usize = 1 << (23 - Self::FIRST);

    /// Where the last bit counts `2^-bits`: bits of a power of two.
    fn origin(bits: i32) -> i32 {
        (23 - bits + 127) << 23
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    fn origins() -> [__m512i; 2] {
        [Self::FIRST, BITS].map(|bits| _mm512_set1_epi32(Self::origin(bits)))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    fn zero() -> Self {
        const { assert!(BITS - Self::FIRST == Self::FIRST && Self::ROOM >= GROUP && Self::ROOM <= VECTORS) };
        let running = Self::origins().map(|origin| _mm512_castsi512_ps(origin));
        Counts { running, added: 0, before: [_mm512_setzero_si512(); 2] }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    fn add<const N: usize>(&mut self, x: [__m512; N]) {
        const DOWN: i32 = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
        if self.added + N > Self::ROOM {
            self.count();
        }
        let [first, second] = &mut self.running;
        for x in x {
            let sum = _mm512_add_round_ps::<DOWN>(*first, x);
            let left = _mm512_sub_ps(x, _mm512_sub_ps(sum, *first));
            *first = sum;
            *second = _mm512_add_round_ps::<DOWN>(*second, left);
        }
        self.added += N;
    }

    /// Makes room.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    fn count(&mut self) {
        let ([first, second], [a, b]) = (Self::origins(), self.running);
        let since = |running, origin| _mm512_sub_epi32(_mm512_castps_si512(running), origin);
        self.before =
            [_mm512_add_epi32(self.before[0], since(a, first)), _mm512_add_epi32(self.before[1], since(b, second))];
        self.running = [_mm512_castsi512_ps(first), _mm512_castsi512_ps(second)];
        self.added = 0;
    }

    /// The sum of all lanes, as a count of `2^-BITS`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    fn total(mut self) -> i64 {
        self.count();
        let [first, second] = self.before.map(|counts| i64::from(_mm512_reduce_add_epi32(counts)));
        (first << (BITS - Self::FIRST)) + second
    }
}

/// [`math::binary_exponent`] of values relative to the greatest and to scale.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn binary_exponents<const SCALES: bool, const N: usize>(how: Exponentials, x: [__m512; N]) -> [__m512; N] {
    let x = x.map(|x| _mm512_sub_ps(x, _mm512_set1_ps(how.greatest)));
    let x = if SCALES { x.map(|x| _mm512_mul_ps(x, _mm512_set1_ps(how.scale))) } else { x };
    let t = x.map(|x| _mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::LOG2_E)));
    t.map(|t| _mm512_max_ps(t, _mm512_set1_ps(math::EXP2_LOWEST)))
}

/// [`math::exp2_of_negative`], operation by operation; of several vectors step by step, so that what waits for another step is not right
/// behind it.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn powers_of_two<const N: usize>(t: [__m512; N]) -> [__m512; N] {
    // Numbers of magnitude up to 2^22 are rounded to the nearest integer, ties to even, when this is added: quicker than by the instruction
    // for it.
    const ROUNDER: f32 = 12_582_912.0;
    let rounder = _mm512_set1_ps(ROUNDER);
    let n = t.map(|t| _mm512_sub_ps(_mm512_add_ps(t, rounder), rounder));
    let f: [__m512; N] = std::array::from_fn(|i| _mm512_sub_ps(t[i], n[i]));
    let mut p = [_mm512_set1_ps(math::EXP2_COEFFICIENTS[0]); N];
    for &coefficient in &math::EXP2_COEFFICIENTS[1..] {
        p = std::array::from_fn(|i| _mm512_fmadd_ps(p[i], f[i], _mm512_set1_ps(coefficient)));
    }
    std::array::from_fn(|i| _mm512_scalef_ps(p[i], n[i]))
}

/// See [`crate::block_maxima`].
pub(crate) fn block_maxima(isa: Isa, values: &[f32], maxima: &mut [f32]) -> Option<f32> {
    assert!(matches!(isa, Isa::Avx512Vnni(_)) && maxima.len() == values.len().div_ceil(MAXIMA_BLOCK));
    // SAFETY: the instruction set was found on this machine.
    unsafe { block_maxima_with(values, maxima) }
}

/// Sixteen blocks at a time, so that the last steps, within a vector, are those of sixteen blocks as well: a merge of two vectors has
/// half of each.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn block_maxima_with(values: &[f32], maxima: &mut [f32]) -> Option<f32> {
    const BLOCKS: usize = WIDTH;
    let mut greatest = _mm512_set1_ps(f32::NEG_INFINITY);
    let mut faults = 0;
    let (rounds, rest) = values.as_chunks::<{ BLOCKS * MAXIMA_BLOCK }>();
    let (whole, last) = maxima.split_at_mut(rounds.len() * BLOCKS);
    for (round, maxima) in rounds.iter().zip(whole.as_chunks_mut::<BLOCKS>().0) {
        let mut of_blocks = [_mm512_setzero_ps(); BLOCKS];
        for (of_block, block) in of_blocks.iter_mut().zip(round.as_chunks::<MAXIMA_BLOCK>().0) {
            let (found, fault) = vector_of_maxima(block);
            *of_block = found;
            faults |= fault;
        }
        let found = merge_maxima(of_blocks);
        greatest = _mm512_max_ps(greatest, found);
        // SAFETY: there is room for sixteen.
        unsafe { _mm512_storeu_ps(maxima.as_mut_ptr(), found) };
    }
    let mut greatest = _mm512_reduce_max_ps(greatest);
    for (block, maximum) in rest.chunks(MAXIMA_BLOCK).zip(last) {
        let mut padded = [f32::NEG_INFINITY; MAXIMA_BLOCK];
        padded[..block.len()].copy_from_slice(block);
        let (found, fault) = vector_of_maxima(&padded);
        faults |= fault;
        *maximum = _mm512_reduce_max_ps(found);
        greatest = if *maximum > greatest { *maximum } else { greatest };
    }
    (faults == 0).then_some(greatest)
}

/// Lane by lane the greatest of a block's vectors, and bits where a value is no number or infinite upwards.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn vector_of_maxima(block: &[f32; MAXIMA_BLOCK]) -> (__m512, u16) {
    const { assert!(MAXIMA_BLOCK == 4 * WIDTH) };
    let infinity = _mm512_set1_ps(f32::INFINITY);
    let (vectors, _) = block.as_chunks::<WIDTH>();
    // SAFETY: there are sixteen in each.
    let load = |index: usize| unsafe { _mm512_loadu_ps(vectors[index].as_ptr()) };
    let (a, b, c, d) = (load(0), load(1), load(2), load(3));
    let fault = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(a, infinity)
        | _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(b, infinity)
        | _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(c, infinity)
        | _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(d, infinity);
    (_mm512_max_ps(_mm512_max_ps(a, b), _mm512_max_ps(c, d)), fault)
}

/// The greatest lane of each of sixteen vectors, in their order.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn merge_maxima(v: [__m512; WIDTH]) -> __m512 {
    // Quarters of vectors: two of each are left, then one.
    let halves: [__m512; 8] = std::array::from_fn(|i| {
        let (a, b) = (v[2 * i], v[2 * i + 1]);
        _mm512_max_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b))
    });
    // Four blocks each, a quarter a block.
    let quarters: [__m512; 4] = std::array::from_fn(|i| {
        let (a, b) = (halves[2 * i], halves[2 * i + 1]);
        _mm512_max_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b))
    });
    // Within quarters the same: two elements of each are left, then one.
    let pairs: [__m512; 2] = std::array::from_fn(|i| {
        let (a, b) = (quarters[2 * i], quarters[2 * i + 1]);
        _mm512_max_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b))
    });
    let [a, b] = pairs;
    let found = _mm512_max_ps(_mm512_shuffle_ps::<0x44>(a, b), _mm512_shuffle_ps::<0xee>(a, b));
    // Element j of quarter i is of block 4 j + i.
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_permutexvar_ps(order, found)
}

/// See [`crate::select_within`]; both lists get room for all values and a vector more.
pub(crate) fn select_within(
    isa: Isa,
    (values, places): (&[f32], Option<&[u32]>),
    range: Range,
    found_places: &mut Vec<u32>,
    found: &mut Vec<f32>,
) {
    assert!(matches!(isa, Isa::Avx512Vnni(_)) && places.is_none_or(|places| places.len() == values.len()));
    // SAFETY: the instruction set was found on this machine.
    unsafe { select_within_with((values, places), range, found_places, found) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
fn select_within_with(
    (values, places): (&[f32], Option<&[u32]>),
    range: Range,
    found_places: &mut Vec<u32>,
    found: &mut Vec<f32>,
) {
    found_places.reserve(values.len() + WIDTH);
    found.reserve(values.len() + WIDTH);
    // No more than one for each value is added to either, and a whole vector is stored behind those.
    let begin: *mut f32 = found.spare_capacity_mut().as_mut_ptr().cast();
    let mut ends = (begin, found_places.spare_capacity_mut().as_mut_ptr().cast());
    let first = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    // The places of sixteen values, of which so many are before.
    let places_of = |before: usize| match places {
        // SAFETY: there are as many as values, and it is only called where there are sixteen.
        Some(places) => unsafe { _mm512_loadu_si512(places[before..][..WIDTH].as_ptr().cast()) },
        None => _mm512_add_epi32(first, _mm512_set1_epi32(before as i32)),
    };
    let (vectors, rest) = values.as_chunks::<WIDTH>();
    let (groups, single) = vectors.as_chunks::<4>();
    let mut before = 0;
    for group in groups {
        let places: [__m512i; 4] = std::array::from_fn(|i| places_of(before + i * WIDTH));
        // SAFETY: there are sixteen in each; both have room for all values and a vector, and no more are counted than were read.
        unsafe { select(group.each_ref().map(|vector| _mm512_loadu_ps(vector.as_ptr())), places, range, &mut ends) };
        before += group.len() * WIDTH;
    }
    for vector in single {
        // SAFETY: as before.
        unsafe { select([_mm512_loadu_ps(vector.as_ptr())], [places_of(before)], range, &mut ends) };
        before += WIDTH;
    }
    if !rest.is_empty() {
        let mut padded = [0; WIDTH];
        for (i, place) in padded[..rest.len()].iter_mut().enumerate() {
            *place = places.map_or((before + i) as u32, |places| places[before + i]);
        }
        // What is not there is no number, and in no range.
        // SAFETY: as before; there are sixteen places.
        unsafe {
            let places = _mm512_loadu_si512(padded.as_ptr().cast());
            select([load_part(rest, f32::NAN).0], [places], range, &mut ends);
        }
    }
    // SAFETY: both are of one vector, and so many were stored in each.
    unsafe {
        let count = ends.0.offset_from_unsigned(begin);
        found_places.set_len(found_places.len() + count);
        found.set_len(found.len() + count);
    }
}

/// Stores those of some vectors that are in the range, and their places, at two ends, which go behind them.
///
/// # Safety
/// There must be room for those and a vector.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
#[inline]
unsafe fn select<const N: usize>(
    x: [__m512; N],
    places: [__m512i; N],
    range: Range,
    (end, place_end): &mut (*mut f32, *mut u32),
) {
    let wanted = x.map(|x| within(x, range));
    let counts = wanted.map(|wanted| wanted.count_ones() as usize);
    for i in 0..N {
        // SAFETY: there is room.
        unsafe {
            _mm512_storeu_ps(*end, _mm512_maskz_compress_ps(wanted[i], x[i]));
            _mm512_storeu_si512(place_end.cast(), _mm512_maskz_compress_epi32(wanted[i], places[i]));
            (*end, *place_end) = (end.add(counts[i]), place_end.add(counts[i]));
        }
    }
}

/// Bits of those that are in the range.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn within(x: __m512, range: Range) -> u16 {
    let wanted = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, _mm512_set1_ps(range.least));
    _mm512_mask_cmp_ps_mask::<_CMP_LE_OQ>(wanted, x, _mm512_set1_ps(range.most))
}

/// See [`crate::pick_within`]; `found` has room for all values and a vector more.
pub(crate) fn pick_within(isa: Isa, values: &[f32], range: Range, masks: &mut Vec<u16>, found: &mut Vec<f32>) {
    assert!(matches!(isa, Isa::Avx512Vnni(_)));
    // SAFETY: the instruction set was found on this machine.
    unsafe { pick_within_with(values, range, masks, found) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
fn pick_within_with(values: &[f32], range: Range, masks: &mut Vec<u16>, found: &mut Vec<f32>) {
    let (vectors, rest) = values.as_chunks::<WIDTH>();
    found.reserve(values.len() + WIDTH);
    let before = masks.len();
    masks.resize(before + values.len().div_ceil(WIDTH), 0);
    let (of_vectors, of_rest) = masks[before..].split_at_mut(vectors.len());
    // No more than one for each value is added, and a whole vector is stored behind those.
    let begin: *mut f32 = found.spare_capacity_mut().as_mut_ptr().cast();
    let mut end = begin;
    // How far to go on is known of many before the first is stored: where most are picked that takes two thirds of the time.
    let ((groups, single), (of_groups, of_single)) = (vectors.as_chunks::<8>(), of_vectors.as_chunks_mut::<8>());
    for (group, masks) in groups.iter().zip(of_groups) {
        // SAFETY: there are sixteen in each; there is room for all values and a vector, and no more are counted than were read of them.
        *masks = unsafe { pick(group.each_ref().map(|vector| _mm512_loadu_ps(vector.as_ptr())), range, &mut end) };
    }
    for (vector, mask) in single.iter().zip(of_single) {
        // SAFETY: as before.
        [*mask] = unsafe { pick([_mm512_loadu_ps(vector.as_ptr())], range, &mut end) };
    }
    for mask in of_rest {
        // What is not there is no number, and in no range.
        // SAFETY: as before.
        [*mask] = unsafe { pick([load_part(rest, f32::NAN).0], range, &mut end) };
    }
    // SAFETY: both are of one vector, and so many were stored.
    unsafe {
        let count = end.offset_from_unsigned(begin);
        found.set_len(found.len() + count);
    }
}

/// Stores those of some vectors that are in the range at `end`, which goes behind them; bits say which they are.
///
/// # Safety
/// There must be room for those and a vector.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
#[inline]
unsafe fn pick<const N: usize>(x: [__m512; N], range: Range, end: &mut *mut f32) -> [u16; N] {
    let wanted = x.map(|x| within(x, range));
    let counts = wanted.map(|wanted| wanted.count_ones() as usize);
    for i in 0..N {
        // SAFETY: there is room.
        unsafe {
            _mm512_storeu_ps(*end, _mm512_maskz_compress_ps(wanted[i], x[i]));
            *end = end.add(counts[i]);
        }
    }
    wanted
}
