//! Sixteen lanes of AVX-512, where rows are long and a chain of operations is: half as many of them wait for each other.

use std::arch::x86_64::*;

use crate::exponentials::{Exponentials, WEIGHTED_LANES, WEIGHTED_PART};
use crate::maxima::MAXIMA_BLOCK;
use crate::select::Range;
use crate::{Isa, math};

/// Elements of a vector.
const WIDTH: usize = 16;
/// Vectors whose counts are summed in 32 bits: those of a vector have 18 bits, or 22 for as many bits after the point as there may be.
const VECTORS: usize = 64;
/// Vectors that are worked on side by side.
const GROUP: usize = 2;
/// Bits after the point in the first of two counts.
const FIRST_BITS: i32 = 17;

/// See [`Exponentials::sum_blocks`].
pub(crate) fn sum_blocks(isa: Isa, how: Exponentials, values: &[f32], block: usize, sums: &mut Vec<f64>) {
    assert!(matches!(isa, Isa::Avx512Vnni(_)) && block > 0);
    // SAFETY: the instruction set was found on this machine.
    unsafe {
        match (how.temperature == 1.0, how.least == f32::NEG_INFINITY) {
            (true, true) => sum_blocks_with::<false, false>(how, values, block, sums),
            (true, false) => sum_blocks_with::<false, true>(how, values, block, sums),
            (false, true) => sum_blocks_with::<true, false>(how, values, block, sums),
            (false, false) => sum_blocks_with::<true, true>(how, values, block, sums),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn sum_blocks_with<const DIVIDES: bool, const CHOOSES: bool>(
    how: Exponentials,
    values: &[f32],
    block: usize,
    sums: &mut Vec<f64>,
) {
    let (least, rounder) = (_mm512_set1_ps(how.least), Rounder::new(how));
    let mut left = values;
    while !left.is_empty() {
        let (mut values, rest) = left.split_at(block.min(left.len()));
        left = rest;
        let mut sum = 0;
        while !values.is_empty() {
            let mut counts = Counts::zero();
            let (vectors, _) = values.as_chunks::<WIDTH>();
            let vectors = &vectors[..vectors.len().min(VECTORS)];
            let (groups, single) = vectors.as_chunks::<GROUP>();
            for group in groups {
                add_vectors::<DIVIDES, CHOOSES, GROUP>(how, (rounder, least), group, &mut counts);
            }
            for vector in single {
                add_vectors::<DIVIDES, CHOOSES, 1>(how, (rounder, least), &[*vector], &mut counts);
            }
            values = &values[vectors.len() * WIDTH..];
            if values.len() < WIDTH {
                let (x, there) = load_part(values);
                let wanted = _mm512_mask_cmp_ps_mask::<_CMP_GE_OQ>(there, x, least);
                let [found] = exponentials::<DIVIDES, 1>(how, [x]);
                counts.add(rounder, [_mm512_maskz_mov_ps(wanted, found)]);
                values = &[];
            }
            sum += counts.total(how);
        }
        sums.push(how.value(sum));
    }
}

/// Adds the exponentials of some vectors, of values of at least `least` where not all are wanted.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn add_vectors<const DIVIDES: bool, const CHOOSES: bool, const N: usize>(
    how: Exponentials,
    (rounder, least): (Rounder, __m512),
    vectors: &[[f32; WIDTH]; N],
    counts: &mut Counts,
) {
    // SAFETY: there are sixteen in each.
    let x = vectors.each_ref().map(|vector| unsafe { _mm512_loadu_ps(vector.as_ptr()) });
    let mut found = exponentials::<DIVIDES, N>(how, x);
    if CHOOSES {
        for (found, x) in found.iter_mut().zip(x) {
            *found = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, least), *found);
        }
    }
    counts.add(rounder, found);
}

