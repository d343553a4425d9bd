//! Vectors of sixteen lanes, which are the positions of a page or the elements of a value panel, on every instruction
//! set; and the way to run work on them.
//!
//! [`Pair`] makes them of two vectors of eight ([`lair_simd::Simd`]); AVX-512 has them itself. Every operation is
//! defined to the bit, integer sums are exact, so all instruction sets give equal results.
#![allow(unsafe_code)] // Intrinsics.
#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use lair_simd::{Isa, LANES, Scalar, Simd};

use super::super::kv_record::{KEY_BIAS, NIBBLE_BIAS};

/// Lanes of a vector.
pub(super) const WIDTH: usize = 16;
/// The most queries that share what is read of keys and values.
pub(super) const STRIP_MAX: usize = 8;

/// A block of 32 elements of a query: `value[i] = scale * code[i]`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct QueryBlock {
    /// Four codes to a word, the first in the lowest byte.
    pub(super) fours: [i32; 8],
    pub(super) scale: f32,
    /// Sum of the codes.
    pub(super) sum: i32,
}

/// Sixteen lanes.
pub(super) trait Lanes: Copy {
    /// Of f32.
    type F: Copy;
    /// Of i32.
    type I: Copy;
    /// Pairs of i16.
    type P: Copy;

    fn splat(self, x: f32) -> Self::F;
    fn load(self, values: &[f32; WIDTH]) -> Self::F;
    fn store(self, vector: Self::F, values: &mut [f32; WIDTH]);
    /// Of half-precision numbers.
    fn load_f16(self, bytes: &[u8; 2 * WIDTH]) -> Self::F;
    fn load_f32(self, bytes: &[u8; 4 * WIDTH]) -> Self::F;
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a > b ? a : b`: `b` where one of them is no number.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a < b ? a : b`: `b` where one of them is no number.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    fn round(self, a: Self::F) -> Self::F;
    /// `2^n` of integral lanes within -126 to 127.
    fn power_of_two(self, n: Self::F) -> Self::F;
    /// Rounds numbers of magnitude below 2^15 to the nearest integer, ties to even; two to a word.
    fn store_i16(self, vector: Self::F, words: &mut [i32; WIDTH / 2]);

    fn zero(self) -> Self::I;
    fn to_float(self, vector: Self::I) -> Self::F;
    /// Products of at most eight groups of four 8-bit key codes of sixteen positions with blocks of queries, summed.
    fn dots_of_bytes<const T: usize>(self, groups: &[[u8; 64]], queries: &[QueryBlock; T]) -> [Self::I; T];
    /// The same of at most four lines of two groups of 4-bit codes.
    fn dots_of_nibbles<const T: usize>(self, lines: &[[u8; 64]], queries: &[QueryBlock; T]) -> [Self::I; T];
    /// 8-bit value codes of two positions.
    fn pair_of_bytes(self, codes: &[u8; 32]) -> Self::P;
    /// 4-bit value codes of twice two positions.
    fn pairs_of_nibbles(self, codes: &[u8; 32]) -> [Self::P; 2];
    /// `sum + v[0] * w[0] + v[1] * w[1]`, `weights` being two i16.
    fn add_products(self, values: Self::P, weights: i32, sum: Self::I) -> Self::I;

