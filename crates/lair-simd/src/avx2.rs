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

impl Avx2 {
    /// The lanes as words, rounded: of the first two vectors and of the last two, in the order that packing leaves.
    #[inline(always)]
    fn words_of(self, vectors: [__m256; 4]) -> [__m256i; 2] {
        // SAFETY: the token proves AVX2.
        unsafe {
            let [a, b, c, d] = vectors.map(|vector| _mm256_cvtps_epi32(vector));
            [_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d)]
        }
    }

    /// Stores what [`Avx2::words_of`] left as bytes.
    #[inline(always)]
    fn store_words(self, [low, high]: [__m256i; 2], values: &mut [i8; 32]) {
        // SAFETY: the token proves AVX2; the array has 32 bytes. The packs work on halves, the permutation puts the
        // groups of four back in order.
        unsafe {
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            let bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
            _mm256_storeu_si256(values.as_mut_ptr().cast(), bytes);
        }
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
        self.store_words(self.words_of(vectors), values);
    }
    #[inline(always)]
    fn store_i8_summed(self, vectors: [__m256; 4], values: &mut [i8; 32]) -> [i32; 2] {
        let words = self.words_of(vectors);
        self.store_words(words, values);
        // SAFETY: the token proves AVX2. In whatever order, the words of a half have the same sum.
        unsafe {
            let one = _mm256_set1_epi16(1);
            let [low, high] = words.map(|words| _mm256_madd_epi16(words, one));
            let pairs = _mm256_hadd_epi32(low, high);
            let four = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
            let sums = _mm_add_epi32(four, _mm_shuffle_epi32::<0b10_11_00_01>(four));
            [_mm_cvtsi128_si32(sums), _mm_extract_epi32::<2>(sums)]
        }
    }
    #[inline(always)]
    fn sum(self, vector: __m256) -> f32 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(vector), _mm256_extractf128_ps::<1>(vector));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    fn largest(self, vector: __m256) -> f32 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(vector), _mm256_extractf128_ps::<1>(vector));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
    #[inline(always)]
    fn transpose(self, rows: [&[u32; LANES]; LANES], columns: &mut [[u32; LANES]; LANES]) {
        // SAFETY: the token proves AVX2; rows and columns have eight elements, and loads and stores need no alignment.
        unsafe {
            let rows = rows.map(|row| _mm256_loadu_si256(row.as_ptr().cast()));
            // Pairs, then quads of rows, within each half of the vectors; then the halves.
            let pair = |a: __m256i, b: __m256i| (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
            let quad = |(a, b): (__m256i, __m256i), (c, d): (__m256i, __m256i)| {
                let (low, high) = (_mm256_unpacklo_epi64, _mm256_unpackhi_epi64);
                [low(a, c), high(a, c), low(b, d), high(b, d)]
            };
            let first = quad(pair(rows[0], rows[1]), pair(rows[2], rows[3]));
            let second = quad(pair(rows[4], rows[5]), pair(rows[6], rows[7]));
            for j in 0..4 {
                let low = _mm256_permute2x128_si256::<0x20>(first[j], second[j]);
                let high = _mm256_permute2x128_si256::<0x31>(first[j], second[j]);
                _mm256_storeu_si256(columns[j].as_mut_ptr().cast(), low);
                _mm256_storeu_si256(columns[j + 4].as_mut_ptr().cast(), high);
            }
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
    fn exchange<const DISTANCE: usize>(self, vector: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe {
            match DISTANCE {
                1 => _mm256_permute_ps::<0b10_11_00_01>(vector),
                2 => _mm256_permute_ps::<0b01_00_11_10>(vector),
                4 => _mm256_permute2f128_ps::<1>(vector, vector),
                _ => unreachable!("a vector has eight lanes"),
            }
        }
    }
    #[inline(always)]
    fn at_least(self, a: __m256, b: __m256) -> u32 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(a, b)) as u32 }
    }
    #[inline(always)]
    fn add_floored(self, x: __m256, sums: &mut [i64; LANES]) {
        // A double of magnitude below 2^51 has its nearest integer in the last bits once this is added.
        const ROUNDER: f64 = 6_755_399_441_055_744.0;
        // SAFETY: the token proves AVX2; the array has eight elements, four for each half.
        unsafe {
            let rounder = _mm256_set1_pd(ROUNDER);
            let bits = _mm256_castpd_si256(rounder);
            let halves = [_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x)];
            for (half, place) in halves.into_iter().zip([0, 4]) {
                let floored = _mm256_floor_pd(_mm256_cvtps_pd(half));
                let rounded = _mm256_castpd_si256(_mm256_add_pd(floored, rounder));
                let place = sums.as_mut_ptr().add(place).cast();
                let sum = _mm256_add_epi64(_mm256_loadu_si256(place), _mm256_sub_epi64(rounded, bits));
                _mm256_storeu_si256(place, sum);
            }
        }
    }
}
