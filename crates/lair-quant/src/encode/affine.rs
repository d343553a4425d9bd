//! Formats with mins: `value = scale * code - min`, codes from 0, scale and min not negative.
//!
//! For a given scale the codes are the nearest ones, and for given codes the best scale and min are a weighted least
//! squares fit. So 24 or 40 scales are tried, eight in a vector: 9 operations an element and vector, about 14 cycles an
//! element at two operations a cycle.

use lair_simd::{LANES, Simd};

use super::{as_half, half_bytes, inverse_or_zero};
use crate::codes::Codes;

/// The scale and the min of a sub-block.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Fit {
    pub scale: f32,
    pub min: f32,
}

/// A spread below this is none: half precision has no such scales.
const SPREAD_MIN: f32 = 1e-20;

/// The best fit found for `LENGTH` values. Tried are the scales by which the largest value gets the code
/// `code_max + from + step * i`, for i from 0 to `8 * VECTORS - 1`.
#[inline(always)]
pub(crate) fn search<S: Simd, const LENGTH: usize, const VECTORS: usize>(
    s: S,
    code_max: f32,
    (from, step): (f32, f32),
    values: &[f32; LENGTH],
    weights: &[f32; LENGTH],
) -> Fit {
    let (mut low, mut high) = (s.splat(0.0), s.splat(values[0]));
    for values in values.as_chunks::<LANES>().0 {
        let x = s.load(values);
        (low, high) = (s.min(x, low), s.max(x, high));
    }
    let smallest = -s.largest(s.sub(s.splat(0.0), low));
    let spread = s.largest(high) - smallest;
    if !(spread > SPREAD_MIN && spread.is_finite()) {
        return Fit { scale: 0.0, min: if smallest.is_finite() { -smallest } else { 0.0 } };
    }
    // Counted from the smallest value, so that the sums do not cancel where all values are far from 0.
    let mut shifted = [0.0; LENGTH];
    shifted.iter_mut().zip(values).for_each(|(shifted, x)| *shifted = x - smallest);
    let totals = Totals::of(s, &shifted, values, weights);
    let mut best = (f32::INFINITY, Fit { scale: spread / code_max, min: -smallest });
    for vector in 0..VECTORS {
        let lanes = std::array::from_fn(|lane| code_max + from + step * (vector * LANES + lane) as f32);
        let inverses = s.div(s.load(&lanes), s.splat(spread));
        totals.try_scales(s, smallest, &moments(s, code_max, inverses, &shifted, weights), &mut best);
    }
    best.1
}

/// Weighted sums over a sub-block that do not depend on the codes.
struct Totals {
    weight: f32,
    /// Of the values counted from the smallest.
    shifted: f32,
    shifted_squares: f32,
    squares: f32,
}

/// Weighted sums for eight scales: of the codes, their squares, and their products with the shifted values.
type Moments<F> = [F; 3];

#[inline(always)]
fn moments<S: Simd, const LENGTH: usize>(
    s: S,
    code_max: f32,
    inverses: S::F,
    shifted: &[f32; LENGTH],
    weights: &[f32; LENGTH],
) -> Moments<S::F> {
    let top = s.splat(code_max);
    let [mut codes, mut squares, mut products] = [s.splat(0.0); 3];
    for (y, weight) in shifted.iter().zip(weights) {
        let y = s.splat(*y);
        let code = s.min(s.round(s.mul(inverses, y)), top);
        let weighted = s.mul(s.splat(*weight), code);
        codes = s.add(codes, weighted);
        squares = s.fma(weighted, code, squares);
        products = s.fma(weighted, y, products);
    }
    [codes, squares, products]
}

impl Totals {
    #[inline(always)]
    fn of<S: Simd, const LENGTH: usize>(
        s: S,
        shifted: &[f32; LENGTH],
        values: &[f32; LENGTH],
        weights: &[f32; LENGTH],
    ) -> Totals {
        let [mut weight, mut sum, mut shifted_squares, mut squares] = [s.splat(0.0); 4];
        let chunks = shifted.as_chunks::<LANES>().0.iter().zip(values.as_chunks::<LANES>().0);
        for ((y, x), w) in chunks.zip(weights.as_chunks::<LANES>().0) {
            let (y, x, w) = (s.load(y), s.load(x), s.load(w));
            let weighted = s.mul(w, y);
            weight = s.add(weight, w);
            sum = s.add(sum, weighted);
            shifted_squares = s.fma(weighted, y, shifted_squares);
            squares = s.fma(s.mul(w, x), x, squares);
        }
        Totals {
            weight: s.sum(weight),
            shifted: s.sum(sum),
            shifted_squares: s.sum(shifted_squares),
            squares: s.sum(squares),
        }
    }