/// See [`Exponentials::sum_weighted`]: the first as a count, the second by lanes.
pub(crate) fn sum_weighted(isa: Isa, how: Exponentials, values: &[f32]) -> (i64, [f64; WIDTH]) {
    assert!(matches!(isa, Isa::Avx512Vnni(_)));
    // SAFETY: the instruction set was found on this machine.
    unsafe { sum_weighted_with(how, values) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn sum_weighted_with(how: Exponentials, values: &[f32]) -> (i64, [f64; WIDTH]) {
    const { assert!(WEIGHTED_LANES == WIDTH && WEIGHTED_PART == VECTORS * WIDTH) };
    let rounder = Rounder::new(how);
    let (mut sum, mut weighted) = (0, [_mm512_setzero_pd(); 2]);
    for values in values.chunks(WEIGHTED_PART) {
        let (mut counts, mut products) = (Counts::zero(), _mm512_setzero_ps());
        let (vectors, rest) = values.as_chunks::<WIDTH>();
        let (groups, single) = vectors.as_chunks::<GROUP>();
        for group in groups {
            // SAFETY: there are sixteen in each.
            let x = group.each_ref().map(|vector| unsafe { _mm512_loadu_ps(vector.as_ptr()) });
            add_weighted(how, rounder, x, &mut counts, &mut products);
        }
        for vector in single {
            // SAFETY: there are sixteen.
            let x = unsafe { _mm512_loadu_ps(vector.as_ptr()) };
            add_weighted(how, rounder, [x], &mut counts, &mut products);
        }
        if !rest.is_empty() {
            add_weighted(how, rounder, [load_part(rest).0], &mut counts, &mut products);
        }
        sum += counts.total(how);
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

/// Adds the exponentials of some vectors, and the products of them with the values they are of.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn add_weighted<const N: usize>(
    how: Exponentials,
    rounder: Rounder,
    x: [__m512; N],
    counts: &mut Counts,
    products: &mut __m512,
) {
    let found = exponentials::<false, N>(how, x);
    let lowest = _mm512_set1_ps(math::EXP_LOWEST);
    for i in 0..N {
        let relative = _mm512_max_ps(_mm512_sub_ps(x[i], _mm512_set1_ps(how.greatest)), lowest);
        *products = _mm512_fmadd_ps(found[i], relative, *products);
    }
    counts.add(rounder, found);
}

/// At most sixteen values, and which of them are there; the others are minus infinity.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn load_part(values: &[f32]) -> (__m512, u16) {
    let there = if values.len() >= WIDTH { u16::MAX } else { (1 << values.len()) - 1 };
    // SAFETY: only lanes that are there are read.
    let x = unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(f32::NEG_INFINITY), there, values.as_ptr()) };
    (x, there)
}

/// What is added to a number of magnitude up to 1, and then to the rest, so that their last bits count multiples of
/// `2^-FIRST_BITS`, and of `2^-fraction_bits`. Conversions to integers of 64 bits take twice as long.
#[derive(Clone, Copy)]
struct Rounder {
    first: __m512,
    second: __m512,
}

/// Bits of 1.5 times a power of two that a number is added to, and where their last one counts `2^-bits`.
fn rounder(bits: i32) -> f32 {
    f32::from_bits(((23 - bits + 127) as u32) << 23 | 1 << 22)
}

impl Rounder {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    fn new(how: Exponentials) -> Rounder {
        let second = rounder(how.fraction_bits as i32);
        Rounder { first: _mm512_set1_ps(rounder(FIRST_BITS)), second: _mm512_set1_ps(second) }
    }
}

/// Running sums of rounded numbers, as the bits that rounding leaves.
#[derive(Clone, Copy)]
struct Counts {
    first: __m512i,
    second: __m512i,
    /// So many vectors are in them.
    added: i32,
}

impl Counts {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    fn zero() -> Counts {
        Counts { first: _mm512_setzero_si512(), second: _mm512_setzero_si512(), added: 0 }
    }

    /// Adds numbers of magnitude up to 1.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    fn add<const N: usize>(&mut self, rounder: Rounder, x: [__m512; N]) {
        let first = x.map(|x| _mm512_add_ps(x, rounder.first));
        for i in 0..N {
            // What is left is exact, and at most half of what the last bit counts. The nearest multiple of it is that of the whole.
            let left = _mm512_sub_ps(x[i], _mm512_sub_ps(first[i], rounder.first));
            let second = _mm512_add_ps(left, rounder.second);
            self.first = _mm512_add_epi32(self.first, _mm512_castps_si512(first[i]));
            self.second = _mm512_add_epi32(self.second, _mm512_castps_si512(second));
        }
        self.added += N as i32;
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    fn total(self, how: Exponentials) -> i64 {
        let bits = how.fraction_bits as i32;
        let lanes = WIDTH as i32 * self.added;
        let count = |sum, bits| {
            let rounders = (rounder(bits).to_bits() as i32).wrapping_mul(lanes);
            i64::from(_mm512_reduce_add_epi32(sum).wrapping_sub(rounders))
        };
        (count(self.first, FIRST_BITS) << (bits - FIRST_BITS)) + count(self.second, bits)
    }
}

/// [`math::exp`] of values relative to the greatest, operation by operation; of several vectors step by step, so that what waits for
/// another step is not right behind it.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn exponentials<const DIVIDES: bool, const N: usize>(how: Exponentials, x: [__m512; N]) -> [__m512; N] {
    let x = x.map(|x| _mm512_sub_ps(x, _mm512_set1_ps(how.greatest)));
    let x = if DIVIDES { x.map(|x| _mm512_div_ps(x, _mm512_set1_ps(how.temperature))) } else { x };
    let x = x.map(|x| _mm512_max_ps(x, _mm512_set1_ps(math::EXP_LOWEST)));
    let n = x.map(|x| _mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::LOG2_E)));
    let n = n.map(|n| _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(n));
    let r: [__m512; N] = std::array::from_fn(|i| _mm512_fmadd_ps(n[i], _mm512_set1_ps(-math::LN_2_HIGH), x[i]));
    let r: [__m512; N] = std::array::from_fn(|i| _mm512_fmadd_ps(n[i], _mm512_set1_ps(-math::LN_2_LOW), r[i]));
    let mut p = [_mm512_set1_ps(math::EXP_COEFFICIENTS[0]); N];
    for &coefficient in &math::EXP_COEFFICIENTS[1..] {
        p = std::array::from_fn(|i| _mm512_fmadd_ps(p[i], r[i], _mm512_set1_ps(coefficient)));
    }
    let value: [__m512; N] = std::array::from_fn(|i| _mm512_fmadd_ps(p[i], _mm512_mul_ps(r[i], r[i]), r[i]));
    let value = value.map(|value| _mm512_add_ps(value, _mm512_set1_ps(1.0)));
    std::array::from_fn(|i| _mm512_scalef_ps(value[i], n[i]))
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