    /// Asks for memory that will be read soon.
    #[inline(always)]
    fn prefetch(self, bytes: &[u8]) {
        #[cfg(target_arch = "x86_64")]
        for line in bytes.chunks(64) {
            use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
            // SAFETY: every x86-64 has the instruction, and it reads nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = bytes;
    }

    /// Sum of the lanes, as the instruction sets' vectors of eight sum theirs.
    #[inline(always)]
    fn sum(self, vector: Self::F) -> f32 {
        let mut v = [0.0; WIDTH];
        self.store(vector, &mut v);
        let v: [f32; 8] = std::array::from_fn(|lane| v[lane] + v[8 + lane]);
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }

    /// The largest lane that is a number, and at least `least`.
    #[inline(always)]
    fn largest(self, vector: Self::F, least: f32) -> f32 {
        let mut v = [0.0; WIDTH];
        self.store(vector, &mut v);
        v.into_iter().fold(least, |largest, x| if x > largest { x } else { largest })
    }
}

/// `exp(x)` of lanes, as [`lair_simd::math::exp`], but what is no number stays none.
#[inline(always)]
pub(super) fn exp<L: Lanes>(l: L, x: L::F) -> L::F {
    let x = l.min(l.splat(88.376_26), l.max(l.splat(-87.336_54), x));
    let n = l.round(l.mul(x, l.splat(std::f32::consts::LOG2_E)));
    let r = l.fma(n, l.splat(-0.693_359_4), x);
    let r = l.fma(n, l.splat(2.121_944_4e-4), r);
    let mut p = l.splat(1.987_569_1e-4);
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1] {
        p = l.fma(p, r, l.splat(coefficient));
    }
    let value = l.add(l.fma(p, l.mul(r, r), r), l.splat(1.0));
    l.mul(value, l.power_of_two(n))
}

/// A piece of work generic over the instruction set. Implementations mark `run` as `#[inline(always)]`, so that it
/// becomes part of a function that has the instructions switched on.
pub(super) trait Work {
    fn run<L: Lanes>(self, l: L);
}

/// Runs `work` compiled for the instruction set.
pub(super) fn run<W: Work>(isa: Isa, work: W) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni(_) => super::lanes_avx512::run(isa, work),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(token) | Isa::AvxVnni(token) => {
            #[target_feature(enable = "avx2,fma,f16c")]
            fn with_features<W: Work>(token: lair_simd::Avx2, work: W) {
                work.run(Pair(token));
            }
            // SAFETY: a token exists only where the instructions were found.
            unsafe { with_features(token, work) }
        }
        // Every aarch64 target with a standard library has NEON switched on throughout.
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(token) | Isa::NeonDotprod(token) | Isa::NeonI8mm(token) => work.run(Pair(token)),
        Isa::Scalar => work.run(Pair(Scalar)),
    }
}

/// The same for strips that are longer than those of other instruction sets.
pub(super) fn run_wide<W: Work>(isa: Isa, work: W) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni(_) => super::lanes_avx512::run(isa, work),
        _ => {
            drop(work);
            unreachable!("strips of {} have at most {NARROW_STRIP} queries", isa.name())
        }
    }
}

/// Queries of a strip where a vector of sixteen takes two registers of sixteen, or four of thirty-two.
const NARROW_STRIP: usize = 4;

/// Queries that are computed together: as many as leave registers for what they are multiplied with.
pub(super) fn strip_length(isa: Isa) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni(_) => STRIP_MAX,
        _ => NARROW_STRIP,
    }
}

/// Integer operations on sixteen lanes of an instruction set with vectors of eight.
pub(super) trait Integers: Simd {
    type I: Copy;
    type P: Copy;
    fn zero(self) -> Self::I;
    fn to_float(self, vector: Self::I) -> [Self::F; 2];
    fn store_i16(self, vectors: [Self::F; 2], words: &mut [i32; WIDTH / 2]);
    fn dots_of_bytes<const T: usize>(self, groups: &[[u8; 64]], queries: &[QueryBlock; T]) -> [Self::I; T];
    fn dots_of_nibbles<const T: usize>(self, lines: &[[u8; 64]], queries: &[QueryBlock; T]) -> [Self::I; T];
    fn pair_of_bytes(self, codes: &[u8; 32]) -> Self::P;
    fn pairs_of_nibbles(self, codes: &[u8; 32]) -> [Self::P; 2];
    fn add_products(self, values: Self::P, weights: i32, sum: Self::I) -> Self::I;
}

/// Two vectors of eight.
#[derive(Clone, Copy)]
pub(super) struct Pair<S>(pub(super) S);

/// The halves of sixteen elements.
#[inline(always)]
fn halves<T>(values: &[T; 2 * LANES]) -> [&[T; LANES]; 2] {
    let (halves, _) = values.as_chunks::<LANES>();
    [&halves[0], &halves[1]]
}