    /// Fits scale and min to the codes of eight scales, and keeps the fit of the smallest error. Where the fit would add
    /// to the values instead of subtracting, which a min cannot, the best scale without min takes its place.
    #[inline(always)]
    fn try_scales<S: Simd>(&self, s: S, smallest: f32, moments: &Moments<S::F>, best: &mut (f32, Fit)) {
        let [codes, squares, products] = *moments;
        let (weight, sum) = (s.splat(self.weight), s.splat(self.shifted));
        let determinant = s.sub(s.mul(weight, squares), s.mul(codes, codes));
        let scale = s.div(s.sub(s.mul(weight, products), s.mul(sum, codes)), determinant);
        let offset = s.div(s.sub(s.mul(squares, sum), s.mul(codes, products)), determinant);
        let error = s.sub(s.sub(s.splat(self.shifted_squares), s.mul(scale, products)), s.mul(offset, sum));
        let plain_products = s.fma(s.splat(smallest), codes, products);
        let plain_scale = s.div(plain_products, squares);
        let plain_error = s.sub(s.splat(self.squares), s.mul(plain_scale, plain_products));
        let [scale, offset, error] = [scale, offset, error].map(|lanes| s.to_array(lanes));
        let [plain_scale, plain_error] = [plain_scale, plain_error].map(|lanes| s.to_array(lanes));
        for lane in 0..LANES {
            let min = -(smallest + offset[lane]);
            let (error, fit) = if min >= 0.0 {
                (error[lane], Fit { scale: scale[lane], min })
            } else {
                (plain_error[lane], Fit { scale: plain_scale[lane], min: 0.0 })
            };
            if error < best.0 && fit.scale > 0.0 && fit.scale.is_finite() {
                *best = (error, fit);
            }
        }
    }
}

/// The whole block: multiples of a super scale and a super min for each sub-block, and the codes.
///
/// Scales and mins of the sub-blocks, rounded to multiples, are not the best multiples: their neighbours are tried as
/// well, with the codes that belong to them; then the super scale and the super min are fitted to what was chosen, and
/// all is tried once more. The better of both is kept.
#[inline(always)]
pub(crate) fn encode_super<S: Simd, const LENGTH: usize>(
    s: S,
    code_max: f32,
    steps_max: i32,
    fits: &[Fit],
    values: &[f32; 256],
    weights: &[f32; 256],
) -> Codes {
    let largest = |part: fn(&Fit) -> f32| fits.iter().map(part).fold(0.0, f32::max);
    let supers =
        (as_half(largest(|fit| fit.scale) / steps_max as f32), as_half(largest(|fit| fit.min) / steps_max as f32));
    let task = Super { code_max, steps_max, values, weights };
    let mut guesses = [(0, 0); 16];
    let inverses = (inverse_or_zero(supers.0), inverse_or_zero(supers.1));
    for (guess, fit) in guesses.iter_mut().zip(fits) {
        *guess = ((fit.scale * inverses.0).round_ties_even() as i32, (fit.min * inverses.1).round_ties_even() as i32);
    }
    let mut first = task.choose::<S, LENGTH>(s, supers, &guesses);
    let fitted = task.fit::<S, LENGTH>(s, &first);
    let mut guesses = [(0, 0); 16];
    for (sub, guess) in guesses.iter_mut().enumerate() {
        *guess = (first.0.scales[sub], first.0.mins[sub]);
    }
    if fitted != supers && fitted.0 > 0.0 && fitted.1 >= 0.0 {
        let second = task.choose::<S, LENGTH>(s, fitted, &guesses);
        if second.1 < first.1 {
            first = second;
        }
    }
    first.0
}

