//! Integer lanes by NEON: sixteen lanes are four registers of i32.
//!
//! Per four positions, four codes of each and query: 2 `smull`, 1 `addp` and 1 `sadalp` for keys of 8 bits; 2 `smlal` for
//! keys of 4 bits, which are gathered in 16 bits over a whole block. Per sixteen elements of two positions and query:
//! 8 `smlal`. The dot products of Armv8.2 would do the first in one instruction; keys and values are numbers unless asked
//! otherwise, so they are left to the products with weights.
#![allow(unsafe_code)] // Intrinsics.
#![allow(clippy::needless_range_loop)] // Indices run over several arrays of registers at once.

use std::arch::aarch64::*;

use lair_simd::Neon;

use super::lanes::{Integers, QueryBlock, WIDTH};
use crate::cpu::kv_record::{KEY_BIAS, NIBBLE_BIAS};

impl Integers for Neon {
    type I = [int32x4_t; 4];
    /// The first i16 of all pairs, then the second.
    type P = [[int16x8_t; 2]; 2];

    #[inline(always)]
    fn zero(self) -> Self::I {
        // SAFETY: the token proves NEON; the same holds in every function below.
        unsafe { [vdupq_n_s32(0); 4] }
    }
    #[inline(always)]
    fn to_float(self, vector: Self::I) -> [float32x4x2_t; 2] {
        let [a, b, c, d] = vector;
        // SAFETY: the token proves NEON.
        unsafe {
            [float32x4x2_t(vcvtq_f32_s32(a), vcvtq_f32_s32(b)), float32x4x2_t(vcvtq_f32_s32(c), vcvtq_f32_s32(d))]
        }
    }
    #[inline(always)]
    fn store_i16(self, vectors: [float32x4x2_t; 2], words: &mut [i32; WIDTH / 2]) {
        for (words, vector) in words.as_chunks_mut::<4>().0.iter_mut().zip(vectors) {
            // SAFETY: the token proves NEON; there are 16 bytes.
            unsafe {
                let low = vqmovn_s32(vcvtnq_s32_f32(vector.0));
                let codes = vqmovn_high_s32(low, vcvtnq_s32_f32(vector.1));
                vst1q_s32(words.as_mut_ptr(), vreinterpretq_s32_s16(codes));
            }
        }
    }
    /// Key codes of 8 bits become signed by flipping the top bit. Two products are at most 2 x 128 x 127, below 2^15.
    #[inline(always)]
    fn dots_of_bytes<const T: usize>(self, groups: &[[u8; 64]], queries: &[QueryBlock; T]) -> [Self::I; T] {
        const { assert!(KEY_BIAS == 128) };
        let mut sums = [self.zero(); T];
        for (index, group) in groups.iter().enumerate() {
            for (quarter, codes) in group.as_chunks::<16>().0.iter().enumerate() {
                // SAFETY: the token proves NEON; a quarter of a group has 16 bytes.
                unsafe {
                    let keys = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(codes.as_ptr()), vdupq_n_u8(128)));
                    for t in 0..T {
                        let four = vreinterpretq_s8_s32(vdupq_n_s32(queries[t].fours[index]));
                        let low = vmull_s8(vget_low_s8(keys), vget_low_s8(four));
                        let high = vmull_high_s8(keys, four);
                        sums[t][quarter] = vpadalq_s16(sums[t][quarter], vpaddq_s16(low, high));
                    }
                }
            }
        }
        sums
    }
    /// Eight products, each at most 8 x 127, and two such sums stay below 2^15.
    #[inline(always)]
    fn dots_of_nibbles<const T: usize>(self, lines: &[[u8; 64]], queries: &[QueryBlock; T]) -> [Self::I; T] {
        let mut sums = [self.zero(); T];
        for quarter in 0..4 {
            // SAFETY: the token proves NEON; a quarter of a line has 16 bytes.
            unsafe {
                let bias = vdupq_n_s8(NIBBLE_BIAS as i8);
                let mut pairs = [[vdupq_n_s16(0); 2]; T];
                for (index, line) in lines.iter().enumerate() {
                    let packed = vld1q_u8(line.as_ptr().add(16 * quarter));
                    let groups = [vandq_u8(packed, vdupq_n_u8(0xf)), vshrq_n_u8::<4>(packed)];
                    for (group, codes) in groups.into_iter().enumerate() {
                        let keys = vsubq_s8(vreinterpretq_s8_u8(codes), bias);
                        for t in 0..T {
                            let four = vreinterpretq_s8_s32(vdupq_n_s32(queries[t].fours[2 * index + group]));
                            pairs[t][0] = vmlal_s8(pairs[t][0], vget_low_s8(keys), vget_low_s8(four));
                            pairs[t][1] = vmlal_high_s8(pairs[t][1], keys, four);
                        }
                    }
                }
                for t in 0..T {
                    sums[t][quarter] = vpaddlq_s16(vpaddq_s16(pairs[t][0], pairs[t][1]));
                }
            }
        }
        sums
    }
    #[inline(always)]
    fn pair_of_bytes(self, codes: &[u8; 32]) -> Self::P {
        // SAFETY: the token proves NEON; there are 32 bytes.
        unsafe {
            let pairs = vld2q_s8(codes.as_ptr().cast());
            [widen(pairs.0), widen(pairs.1)]
        }
    }
    #[inline(always)]
    fn pairs_of_nibbles(self, codes: &[u8; 32]) -> [Self::P; 2] {
        // SAFETY: the token proves NEON; there are 32 bytes.
        unsafe {
            let pairs = vld2q_u8(codes.as_ptr());
            let signed = |nibbles| widen(vsubq_s8(vreinterpretq_s8_u8(nibbles), vdupq_n_s8(NIBBLE_BIAS as i8)));
            let mask = vdupq_n_u8(0xf);
            [
                [signed(vandq_u8(pairs.0, mask)), signed(vandq_u8(pairs.1, mask))],
                [signed(vshrq_n_u8::<4>(pairs.0)), signed(vshrq_n_u8::<4>(pairs.1))],
            ]
        }
    }
    #[inline(always)]
    fn add_products(self, values: Self::P, weights: i32, sum: Self::I) -> Self::I {
        let [mut a, mut b, mut c, mut d] = sum;
        // SAFETY: the token proves NEON.
        unsafe {
            for (values, weight) in values.into_iter().zip([weights as i16, (weights >> 16) as i16]) {
                let weight = vdupq_n_s16(weight);
                a = vmlal_s16(a, vget_low_s16(values[0]), vget_low_s16(weight));
                b = vmlal_high_s16(b, values[0], weight);
                c = vmlal_s16(c, vget_low_s16(values[1]), vget_low_s16(weight));
                d = vmlal_high_s16(d, values[1], weight);
            }
        }
        [a, b, c, d]
    }
}

/// Sixteen codes as i16.
#[inline(always)]
fn widen(codes: int8x16_t) -> [int16x8_t; 2] {
    // SAFETY: only whoever has a token calls this.
    unsafe { [vmovl_s8(vget_low_s8(codes)), vmovl_high_s8(codes)] }
}
