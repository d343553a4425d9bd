//! NEON: every 64-bit Arm machine. Eight lanes are two registers.

use std::arch::aarch64::*;

use crate::{LANES, Simd};

/// Proof that the machine has NEON.
#[derive(Clone, Copy, Debug)]
pub struct Neon(());

impl Neon {
    /// The token, if the machine has the instructions.
    pub fn new() -> Option<Neon> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }
}

/// `operation` on both registers.
#[inline(always)]
fn each(a: float32x4x2_t, operation: impl Fn(float32x4_t) -> float32x4_t) -> float32x4x2_t {
    float32x4x2_t(operation(a.0), operation(a.1))
}

/// `operation` on both pairs of registers.
#[inline(always)]
fn both(
    a: float32x4x2_t,
    b: float32x4x2_t,
    operation: impl Fn(float32x4_t, float32x4_t) -> float32x4_t,
) -> float32x4x2_t {
    float32x4x2_t(operation(a.0, b.0), operation(a.1, b.1))
}

impl Simd for Neon {
    type F = float32x4x2_t;

    /// NEON is switched on everywhere, so this is a call.
    #[inline(always)]
    fn vectorize<R>(self, work: impl FnOnce() -> R) -> R {
        work()
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        // SAFETY: the token proves NEON; the same holds in every function below.
        unsafe { float32x4x2_t(vdupq_n_f32(x), vdupq_n_f32(x)) }
    }
    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> Self::F {
        // SAFETY: the array has eight elements.
        unsafe { float32x4x2_t(vld1q_f32(values.as_ptr()), vld1q_f32(values.as_ptr().add(4))) }
    }
    #[inline(always)]
    fn store(self, vector: Self::F, values: &mut [f32; LANES]) {
        // SAFETY: the array has eight elements.
        unsafe {
            vst1q_f32(values.as_mut_ptr(), vector.0);
            vst1q_f32(values.as_mut_ptr().add(4), vector.1);
        }
    }
    #[inline(always)]
    fn load_f16(self, bits: &[u16; LANES]) -> Self::F {
        // SAFETY: the array has eight elements. Conversion belongs to NEON; only arithmetic of halves is an extension.
        unsafe {
            let halves = vreinterpretq_f16_u16(vld1q_u16(bits.as_ptr()));
            float32x4x2_t(vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves))
        }
    }
    #[inline(always)]
    fn store_f16(self, vector: Self::F, bits: &mut [u16; LANES]) {
        // SAFETY: the array has eight elements. Rounding is to nearest, as the control register stands in every process.
        unsafe {
            let halves = vcvt_high_f16_f32(vcvt_f16_f32(vector.0), vector.1);
            vst1q_u16(bits.as_mut_ptr(), vreinterpretq_u16_f16(halves));
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: the token proves NEON.
        both(a, b, |a, b| unsafe { vaddq_f32(a, b) })
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: the token proves NEON.
        both(a, b, |a, b| unsafe { vsubq_f32(a, b) })
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: the token proves NEON.
        both(a, b, |a, b| unsafe { vmulq_f32(a, b) })
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: the token proves NEON.
        both(a, b, |a, b| unsafe { vdivq_f32(a, b) })
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: the token proves NEON.
        unsafe { float32x4x2_t(vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1)) }
    }
    /// By comparison: the instruction for the maximum gives NaN where one of them is.
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: the token proves NEON.
        both(a, b, |a, b| unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) })
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: the token proves NEON.
        both(a, b, |a, b| unsafe { vbslq_f32(vcltq_f32(a, b), a, b) })
    }
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        // SAFETY: the token proves NEON.
        each(a, |a| unsafe { vabsq_f32(a) })
    }
    #[inline(always)]
    fn copysign(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: the token proves NEON.
        both(a, b, |a, b| unsafe { vbslq_f32(vdupq_n_u32(1 << 31), b, a) })
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        // SAFETY: the token proves NEON.
        each(a, |a| unsafe { vrndnq_f32(a) })
    }
    #[inline(always)]
    fn power_of_two(self, n: Self::F) -> Self::F {
        // SAFETY: the token proves NEON.
        each(n, |n| unsafe {
            let exponent = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent))
        })
    }
    #[inline(always)]
    fn store_i8(self, vectors: [Self::F; 4], values: &mut [i8; 32]) {
        for (values, vector) in values.as_chunks_mut::<LANES>().0.iter_mut().zip(vectors) {
            // SAFETY: the token proves NEON; the part has eight bytes.
            unsafe {
                let words = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(vector.0)), vcvtnq_s32_f32(vector.1));
                vst1_s8(values.as_mut_ptr(), vqmovn_s16(words));
            }
        }
    }
    #[inline(always)]
    fn exchange<const DISTANCE: usize>(self, vector: Self::F) -> Self::F {
        // SAFETY: the token proves NEON.
        unsafe {
            match DISTANCE {
                1 => float32x4x2_t(vrev64q_f32(vector.0), vrev64q_f32(vector.1)),
                2 => float32x4x2_t(vextq_f32::<2>(vector.0, vector.0), vextq_f32::<2>(vector.1, vector.1)),
                4 => float32x4x2_t(vector.1, vector.0),
                _ => unreachable!("a vector has eight lanes"),
            }
        }
    }
    #[inline(always)]
    fn look_up(self, table: &[u8; 16], bytes: &mut [u8; 32]) {
        for bytes in bytes.as_chunks_mut::<16>().0 {
            // SAFETY: the token proves NEON; the table and the part have sixteen bytes.
            unsafe { vst1q_u8(bytes.as_mut_ptr(), vqtbl1q_u8(vld1q_u8(table.as_ptr()), vld1q_u8(bytes.as_ptr()))) };
        }
    }
}