/// What all passes over a block share.
struct Super<'a> {
    code_max: f32,
    steps_max: i32,
    values: &'a [f32; 256],
    weights: &'a [f32; 256],
}

/// Multiples tried around a guess: of the scale in the first place, of the min in the second.
const NEIGHBOURS: [(i32, i32); 16] = [
    (0, 0),
    (0, -1),
    (0, 1),
    (1, 0),
    (1, 1),
    (1, -1),
    (-1, 0),
    (-1, -1),
    (-1, 1),
    (0, 2),
    (0, -2),
    (1, 2),
    (-1, -2),
    (2, 1),
    (2, 0),
    (-2, -1),
];

impl Super<'_> {
    /// The best multiples near the guesses, with the codes, and the error of the whole block.
    #[inline(always)]
    fn choose<S: Simd, const LENGTH: usize>(
        &self,
        s: S,
        supers: (f32, f32),
        guesses: &[(i32, i32); 16],
    ) -> (Codes, f32) {
        let mut codes = Codes::new();
        (codes.super_scale, codes.super_min) = supers;
        let mut total = 0.0;
        let subs = self.values.as_chunks::<LENGTH>().0.iter().zip(self.weights.as_chunks::<LENGTH>().0);
        for (sub, (values, weights)) in subs.enumerate() {
            let (scales, mins, error) = self.choose_sub(s, supers, guesses[sub], values, weights);
            (codes.scales[sub], codes.mins[sub]) = (scales, mins);
            total += error;
            let (scale, min) = (supers.0 * scales as f32, supers.1 * mins as f32);
            let inverse = inverse_or_zero(scale);
            for (code, x) in codes.codes[sub * LENGTH..].iter_mut().zip(values) {
                *code = ((x + min) * inverse).round_ties_even().clamp(0.0, self.code_max) as i8;
            }
        }
        (codes, total)
    }

    #[inline(always)]
    fn choose_sub<S: Simd, const LENGTH: usize>(
        &self,
        s: S,
        supers: (f32, f32),
        guess: (i32, i32),
        values: &[f32; LENGTH],
        weights: &[f32; LENGTH],
    ) -> (i32, i32, f32) {
        let mut best = (0, 0, f32::INFINITY);
        for neighbours in NEIGHBOURS.as_chunks::<LANES>().0 {
            let steps = neighbours.map(|(scale, min)| {
                ((guess.0 + scale).clamp(0, self.steps_max), (guess.1 + min).clamp(0, self.steps_max))
            });
            let scale = steps.map(|(step, _)| supers.0 * step as f32);
            let errors = errors(
                s,
                self.code_max,
                s.load(&scale),
                s.load(&scale.map(inverse_or_zero)),
                s.load(&steps.map(|(_, step)| supers.1 * step as f32)),
                (values, weights),
            );
            for (error, steps) in s.to_array(errors).into_iter().zip(steps) {
                if error < best.2 {
                    best = (steps.0, steps.1, error);
                }
            }
        }
        best
    }

    /// The super scale and super min that fit the chosen multiples and codes best, in half precision.
    #[inline(always)]
    fn fit<S: Simd, const LENGTH: usize>(&self, s: S, (codes, _): &(Codes, f32)) -> (f32, f32) {
        // value = D (scale code) - M min: normal equations of two unknowns.
        let [mut aa, mut ab, mut bb, mut ax, mut bx] = [0.0_f64; 5];
        let subs = self.values.as_chunks::<LENGTH>().0.iter().zip(self.weights.as_chunks::<LENGTH>().0);
        for (sub, (values, weights)) in subs.enumerate() {
            let mut as_float = [0.0; LENGTH];
            as_float.iter_mut().zip(&codes.codes[sub * LENGTH..]).for_each(|(float, code)| *float = f32::from(*code));
            let [w, q, qq, qx, x] = sums(s, &as_float, values, weights);
            let (scale, min) = (f64::from(codes.scales[sub]), f64::from(codes.mins[sub]));
            aa += scale * scale * qq;
            ab -= scale * min * q;
            bb += min * min * w;
            ax += scale * qx;
            bx -= min * x;
        }
        let determinant = aa * bb - ab * ab;
        if determinant > 1e-9 * aa * bb {
            let scale = (ax * bb - bx * ab) / determinant;
            let min = (bx * aa - ax * ab) / determinant;
            (as_half(scale as f32), as_half(min as f32))
        } else if aa > 0.0 {
            (as_half((ax / aa) as f32), codes.super_min)
        } else {
            (codes.super_scale, codes.super_min)
        }
    }
}

