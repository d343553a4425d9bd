//! Sixteen lanes of AVX-512, where rows are long and a chain of operations is: half as many of them wait for each other.

use std::arch::x86_64::*;

use crate::exponentials::Exponentials;
use crate::select::Range;
use crate::{Isa, math};

/// Elements of a vector.
const WIDTH: usize = 16;
/// Vectors whose counts are summed in 32 bits: those of a vector have 18 bits, or 22 for as many bits after the point as there may be.
const VECTORS: usize = 64;
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
            for vector in vectors {
                // SAFETY: there are sixteen.
                let x = unsafe { _mm512_loadu_ps(vector.as_ptr()) };
                let found = exponentials::<DIVIDES>(how, x);
                let found = match CHOOSES {
                    true => _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, least), found),
                    false => found,
                };
                counts.add(rounder, found);
            }
            values = &values[vectors.len() * WIDTH..];
            if values.len() < WIDTH {
                let (x, there) = load_part(values);
                let wanted = _mm512_mask_cmp_ps_mask::<_CMP_GE_OQ>(there, x, least);
                counts.add(rounder, _mm512_maskz_mov_ps(wanted, exponentials::<DIVIDES>(how, x)));
                values = &[];
            }
            sum += counts.total(how);
        }
        sums.push(how.value(sum));
    }
}

/// See [`Exponentials::sum_weighted`]; both as counts.
pub(crate) fn sum_weighted(isa: Isa, how: Exponentials, values: &[f32]) -> [i64; 2] {
    assert!(matches!(isa, Isa::Avx512Vnni(_)));
    // SAFETY: the instruction set was found on this machine.
    unsafe { sum_weighted_with(how, values) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn sum_weighted_with(how: Exponentials, values: &[f32]) -> [i64; 2] {
    let rounder = Rounder::new(how);
    let greatest = _mm512_set1_ps(how.greatest);
    let mut sums = [0; 2];
    for values in values.chunks(VECTORS * WIDTH) {
        let mut counts = [Counts::zero(); 2];
        let (vectors, rest) = values.as_chunks::<WIDTH>();
        let mut add = |x: __m512| {
            let counted = counts[0].add(rounder, exponentials::<false>(how, x));
            let relative = _mm512_max_ps(_mm512_sub_ps(x, greatest), _mm512_set1_ps(math::EXP_LOWEST));
            counts[1].add(rounder, _mm512_mul_ps(counted, relative));
        };
        for vector in vectors {
            // SAFETY: there are sixteen.
            add(unsafe { _mm512_loadu_ps(vector.as_ptr()) });
        }
        if !rest.is_empty() {
            // What is not there is infinitely small, and adds nothing to either.
            add(load_part(rest).0);
        }
        sums = std::array::from_fn(|i| sums[i] + counts[i].total(how));
    }
    sums
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

    /// Adds numbers of magnitude up to 1; returns what was counted.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    fn add(&mut self, rounder: Rounder, x: __m512) -> __m512 {
        let first = _mm512_add_ps(x, rounder.first);
        let counted = _mm512_sub_ps(first, rounder.first);
        // What is left is exact, and at most half of what the last bit counts. The nearest multiple of it is that of the whole.
        let second = _mm512_add_ps(_mm512_sub_ps(x, counted), rounder.second);
        self.first = _mm512_add_epi32(self.first, _mm512_castps_si512(first));
        self.second = _mm512_add_epi32(self.second, _mm512_castps_si512(second));
        self.added += 1;
        _mm512_add_ps(counted, _mm512_sub_ps(second, rounder.second))
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

/// [`math::exp`] of values relative to the greatest, operation by operation.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn exponentials<const DIVIDES: bool>(how: Exponentials, x: __m512) -> __m512 {
    let x = _mm512_sub_ps(x, _mm512_set1_ps(how.greatest));
    let x = if DIVIDES { _mm512_div_ps(x, _mm512_set1_ps(how.temperature)) } else { x };
    let x = _mm512_max_ps(x, _mm512_set1_ps(math::EXP_LOWEST));
    let n = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(_mm512_mul_ps(
        x,
        _mm512_set1_ps(std::f32::consts::LOG2_E),
    ));
    let r = _mm512_fmadd_ps(n, _mm512_set1_ps(-math::LN_2_HIGH), x);
    let r = _mm512_fmadd_ps(n, _mm512_set1_ps(-math::LN_2_LOW), r);
    let mut p = _mm512_set1_ps(math::EXP_COEFFICIENTS[0]);
    for &coefficient in &math::EXP_COEFFICIENTS[1..] {
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(coefficient));
    }
    let value = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0));
    _mm512_scalef_ps(value, n)
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

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
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