impl<S: Integers> Lanes for Pair<S> {
    type F = [S::F; 2];
    type I = S::I;
    type P = S::P;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [self.0.splat(x); 2]
    }
    #[inline(always)]
    fn load(self, values: &[f32; WIDTH]) -> Self::F {
        halves(values).map(|half| self.0.load(half))
    }
    #[inline(always)]
    fn store(self, vector: Self::F, values: &mut [f32; WIDTH]) {
        let (parts, _) = values.as_chunks_mut::<LANES>();
        self.0.store(vector[0], &mut parts[0]);
        self.0.store(vector[1], &mut parts[1]);
    }
    #[inline(always)]
    fn load_f16(self, bytes: &[u8; 2 * WIDTH]) -> Self::F {
        let (bits, _) = bytes.as_chunks::<2>();
        let bits: [u16; WIDTH] = std::array::from_fn(|lane| u16::from_le_bytes(bits[lane]));
        halves(&bits).map(|half| self.0.load_f16(half))
    }
    #[inline(always)]
    fn load_f32(self, bytes: &[u8; 4 * WIDTH]) -> Self::F {
        let (words, _) = bytes.as_chunks::<4>();
        let values: [f32; WIDTH] = std::array::from_fn(|lane| f32::from_le_bytes(words[lane]));
        self.load(&values)
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        [self.0.add(a[0], b[0]), self.0.add(a[1], b[1])]
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        [self.0.sub(a[0], b[0]), self.0.sub(a[1], b[1])]
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        [self.0.mul(a[0], b[0]), self.0.mul(a[1], b[1])]
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        [self.0.fma(a[0], b[0], c[0]), self.0.fma(a[1], b[1], c[1])]
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        [self.0.max(a[0], b[0]), self.0.max(a[1], b[1])]
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        [self.0.min(a[0], b[0]), self.0.min(a[1], b[1])]
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        a.map(|half| self.0.round(half))
    }
    #[inline(always)]
    fn power_of_two(self, n: Self::F) -> Self::F {
        n.map(|half| self.0.power_of_two(half))
    }
    #[inline(always)]
    fn store_i16(self, vector: Self::F, words: &mut [i32; WIDTH / 2]) {
        self.0.store_i16(vector, words);
    }
    #[inline(always)]
    fn zero(self) -> Self::I {
        self.0.zero()
    }
    #[inline(always)]
    fn to_float(self, vector: Self::I) -> Self::F {
        self.0.to_float(vector)
    }
    #[inline(always)]
    fn dots_of_bytes<const T: usize>(self, groups: &[[u8; 64]], queries: &[QueryBlock; T]) -> [Self::I; T] {
        self.0.dots_of_bytes(groups, queries)
    }
    #[inline(always)]
    fn dots_of_nibbles<const T: usize>(self, lines: &[[u8; 64]], queries: &[QueryBlock; T]) -> [Self::I; T] {
        self.0.dots_of_nibbles(lines, queries)
    }
    #[inline(always)]
    fn pair_of_bytes(self, codes: &[u8; 32]) -> Self::P {
        self.0.pair_of_bytes(codes)
    }
    #[inline(always)]
    fn pairs_of_nibbles(self, codes: &[u8; 32]) -> [Self::P; 2] {
        self.0.pairs_of_nibbles(codes)
    }
    #[inline(always)]
    fn add_products(self, values: Self::P, weights: i32, sum: Self::I) -> Self::I {
        self.0.add_products(values, weights, sum)
    }
}

/// Plain Rust, one lane after the other: what the vector code must equal.
impl Integers for Scalar {
    type I = [i32; WIDTH];
    type P = [[i16; 2]; WIDTH];

