//! The fallback: eight lanes one after the other.

use half::f16;

use crate::{LANES, Simd};

/// No vector instructions needed.
#[derive(Clone, Copy, Debug)]
pub struct Scalar;

#[inline(always)]
fn each(a: [f32; LANES], operation: impl Fn(f32) -> f32) -> [f32; LANES] {
    a.map(operation)
}

#[inline(always)]
fn both(a: [f32; LANES], b: [f32; LANES], operation: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|lane| operation(a[lane], b[lane]))
}

impl Simd for Scalar {
    type F = [f32; LANES];

    #[inline(always)]
    fn vectorize<R>(self, work: impl FnOnce() -> R) -> R {
        work()
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }
    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> Self::F {
        *values
    }
    #[inline(always)]
    fn store(self, vector: Self::F, values: &mut [f32; LANES]) {
        *values = vector;
    }
    #[inline(always)]
    fn load_f16(self, bits: &[u16; LANES]) -> Self::F {
        bits.map(|bits| f16::from_bits(bits).to_f32())
    }
    #[inline(always)]
    fn store_f16(self, vector: Self::F, bits: &mut [u16; LANES]) {
        *bits = vector.map(|x| f16::from_f32(x).to_bits());
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        std::array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]))
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        each(a, f32::abs)
    }
    #[inline(always)]
    fn copysign(self, a: Self::F, b: Self::F) -> Self::F {
        both(a, b, f32::copysign)
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        each(a, f32::round_ties_even)
    }
    #[inline(always)]
    fn power_of_two(self, n: Self::F) -> Self::F {
        // What is out of range gives anything, as elsewhere, but does not end the process.
        each(n, |n| f32::from_bits(((n as i32).wrapping_add(127) as u32) << 23))
    }
    #[inline(always)]
    fn store_i8(self, vectors: [Self::F; 4], values: &mut [i8; 32]) {
        for (values, vector) in values.as_chunks_mut::<LANES>().0.iter_mut().zip(vectors) {
            *values = vector.map(|x| x.round_ties_even() as i8);
        }
    }
    #[inline(always)]
    fn look_up(self, table: &[u8; 16], bytes: &mut [u8; 32]) {
        *bytes = bytes.map(|byte| table[usize::from(byte & 15)]);
    }
}
