//! Sixteen lanes of AVX-512, where rows are long and a chain of operations is: half as many of them wait for each other.

use std::arch::x86_64::*;

use crate::exponentials::{Exponentials, sum_of_lanes};
use crate::{Isa, LANES, math};

/// Elements of a vector.
const WIDTH: usize = 16;

/// See [`Exponentials::sum_blocks`].
pub(crate) fn sum_blocks(isa: Isa, how: Exponentials, values: &[f32], block: usize, sums: &mut Vec<f64>) {
    assert!(matches!(isa, Isa::Avx512Vnni(_)) && block > 0);
    // SAFETY: the instruction set was found on this machine.
    unsafe { sum_blocks_with_features(how, values, block, sums) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn sum_blocks_with_features(how: Exponentials, values: &[f32], block: usize, sums: &mut Vec<f64>) {
    if how.temperature == 1.0 {
        values.chunks(block).for_each(|values| sums.push(sum_block::<false>(how, values)));
    } else {
        values.chunks(block).for_each(|values| sums.push(sum_block::<true>(how, values)));
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn sum_block<const DIVIDES: bool>(how: Exponentials, values: &[f32]) -> f64 {
    let mut lanes = _mm512_setzero_pd();
    // Four at a time stand beside each other: a single chain of operations leaves most of the machine idle.
    let (fours, rest) = values.as_chunks::<{ 4 * WIDTH }>();
    for four in fours {
        // SAFETY: there are four times sixteen.
        let x: [__m512; 4] = std::array::from_fn(|i| unsafe { _mm512_loadu_ps(four.as_ptr().add(i * WIDTH)) });
        let wanted = x.map(|x| _mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, _mm512_set1_ps(how.least)));
        if wanted == [0; 4] {
            continue;
        }
        for i in 0..4 {
            lanes = add::<DIVIDES>(how, x[i], wanted[i], lanes);
        }
    }
    for chunk in rest.chunks(WIDTH) {
        let there = u16::MAX >> (WIDTH - chunk.len());
        // SAFETY: only lanes that are there are read.
        let x = unsafe { _mm512_maskz_loadu_ps(there, chunk.as_ptr()) };
        let wanted = _mm512_mask_cmp_ps_mask::<_CMP_GE_OQ>(there, x, _mm512_set1_ps(how.least));
        lanes = add::<DIVIDES>(how, x, wanted, lanes);
    }
    let mut each = [0.0; LANES];
    // SAFETY: there is room for eight.
    unsafe { _mm512_storeu_pd(each.as_mut_ptr(), lanes) };
    sum_of_lanes(each)
}

/// Adds the exponentials of the lanes that are wanted.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn add<const DIVIDES: bool>(how: Exponentials, x: __m512, wanted: u16, lanes: __m512d) -> __m512d {
    let grid = _mm512_set1_pd(how.grid);
    let x = _mm512_sub_ps(x, _mm512_set1_ps(how.greatest));
    let x = if DIVIDES { _mm512_div_ps(x, _mm512_set1_ps(how.temperature)) } else { x };
    let found = _mm512_maskz_mov_ps(wanted, exp(x));
    // The eight running sums take the lower half first, as eight lanes would.
    let low = _mm512_cvtps_pd(_mm512_castps512_ps256(found));
    let high = _mm512_cvtps_pd(_mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(found))));
    let lanes = _mm512_add_pd(lanes, _mm512_sub_pd(_mm512_add_pd(low, grid), grid));
    _mm512_add_pd(lanes, _mm512_sub_pd(_mm512_add_pd(high, grid), grid))
}

/// [`math::exp`], operation by operation.
#[target_feature(enable = "avx512f")]
#[inline]
fn exp(x: __m512) -> __m512 {
    let set = |x: f32| _mm512_set1_ps(x);
    let x = _mm512_min_ps(_mm512_max_ps(x, set(math::EXP_LOWEST)), set(math::EXP_HIGHEST));
    let n = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(_mm512_mul_ps(
        x,
        set(std::f32::consts::LOG2_E),
    ));
    let r = _mm512_fmadd_ps(n, set(-math::LN_2_HIGH), x);
    let r = _mm512_fmadd_ps(n, set(-math::LN_2_LOW), r);
    let mut p = set(math::EXP_COEFFICIENTS[0]);
    for &coefficient in &math::EXP_COEFFICIENTS[1..] {
        p = _mm512_fmadd_ps(p, r, set(coefficient));
    }
    let value = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), set(1.0));
    // 2^n by its exponent.
    let exponent = _mm512_slli_epi32::<23>(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)));
    _mm512_mul_ps(value, _mm512_castsi512_ps(exponent))
}