    fn zero(self) -> Self::I {
        [0; WIDTH]
    }
    fn to_float(self, vector: Self::I) -> [[f32; LANES]; 2] {
        halves(&vector).map(|half| half.map(|x| x as f32))
    }
    fn store_i16(self, vectors: [[f32; LANES]; 2], words: &mut [i32; WIDTH / 2]) {
        let codes = vectors.map(|half| half.map(|x| x.round_ties_even() as i16 as u16));
        for (word, pair) in words.iter_mut().zip(codes.as_flattened().as_chunks::<2>().0) {
            *word = (u32::from(pair[0]) | u32::from(pair[1]) << 16) as i32;
        }
    }
    fn dots_of_bytes<const T: usize>(self, groups: &[[u8; 64]], queries: &[QueryBlock; T]) -> [Self::I; T] {
        queries.each_ref().map(|query| {
            let mut sums = [0; WIDTH];
            for (group, four) in groups.iter().zip(query.fours) {
                add_four(&mut sums, four, |place| i32::from(group[place]) - KEY_BIAS);
            }
            sums
        })
    }
    fn dots_of_nibbles<const T: usize>(self, lines: &[[u8; 64]], queries: &[QueryBlock; T]) -> [Self::I; T] {
        queries.each_ref().map(|query| {
            let mut sums = [0; WIDTH];
            for (line, fours) in lines.iter().zip(query.fours.as_chunks::<2>().0) {
                add_four(&mut sums, fours[0], |place| i32::from(line[place] & 0xf) - NIBBLE_BIAS);
                add_four(&mut sums, fours[1], |place| i32::from(line[place] >> 4) - NIBBLE_BIAS);
            }
            sums
        })
    }
    fn pair_of_bytes(self, codes: &[u8; 32]) -> Self::P {
        let (pairs, _) = codes.as_chunks::<2>();
        std::array::from_fn(|lane| pairs[lane].map(|code| i16::from(code as i8)))
    }
    fn pairs_of_nibbles(self, codes: &[u8; 32]) -> [Self::P; 2] {
        let (pairs, _) = codes.as_chunks::<2>();
        [0, 4].map(|shift| {
            std::array::from_fn(|lane| pairs[lane].map(|code| i16::from(code >> shift & 0xf) - NIBBLE_BIAS as i16))
        })
    }
    fn add_products(self, values: Self::P, weights: i32, sum: Self::I) -> Self::I {
        let weights = [weights as i16, (weights >> 16) as i16].map(i32::from);
        // Weights of a fault are any number; its scale is none.
        std::array::from_fn(|lane| {
            let [a, b] = values[lane].map(i32::from);
            sum[lane].wrapping_add(a * weights[0] + b * weights[1])
        })
    }
}

