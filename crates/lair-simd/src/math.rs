//! Elementary functions of vectors, equal to the bit on every instruction set.

use crate::Simd;

/// Below this `exp` is taken as of this: the smallest normal result.
pub(crate) const EXP_LOWEST: f32 = -87.336_54;
/// Above this `exp` is taken as of this: the largest finite result.
pub(crate) const EXP_HIGHEST: f32 = 88.376_26;
/// ln 2 cut to 12 bits, so that its multiples up to 2^11 are exact, and the rest (the split of the Cephes library).
pub(crate) const LN_2_HIGH: f32 = 0.693_359_4;
pub(crate) const LN_2_LOW: f32 = -2.121_944_4e-4;
/// `exp(r) = 1 + r + r^2 p(r)` for `|r| <= ln(2) / 2`: coefficients of `p`, highest power first (the Cephes library's expf).
pub(crate) const EXP_COEFFICIENTS: [f32; 6] =
    [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1];

/// `exp(x)`, relative error below 2e-7. Magnitudes past the range of f32 give its smallest or largest normal number;
/// what is no number counts as very negative.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    let x = s.min(s.max(x, s.splat(EXP_LOWEST)), s.splat(EXP_HIGHEST));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.fma(n, s.splat(-LN_2_HIGH), x);
    let r = s.fma(n, s.splat(-LN_2_LOW), r);
    let mut p = s.splat(EXP_COEFFICIENTS[0]);
    for &coefficient in &EXP_COEFFICIENTS[1..] {
        p = s.fma(p, r, s.splat(coefficient));
    }
    let value = s.add(s.fma(p, s.mul(r, r), r), s.splat(1.0));
    s.mul(value, s.power_of_two(n))
}

/// Below this a power of two is taken as of this: the smallest normal result.
pub(crate) const EXP2_LOWEST: f32 = -126.0;
/// `2^f = 1 + f p(f)` for `|f| <= 1/2`, the whole as a polynomial, highest power first: relative error below 1e-7, and none at 0
/// (least squares, weighted until the greatest errors are alike).
pub(crate) const EXP2_COEFFICIENTS: [f32; 6] =
    [1.326_472_7e-3, 9.671_513e-3, 5.550_733_6e-2, 2.402_224_2e-1, std::f32::consts::LN_2, 1.0];

/// `exp(x)` of `x <= 0`: at most 1, of 0 just that, relative error below `2e-7 + 1.2e-7 |x|`. For weights relative to the greatest,
/// where a small one need not be as exact as in [`exp`]: a third fewer operations. What is below -87 counts as that, what is no number as
/// very negative.
#[inline(always)]
pub fn exp_of_negative<S: Simd>(s: S, x: S::F) -> S::F {
    exp2_of_negative(s, binary_exponent(s, x))
}

/// The power of two that [`exp_of_negative`] takes.
#[inline(always)]
pub(crate) fn binary_exponent<S: Simd>(s: S, x: S::F) -> S::F {
    s.max(s.mul(x, s.splat(std::f32::consts::LOG2_E)), s.splat(EXP2_LOWEST))
}

/// `2^t` of `t` from [`EXP2_LOWEST`] to 0.
#[inline(always)]
pub(crate) fn exp2_of_negative<S: Simd>(s: S, t: S::F) -> S::F {
    let n = s.round(t);
    let f = s.sub(t, n);
    let mut p = s.splat(EXP2_COEFFICIENTS[0]);
    for &coefficient in &EXP2_COEFFICIENTS[1..] {
        p = s.fma(p, f, s.splat(coefficient));
    }
    s.mul(p, s.power_of_two(n))
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let e = exp(s, s.sub(s.splat(0.0), x));
    s.div(s.splat(1.0), s.add(s.splat(1.0), e))
}

/// `x * sigmoid(x)`.
#[inline(always)]
pub fn silu<S: Simd>(s: S, x: S::F) -> S::F {
    s.mul(x, sigmoid(s, x))
}