/// Weighted sums: of 1, codes, their squares, their products with the values, and the values.
#[inline(always)]
fn sums<S: Simd, const LENGTH: usize>(
    s: S,
    codes: &[f32; LENGTH],
    values: &[f32; LENGTH],
    weights: &[f32; LENGTH],
) -> [f64; 5] {
    let mut sums = [s.splat(0.0); 5];
    let chunks = codes.as_chunks::<LANES>().0.iter().zip(values.as_chunks::<LANES>().0);
    for ((q, x), w) in chunks.zip(weights.as_chunks::<LANES>().0) {
        let (q, x, w) = (s.load(q), s.load(x), s.load(w));
        let weighted = s.mul(w, q);
        sums[0] = s.add(sums[0], w);
        sums[1] = s.add(sums[1], weighted);
        sums[2] = s.fma(weighted, q, sums[2]);
        sums[3] = s.fma(weighted, x, sums[3]);
        sums[4] = s.fma(w, x, sums[4]);
    }
    sums.map(|lanes| f64::from(s.sum(lanes)))
}

/// The weighted squared errors of eight scales and mins, with the nearest codes.
#[inline(always)]
fn errors<S: Simd, const LENGTH: usize>(
    s: S,
    code_max: f32,
    scale: S::F,
    inverse: S::F,
    min: S::F,
    (values, weights): (&[f32; LENGTH], &[f32; LENGTH]),
) -> S::F {
    let (zero, top) = (s.splat(0.0), s.splat(code_max));
    let mut sum = zero;
    for (x, weight) in values.iter().zip(weights) {
        let above = s.add(s.splat(*x), min);
        let code = s.min(s.max(s.round(s.mul(above, inverse)), zero), top);
        let difference = s.sub(s.mul(scale, code), above);
        sum = s.fma(s.mul(s.splat(*weight), difference), difference, sum);
    }
    sum
}

/// A block of one scale and one smallest value, both stored in half precision: Q4_1 and Q5_1. Gives both and the codes.
#[inline(always)]
pub(crate) fn encode_alone<S: Simd>(s: S, code_max: f32, values: &[f32; 32], weights: &[f32; 32]) -> (Fit, [u8; 32]) {
    let fit = search::<S, 32, 5>(s, code_max, (-0.9, 0.05), values, weights);
    // Here nothing rounds scale and min afterwards, so a look around pays: both ends may well be cut off.
    let mut best = (f32::INFINITY, fit);
    for min_factor in MIN_FACTORS {
        let min = as_half(fit.min * min_factor);
        let scales = SCALE_FACTORS.map(|factor| as_half(fit.scale * factor));
        let inverses = s.load(&scales.map(inverse_or_zero));
        let errors = errors(s, code_max, s.load(&scales), inverses, s.splat(min), (values, weights));
        for (error, scale) in s.to_array(errors).into_iter().zip(scales) {
            if error < best.0 {
                best = (error, Fit { scale, min });
            }
        }
    }
    let fit = Fit { scale: as_half(best.1.scale), min: as_half(best.1.min) };
    let inverse = inverse_or_zero(fit.scale);
    (fit, values.map(|x| ((x + fit.min) * inverse).round_ties_even().clamp(0.0, code_max) as u8))
}

const MIN_FACTORS: [f32; 7] = [1.0, 0.97, 0.94, 0.9, 0.85, 0.8, 1.03];
const SCALE_FACTORS: [f32; LANES] = [1.0, 0.98, 0.96, 0.94, 0.92, 0.9, 1.02, 1.04];

/// Stores the super scale and the super min where most formats have them.
#[inline(always)]
pub(crate) fn store_supers(codes: &Codes, into: &mut [u8]) {
    into[..2].copy_from_slice(&half_bytes(codes.super_scale));
    into[2..4].copy_from_slice(&half_bytes(codes.super_min));
}