/// See [`crate::select_within`]; both lists have room for all values and a vector more.
pub(crate) fn select_within(
    isa: Isa,
    (values, first): (&[f32], u32),
    range: Range,
    places: &mut Vec<u32>,
    found: &mut Vec<f32>,
) {
    assert!(matches!(isa, Isa::Avx512Vnni(_)));
    // SAFETY: the instruction set was found on this machine.
    unsafe { select_within_with((values, first), range, places, found) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
fn select_within_with((values, first): (&[f32], u32), range: Range, places: &mut Vec<u32>, found: &mut Vec<f32>) {
    places.reserve(values.len() + WIDTH);
    found.reserve(values.len() + WIDTH);
    let (least, most) = (_mm512_set1_ps(range.least), _mm512_set1_ps(range.most));
    let mut index = _mm512_add_epi32(
        _mm512_set1_epi32(first as i32),
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    );
    // No more than one for each value is added to either, and a whole vector is stored behind those.
    let (mut place_end, mut found_end) =
        (places.spare_capacity_mut().as_mut_ptr(), found.spare_capacity_mut().as_mut_ptr());
    let mut count = 0;
    let (vectors, rest) = values.as_chunks::<WIDTH>();
    let mut select = |x: __m512, there: u16| {
        let wanted = _mm512_mask_cmp_ps_mask::<_CMP_GE_OQ>(there, x, least);
        let wanted = _mm512_mask_cmp_ps_mask::<_CMP_LE_OQ>(wanted, x, most);
        // Whether any is wanted is not asked: where it can be told before, the caller leaves the values out.
        let passed = wanted.count_ones() as usize;
        // SAFETY: both have room for all values and a vector, and `passed` is at most what was read of them.
        unsafe {
            _mm512_storeu_ps(found_end.cast(), _mm512_maskz_compress_ps(wanted, x));
            _mm512_storeu_si512(place_end.cast(), _mm512_maskz_compress_epi32(wanted, index));
            (found_end, place_end) = (found_end.add(passed), place_end.add(passed));
        }
        count += passed;
        index = _mm512_add_epi32(index, _mm512_set1_epi32(WIDTH as i32));
    };
    for vector in vectors {
        // SAFETY: there are sixteen.
        select(unsafe { _mm512_loadu_ps(vector.as_ptr()) }, u16::MAX);
    }
    if !rest.is_empty() {
        let (x, there) = load_part(rest);
        select(x, there);
    }
    // SAFETY: so many were stored in each.
    unsafe {
        places.set_len(places.len() + count);
        found.set_len(found.len() + count);
    }
}

/// See [`crate::pick_within`]; `found` has room for all values and a vector more.
pub(crate) fn pick_within(isa: Isa, values: &[f32], range: Range, masks: &mut Vec<u16>, found: &mut Vec<f32>) {
    assert!(matches!(isa, Isa::Avx512Vnni(_)));
    // SAFETY: the instruction set was found on this machine.
    unsafe { pick_within_with(values, range, masks, found) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
fn pick_within_with(values: &[f32], range: Range, masks: &mut Vec<u16>, found: &mut Vec<f32>) {
    found.reserve(values.len() + WIDTH);
    let (least, most) = (_mm512_set1_ps(range.least), _mm512_set1_ps(range.most));
    // No more than one for each value is added, and a whole vector is stored behind those.
    let begin: *mut f32 = found.spare_capacity_mut().as_mut_ptr().cast();
    let mut end = begin;
    let mut pick = |x: __m512, there: u16| {
        let wanted = _mm512_mask_cmp_ps_mask::<_CMP_GE_OQ>(there, x, least);
        let wanted = _mm512_mask_cmp_ps_mask::<_CMP_LE_OQ>(wanted, x, most);
        // SAFETY: there is room for all values and a vector, and no more are counted than were read of them.
        unsafe {
            _mm512_storeu_ps(end, _mm512_maskz_compress_ps(wanted, x));
            end = end.add(wanted.count_ones() as usize);
        }
        wanted
    };
    let (vectors, rest) = values.as_chunks::<WIDTH>();
    // SAFETY: there are sixteen in each.
    masks.extend(vectors.iter().map(|vector| pick(unsafe { _mm512_loadu_ps(vector.as_ptr()) }, u16::MAX)));
    if !rest.is_empty() {
        let (x, there) = load_part(rest);
        masks.push(pick(x, there));
    }
    // SAFETY: both are of one vector, and so many were stored.
    unsafe {
        let count = end.offset_from_unsigned(begin);
        found.set_len(found.len() + count);
    }
}
