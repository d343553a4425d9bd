//! Sixteen lanes of AVX-512: integer products by VNNI, 64 (of bytes) or 32 (of words) an instruction.
#![allow(unsafe_code)] // Intrinsics.
#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use std::arch::x86_64::*;

use lair_simd::Isa;

use super::super::kv_record::{KEY_BIAS, NIBBLE_BIAS};
use super::lanes::{Lanes, QueryBlock, WIDTH, Work};

/// Proof that the machine has AVX-512 F, BW, VL and VNNI: made only by [`run`].
#[derive(Clone, Copy)]
struct Avx512(());

/// See [`super::lanes::run`].
pub(super) fn run<W: Work>(isa: Isa, work: W) {
    assert!(matches!(isa, Isa::Avx512Vnni(_)));
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
    fn with_features<W: Work>(work: W) {
        work.run(Avx512(()));
    }
    // SAFETY: the instruction set was found on this machine.
    unsafe { with_features(work) }
}

impl Lanes for Avx512 {
    type F = __m512;
    type I = __m512i;
    type P = __m512i;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: the token proves the instructions; the same holds in every function below.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    fn load(self, values: &[f32; WIDTH]) -> __m512 {
        // SAFETY: the array has sixteen elements; the load needs no alignment.
        unsafe { _mm512_loadu_ps(values.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, vector: __m512, values: &mut [f32; WIDTH]) {
        // SAFETY: the array has sixteen elements; the store needs no alignment.
        unsafe { _mm512_storeu_ps(values.as_mut_ptr(), vector) }
    }
    #[inline(always)]
    fn load_f16(self, bytes: &[u8; 2 * WIDTH]) -> __m512 {
        // SAFETY: there are 32 bytes.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bytes.as_ptr().cast())) }
    }
    #[inline(always)]
    fn load_f32(self, bytes: &[u8; 4 * WIDTH]) -> __m512 {
        // SAFETY: there are 64 bytes; the load needs no alignment.
        unsafe { _mm512_loadu_ps(bytes.as_ptr().cast()) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token's proof.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token's proof.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token's proof.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the token's proof.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token's proof.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token's proof.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        // SAFETY: the token's proof.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn power_of_two(self, n: __m512) -> __m512 {
        // SAFETY: the token's proof.
        unsafe {
            let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
        }
    }
    #[inline(always)]
    fn store_i16(self, vector: __m512, words: &mut [i32; WIDTH / 2]) {
        // SAFETY: there are 32 bytes.
        unsafe {
            let packed = _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(vector));
            _mm256_storeu_si256(words.as_mut_ptr().cast(), packed);
        }
    }
    #[inline(always)]
    fn zero(self) -> __m512i {
        // SAFETY: the token's proof.
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    fn to_float(self, vector: __m512i) -> __m512 {
        // SAFETY: the token's proof.
        unsafe { _mm512_cvtepi32_ps(vector) }
    }
    #[inline(always)]
    fn dots_of_bytes<const T: usize>(self, groups: &[[u8; 64]], queries: &[QueryBlock; T]) -> [__m512i; T] {
        // SAFETY: the token's proof; a group has 64 bytes.
        unsafe {
            let mut sums: [__m512i; T] = std::array::from_fn(|t| _mm512_set1_epi32(-KEY_BIAS * queries[t].sum));
            for (index, group) in groups.iter().enumerate() {
                let codes = _mm512_loadu_si512(group.as_ptr().cast());
                for t in 0..T {
                    sums[t] = _mm512_dpbusd_epi32(sums[t], codes, _mm512_set1_epi32(queries[t].fours[index]));
                }
            }
            sums
        }
    }
    #[inline(always)]
    fn dots_of_nibbles<const T: usize>(self, lines: &[[u8; 64]], queries: &[QueryBlock; T]) -> [__m512i; T] {
        // SAFETY: the token's proof; a line has 64 bytes.
        unsafe {
            let mask = _mm512_set1_epi8(0xf);
            let mut sums: [__m512i; T] = std::array::from_fn(|t| _mm512_set1_epi32(-NIBBLE_BIAS * queries[t].sum));
            for (index, line) in lines.iter().enumerate() {
                let packed = _mm512_loadu_si512(line.as_ptr().cast());
                let low = _mm512_and_si512(packed, mask);
                let high = _mm512_and_si512(_mm512_srli_epi16::<4>(packed), mask);
                for t in 0..T {
                    let fours = &queries[t].fours[2 * index..2 * index + 2];
                    sums[t] = _mm512_dpbusd_epi32(sums[t], low, _mm512_set1_epi32(fours[0]));
                    sums[t] = _mm512_dpbusd_epi32(sums[t], high, _mm512_set1_epi32(fours[1]));
                }
            }
            sums
        }
    }
    #[inline(always)]
    fn pair_of_bytes(self, codes: &[u8; 32]) -> __m512i {
        // SAFETY: there are 32 bytes.
        unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(codes.as_ptr().cast())) }
    }
    #[inline(always)]
    fn pairs_of_nibbles(self, codes: &[u8; 32]) -> [__m512i; 2] {
        // SAFETY: there are 32 bytes.
        unsafe {
            let wide = _mm512_cvtepu8_epi16(_mm256_loadu_si256(codes.as_ptr().cast()));
            let (mask, bias) = (_mm512_set1_epi16(0xf), _mm512_set1_epi16(NIBBLE_BIAS as i16));
            [_mm512_sub_epi16(_mm512_and_si512(wide, mask), bias), _mm512_sub_epi16(_mm512_srli_epi16::<4>(wide), bias)]
        }
    }
    #[inline(always)]
    fn add_products(self, values: __m512i, weights: i32, sum: __m512i) -> __m512i {
        // SAFETY: the token's proof.
        unsafe { _mm512_dpwssd_epi32(sum, values, _mm512_set1_epi32(weights)) }
    }
}
