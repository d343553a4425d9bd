//! AVX2 with FMA and F16C: every x86 server and desktop since 2013 (Intel) and 2015 (AMD).

use std::arch::x86_64::*;

use crate::{LANES, Simd, Work};

/// Proof that the machine has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// The token, if the machine has the instructions.
    pub fn new() -> Option<Avx2> {
        let found =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        found.then_some(Avx2(()))
    }
}

/// Calls `work` with the instructions switched on.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn with_features<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// As [`with_features`], for work that is inlined whatever its size.
#[target_feature(enable = "avx2,fma,f16c")]
fn work_with_features<W: Work>(token: Avx2, work: W) -> W::Output {
    work.run(token)
}

impl Avx2 {
    /// Runs `work` compiled for this instruction set.
    pub fn run<W: Work>(self, work: W) -> W::Output {
        // SAFETY: a token exists only where the instructions were found.
        unsafe { work_with_features(self, work) }
    }
}

impl Simd for Avx2 {
    type F = __m256;

    #[inline(always)]
    fn vectorize<R>(self, work: impl FnOnce() -> R) -> R {
        // SAFETY: a token exists only where the instructions were found.
        unsafe { with_features(work) }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: the token proves AVX2; the same holds in every function below.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> __m256 {
        // SAFETY: the array has eight elements; the load needs no alignment.
        unsafe { _mm256_loadu_ps(values.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, vector: __m256, values: &mut [f32; LANES]) {
        // SAFETY: the array has eight elements; the store needs no alignment.
        unsafe { _mm256_storeu_ps(values.as_mut_ptr(), vector) }
    }
    #[inline(always)]
    fn load_f16(self, bits: &[u16; LANES]) -> __m256 {
        // SAFETY: the array has sixteen bytes; the token proves F16C.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(bits.as_ptr().cast())) }
    }
    #[inline(always)]
    fn store_f16(self, vector: __m256, bits: &mut [u16; LANES]) {
        // SAFETY: the array has sixteen bytes; the token proves F16C.
        unsafe { _mm_storeu_si128(bits.as_mut_ptr().cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(vector)) }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the token proves FMA.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn abs(self, a: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a) }
    }
    #[inline(always)]
    fn copysign(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, b))
        }
    }
    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn power_of_two(self, n: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        }
    }
    #[inline(always)]
    fn store_i8(self, vectors: [__m256; 4], values: &mut [i8; 32]) {
        // SAFETY: the token proves AVX2; the array has 32 bytes. The packs work on halves, the permutation puts the
        // groups of four back in order.
        unsafe {
            let [a, b, c, d] = vectors.map(|vector| _mm256_cvtps_epi32(vector));
            let bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            _mm256_storeu_si256(values.as_mut_ptr().cast(), _mm256_permutevar8x32_epi32(bytes, order));
        }
    }
    #[inline(always)]
    fn look_up(self, table: &[u8; 16], bytes: &mut [u8; 32]) {
        // SAFETY: the token proves AVX2; the table has 16 bytes and the array 32.
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            let places = _mm256_loadu_si256(bytes.as_ptr().cast());
            _mm256_storeu_si256(bytes.as_mut_ptr().cast(), _mm256_shuffle_epi8(table, places));
        }
    }
    #[inline(always)]
    fn at_least(self, a: __m256, b: __m256) -> u32 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(a, b)) as u32 }
    }
    #[inline(always)]
    fn add_on_grid(self, x: __m256, grid: f64, sums: &mut [f64; LANES]) {
        // SAFETY: the token proves AVX2; the array has eight elements, four for each half.
        unsafe {
            let grid = _mm256_set1_pd(grid);
            let low = _mm256_cvtps_pd(_mm256_castps256_ps128(x));
            let high = _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(x));
            let low = _mm256_sub_pd(_mm256_add_pd(low, grid), grid);
            let high = _mm256_sub_pd(_mm256_add_pd(high, grid), grid);
            let place = sums.as_mut_ptr();
            _mm256_storeu_pd(place, _mm256_add_pd(_mm256_loadu_pd(place), low));
            let place = place.add(4);
            _mm256_storeu_pd(place, _mm256_add_pd(_mm256_loadu_pd(place), high));
        }
    }
}