/// Adds the products of a group of four codes at each position.
fn add_four(sums: &mut [i32; WIDTH], four: i32, code: impl Fn(usize) -> i32) {
    let four = four.to_le_bytes().map(|byte| i32::from(byte as i8));
    for (position, sum) in sums.iter_mut().enumerate() {
        for (k, factor) in four.iter().enumerate() {
            *sum += code(4 * position + k) * factor;
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{Integers, KEY_BIAS, NIBBLE_BIAS, QueryBlock, WIDTH};
    use lair_simd::Avx2;

    impl Integers for Avx2 {
        type I = [__m256i; 2];
        type P = [__m256i; 2];

        #[inline(always)]
        fn zero(self) -> Self::I {
            // SAFETY: the token proves AVX2; the same holds in every function below.
            unsafe { [_mm256_setzero_si256(); 2] }
        }
        #[inline(always)]
        fn to_float(self, vector: Self::I) -> [__m256; 2] {
            // SAFETY: the token proves AVX2.
            vector.map(|half| unsafe { _mm256_cvtepi32_ps(half) })
        }
        #[inline(always)]
        fn store_i16(self, vectors: [__m256; 2], words: &mut [i32; WIDTH / 2]) {
            // SAFETY: the token proves AVX2; there are 32 bytes. The pack works on halves, the permutation orders them.
            unsafe {
                let [a, b] = vectors.map(|half| _mm256_cvtps_epi32(half));
                let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(a, b));
                _mm256_storeu_si256(words.as_mut_ptr().cast(), packed);
            }
        }
        /// Byte products want one side unsigned: the key's magnitude, its sign moved to the query. A pair of products
        /// is at most 2 x 127 x 127, below 2^15.
        #[inline(always)]
        fn dots_of_bytes<const T: usize>(self, groups: &[[u8; 64]], queries: &[QueryBlock; T]) -> [Self::I; T] {
            const { assert!(KEY_BIAS == 128) };
            // SAFETY: the token proves AVX2; a group has 64 bytes.
            unsafe {
                let (ones, bias) = (_mm256_set1_epi16(1), _mm256_set1_epi8(-128));
                let mut sums = [[_mm256_setzero_si256(); 2]; T];
                for (index, group) in groups.iter().enumerate() {
                    for half in 0..2 {
                        let at = group.as_ptr().add(32 * half).cast();
                        let signed = _mm256_xor_si256(_mm256_loadu_si256(at), bias);
                        let magnitude = _mm256_abs_epi8(signed);
                        for t in 0..T {
                            let four = _mm256_set1_epi32(queries[t].fours[index]);
                            let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(four, signed));
                            sums[t][half] = _mm256_add_epi32(sums[t][half], _mm256_madd_epi16(pairs, ones));
                        }
                    }
                }
                sums
            }
        }
        /// Eight pairs of products, each at most 2 x 15 x 127, stay below 2^15 summed.
        #[inline(always)]
        fn dots_of_nibbles<const T: usize>(self, lines: &[[u8; 64]], queries: &[QueryBlock; T]) -> [Self::I; T] {
            // SAFETY: the token proves AVX2; a line has 64 bytes.
            unsafe {
                let (ones, mask) = (_mm256_set1_epi16(1), _mm256_set1_epi8(0xf));
                let mut sums = [[_mm256_setzero_si256(); 2]; T];
                for (index, line) in lines.iter().enumerate() {
                    for half in 0..2 {
                        let packed = _mm256_loadu_si256(line.as_ptr().add(32 * half).cast());
                        let low = _mm256_and_si256(packed, mask);
                        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(packed), mask);
                        for t in 0..T {
                            let fours = &queries[t].fours[2 * index..2 * index + 2];
                            let low = _mm256_maddubs_epi16(low, _mm256_set1_epi32(fours[0]));
                            let high = _mm256_maddubs_epi16(high, _mm256_set1_epi32(fours[1]));
                            sums[t][half] = _mm256_add_epi16(sums[t][half], _mm256_add_epi16(low, high));
                        }
                    }
                }
                std::array::from_fn(|t| {
                    let correction = _mm256_set1_epi32(-NIBBLE_BIAS * queries[t].sum);
                    sums[t].map(|half| _mm256_add_epi32(_mm256_madd_epi16(half, ones), correction))
                })
            }
        }
        #[inline(always)]
        fn pair_of_bytes(self, codes: &[u8; 32]) -> Self::P {
            // SAFETY: the token proves AVX2; there are 32 bytes.
            unsafe {
                let at = codes.as_ptr();
                [0, 16].map(|start| _mm256_cvtepi8_epi16(_mm_loadu_si128(at.add(start).cast())))
            }
        }
        #[inline(always)]
        fn pairs_of_nibbles(self, codes: &[u8; 32]) -> [Self::P; 2] {
            // SAFETY: the token proves AVX2; there are 32 bytes.
            unsafe {
                let at = codes.as_ptr();
                let (mask, bias) = (_mm256_set1_epi16(0xf), _mm256_set1_epi16(NIBBLE_BIAS as i16));
                let wide = [0, 16].map(|start| _mm256_cvtepu8_epi16(_mm_loadu_si128(at.add(start).cast())));
                [
                    wide.map(|half| _mm256_sub_epi16(_mm256_and_si256(half, mask), bias)),
                    wide.map(|half| _mm256_sub_epi16(_mm256_srli_epi16::<4>(half), bias)),
                ]
            }
        }
        #[inline(always)]
        fn add_products(self, values: Self::P, weights: i32, sum: Self::I) -> Self::I {
            // SAFETY: the token proves AVX2.
            unsafe {
                let weights = _mm256_set1_epi32(weights);
                std::array::from_fn(|half| _mm256_add_epi32(sum[half], _mm256_madd_epi16(values[half], weights)))
            }
        }
    }
}