/// `tanh(x)`, absolute error below 2e-7.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let e = exp(s, s.mul(s.abs(x), s.splat(-2.0)));
    let magnitude = s.div(s.sub(s.splat(1.0), e), s.add(s.splat(1.0), e));
    s.copysign(magnitude, x)
}

/// GELU in its tanh form: `x * sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3))`.
#[inline(always)]
pub fn gelu_tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let square = s.mul(x, x);
    let inner = s.mul(s.fma(square, s.splat(0.044_715), s.splat(1.0)), s.mul(x, s.splat(1.595_769)));
    s.mul(x, sigmoid(s, inner))
}

/// GELU by the error function, `x / 2 (1 + erf(x / sqrt 2))`, absolute error below `2e-7 |x|`.
#[inline(always)]
pub fn gelu_erf<S: Simd>(s: S, x: S::F) -> S::F {
    let half = s.mul(x, s.splat(0.5));
    s.fma(half, erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2))), half)
}

/// The error function: Abramowitz and Stegun, "Handbook of Mathematical Functions", 7.1.26; absolute error 1.5e-7.
#[inline(always)]
pub fn erf<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    let magnitude = s.abs(x);
    let t = s.div(one, s.fma(magnitude, s.splat(0.327_591_1), one));
    let mut p = s.splat(1.061_405_4);
    for coefficient in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = s.fma(p, t, s.splat(coefficient));
    }
    let e = exp(s, s.sub(s.splat(0.0), s.mul(magnitude, magnitude)));
    s.copysign(s.sub(one, s.mul(s.mul(p, t), e)), x)
}

/// `x * sigmoid(1.702 x)`.
#[inline(always)]
pub fn gelu_quick<S: Simd>(s: S, x: S::F) -> S::F {
    s.mul(x, sigmoid(s, s.mul(x, s.splat(1.702))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Isa, IsaChoice, Scalar, with_simd};

    fn points() -> impl Iterator<Item = f32> {
        (-4000..4000).map(|i| i as f32 * 0.025).chain([0.0, -0.0, 1e-20, 1e20, -1e20, f32::INFINITY, f32::NEG_INFINITY])
    }

    #[inline(always)]
    fn all<S: Simd>(s: S, x: f32) -> Vec<[u32; 8]> {
        let x = s.splat(x);
        let results = [
            exp(s, x),
            exp_of_negative(s, s.min(x, s.splat(0.0))),
            sigmoid(s, x),
            silu(s, x),
            tanh(s, x),
            gelu_tanh(s, x),
            gelu_erf(s, x),
            gelu_quick(s, x),
        ];
        results.map(|v| s.to_array(v).map(f32::to_bits)).to_vec()
    }

    #[test]
    fn instruction_sets_agree_to_the_bit() {
        let isa = Isa::detect(IsaChoice::Auto);
        for x in points().chain([f32::NAN]) {
            let (vector, scalar) = (with_simd!(isa, s => all(s, x)), all(Scalar, x));
            if !x.is_nan() {
                assert_eq!(vector, scalar, "at {x}");
            }
        }
    }

    #[test]
    fn functions_are_accurate() {
        let s = Scalar;
        for x in points().filter(|x| x.abs() < 80.0) {
            let at = |f: [f32; 8]| f64::from(f[0]);
            let (v, wide) = (s.splat(x), f64::from(x));
            assert!((at(exp(s, v)) / wide.exp() - 1.0).abs() < 2e-7, "exp {x}");
            if x <= 0.0 {
                let found = at(exp_of_negative(s, v));
                assert!(found <= 1.0 && (found / wide.exp() - 1.0).abs() < 2e-7 - 1.2e-7 * wide, "exp {x}, {found}");
            }
            assert!((at(tanh(s, v)) - wide.tanh()).abs() < 2e-7, "tanh {x}");
            assert!((at(sigmoid(s, v)) - 1.0 / (1.0 + (-wide).exp())).abs() < 2e-7, "sigmoid {x}");
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044715 * wide.powi(3));
            assert!(
                (at(gelu_tanh(s, v)) - 0.5 * wide * (1.0 + inner.tanh())).abs() < 3e-7 * (1.0 + wide.abs()),
                "gelu {x}"
            );
        }
        for (x, expected) in [(0.5f32, 0.520_499_9), (1.0, 0.842_700_8), (2.0, 0.995_322_3), (-1.0, -0.842_700_8)] {
            assert!((s.to_array(erf(s, s.splat(x)))[0] - expected).abs() < 2e-7, "erf {x}");
        }
    }

    #[test]
    fn exponentials_of_negative_numbers_end_at_one_and_at_the_smallest() {
        let s = Scalar;
        let at = |x: f32| s.to_array(exp_of_negative(s, s.splat(x)))[0];
        for x in [0.0, -0.0, -1e-30, -1e-9] {
            assert_eq!(at(x), 1.0);
        }
        for x in [-87.4, -100.0, f32::MIN, f32::NEG_INFINITY, f32::NAN] {
            assert_eq!(at(x), f32::MIN_POSITIVE, "{x}");
        }
        // Never more than 1, nor more of less, but for the last bits.
        let mut before = 1.0;
        for step in 0..200_000 {
            let found = at(step as f32 * -5e-5);
            assert!(found <= 1.0 && found <= before * (1.0 + 2.4e-7), "{step}");
            before = found;
        }
    }

    #[test]
    fn bytes_are_rounded_alike() {
        let values: [f32; 32] = std::array::from_fn(|i| i as f32 * 7.5 - 120.0);
        let isa = Isa::detect(IsaChoice::Auto);
        #[inline(always)]
        fn bytes<S: Simd>(s: S, values: &[f32; 32]) -> [i8; 32] {
            let mut out = [0; 32];
            let (chunks, _) = values.as_chunks::<8>();
            s.store_i8([s.load(&chunks[0]), s.load(&chunks[1]), s.load(&chunks[2]), s.load(&chunks[3])], &mut out);
            out
        }
        let expected = values.map(|x| x.round_ties_even() as i8);
        assert_eq!(bytes(Scalar, &values), expected);
        assert_eq!(with_simd!(isa, s => bytes(s, &values)), expected);
    }

    #[test]
    fn halves_agree() {
        let isa = Isa::detect(IsaChoice::Auto);
        for x in points() {
            let (mut a, mut b) = ([0; 8], [0; 8]);
            Scalar.store_f16(Scalar.splat(x), &mut a);
            with_simd!(isa, s => s.store_f16(s.splat(x), &mut b));
            assert_eq!(a, b, "at {x}");
            assert_eq!(with_simd!(isa, s => s.to_array(s.load_f16(&a))), Scalar.load_f16(&a));
        }
    }

    #[test]
    fn comparisons_and_floored_sums_agree() {
        #[inline(always)]
        fn results<S: Simd>(s: S, x: f32, y: &[f32; 8]) -> (u32, [i64; 8]) {
            let mut sums = [5; 8];
            s.add_floored(s.mul(exp(s, s.splat(x)), s.splat(1024.0)), &mut sums);
            s.add_floored(s.load(&[0.5, 1.5, -2.5, -0.5, 1e9, -1e9, 0.999_999_9, -0.0]), &mut sums);
            (s.at_least(s.splat(x), s.load(y)), sums)
        }
        let isa = Isa::detect(IsaChoice::Auto);
        for x in points().filter(|x| *x < 10.0).chain([f32::NAN]) {
            let y = [x, -x, 0.0, f32::NAN, f32::NEG_INFINITY, f32::INFINITY, 1e-9, -2.0];
            let (bits, sums) = results(Scalar, x, &y);
            let (vector_bits, vector_sums) = with_simd!(isa, s => results(s, x, &y));
            assert_eq!(bits, vector_bits, "at {x}");
            assert!((0..8).all(|lane| bits >> lane & 1 == u32::from(x >= y[lane])), "at {x}");
            assert_eq!(sums, vector_sums, "at {x}");
            let differences: [i64; 8] = std::array::from_fn(|lane| sums[lane] - sums[7]);
            assert_eq!(differences, [0, 1, -3, -1, 1_000_000_000, -1_000_000_000, 0, 0], "at {x}");
        }
    }
}
