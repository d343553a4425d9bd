//! Formats without mins: `value = scale * code`, codes from a fixed set.
//!
//! For a given scale the codes are the nearest ones, and for given codes the best scale is a weighted least squares fit.
//! So 32 scales are tried, eight in a vector: 7 operations an element and vector, about 14 cycles an element at two
//! operations a cycle, and more where the set is a table.

use lair_simd::{LANES, Simd};

use super::{
    BlockInput, as_half, inverse_or_zero,
    weights::{self, Known, Plain},
};
use crate::codes::Codes;

/// The codes of a format.
pub(crate) trait CodeSet: Copy {
    /// The nearest codes, but for values close to the middle between two of them.
    fn nearest<S: Simd>(self, s: S, values: [S::F; 4]) -> [S::F; 4];
    /// The nearest code.
    fn nearest_one(self, value: f32) -> i8;
}

/// All integers between two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Integers {
    pub low: f32,
    pub high: f32,
}

impl CodeSet for Integers {
    #[inline(always)]
    fn nearest<S: Simd>(self, s: S, values: [S::F; 4]) -> [S::F; 4] {
        let (low, high) = (s.splat(self.low), s.splat(self.high));
        values.map(|x| s.min(s.max(s.round(x), low), high))
    }
    #[inline(always)]
    fn nearest_one(self, value: f32) -> i8 {
        value.round_ties_even().clamp(self.low, self.high) as i8
    }
}

/// A sorted table of codes, and the nearest of them for each value from -128 to 127 after it was multiplied by `zoom`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub sorted: &'static [i8],
    pub zoom: f32,
    pub nearest: &'static [f32; 256],
}

/// Makes [`Table::nearest`], by the bits of the zoomed value as i8.
pub(crate) const fn nearest_table(sorted: &[i8], zoom: i32) -> [f32; 256] {
    let mut table = [0.0; 256];
    let mut bits = 0;
    while bits < 256 {
        let value = bits as u8 as i8 as i32;
        let mut best = 0;
        let mut i = 1;
        while i < sorted.len() {
            let distance = (sorted[i] as i32 * zoom - value).abs();
            if distance < (sorted[best] as i32 * zoom - value).abs() {
                best = i;
            }
            i += 1;
        }
        table[bits] = sorted[best] as f32;
        bits += 1;
    }
    table
}

impl CodeSet for Table {
    #[inline(always)]
    fn nearest<S: Simd>(self, s: S, values: [S::F; 4]) -> [S::F; 4] {
        let (low, high, zoom) = (s.splat(-128.0), s.splat(127.0), s.splat(self.zoom));
        let mut places = [0_i8; 32];
        // Bounded first, because only numbers below 2^15 may be rounded so.
        s.store_i8(values.map(|x| s.min(s.max(s.mul(x, zoom), low), high)), &mut places);
        let mut codes = [0.0; 32];
        for (code, place) in codes.iter_mut().zip(places) {
            *code = self.nearest[usize::from(place as u8)];
        }
        let (vectors, _) = codes.as_chunks::<LANES>();
        [s.load(&vectors[0]), s.load(&vectors[1]), s.load(&vectors[2]), s.load(&vectors[3])]
    }
    #[inline(always)]
    fn nearest_one(self, value: f32) -> i8 {
        let above = self.sorted.partition_point(|code| f32::from(*code) <= value);
        let (low, high) = (above.saturating_sub(1), above.min(self.sorted.len() - 1));
        let distance = |place: usize| (f32::from(self.sorted[place]) - value).abs();
        self.sorted[if distance(high) < distance(low) { high } else { low }]
    }
}

/// The 32 scales that are tried: by which the value of largest magnitude gets these codes.
pub(crate) type Targets = [f32; 32];

/// Targets around the far end of a set, from a first one outwards in steps; the last eight stand around the other end.
pub(crate) const fn targets(far_end: f32, (from, step): (f32, f32), (other_end, other_step): (f32, f32)) -> Targets {
    let mut targets = [0.0; 32];
    let mut i = 0;
    while i < 32 {
        targets[i] = if i < 24 {
            // The far end is the low one in all formats.
            far_end - (from + step * i as f32)
        } else {
            other_end + other_step * (i as f32 - 27.0)
        };
        i += 1;
    }
    targets
}

/// Targets from a first one upwards in steps.
pub(crate) const fn targets_above(from: f32, step: f32) -> Targets {
    let mut targets = [0.0; 32];
    let mut i = 0;
    while i < 32 {
        targets[i] = from + step * i as f32;
        i += 1;
    }
    targets
}

/// The scale of the smallest weighted squared error among those tried; 0 if all values are.
#[inline(always)]
pub(crate) fn search<S: Simd, C: CodeSet, const LENGTH: usize>(
    s: S,
    set: C,
    targets: &Targets,
    values: &[f32; LENGTH],
    weights: &[f32; LENGTH],
) -> f32 {
    search_gain(s, set, targets, values, weights).1
}

/// As [`search`], with how much smaller the error is than that of all zeros.
#[inline(always)]
pub(crate) fn search_gain<S: Simd, C: CodeSet, const LENGTH: usize>(
    s: S,
    set: C,
    targets: &Targets,
    values: &[f32; LENGTH],
    weights: &[f32; LENGTH],
) -> (f32, f32) {
    let largest = value_of_largest_magnitude(s, values);
    if largest.abs() < 1e-20 || !largest.is_finite() {
        return (0.0, 0.0);
    }
    let (targets, _) = targets.as_chunks::<LANES>();
    let inverses: [S::F; 4] = std::array::from_fn(|vector| s.div(s.load(&targets[vector]), s.splat(largest)));
    let mut products = [s.splat(0.0); 4];
    let mut squares = products;
    for (x, weight) in values.iter().zip(weights) {
        let lanes = s.splat(*x);
        let codes = set.nearest(s, inverses.map(|inverse| s.mul(inverse, lanes)));
        let weight = s.splat(*weight);
        for vector in 0..4 {
            let weighted = s.mul(weight, codes[vector]);
            products[vector] = s.fma(weighted, lanes, products[vector]);
            squares[vector] = s.fma(weighted, codes[vector], squares[vector]);
        }
    }
    let mut best = (0.0, 0.0);
    for vector in 0..4 {
        let scale = s.div(products[vector], squares[vector]);
        let gains = s.to_array(s.mul(scale, products[vector]));
        for (gain, scale) in gains.into_iter().zip(s.to_array(scale)) {
            if gain > best.0 && scale.is_finite() {
                best = (gain, scale);
            }
        }
    }
    best
}

/// The value of largest magnitude, with its sign; the positive one of two.
#[inline(always)]
pub(crate) fn value_of_largest_magnitude<S: Simd>(s: S, values: &[f32]) -> f32 {
    let (mut low, mut high) = (s.splat(0.0), s.splat(0.0));
    for values in values.as_chunks::<LANES>().0 {
        let x = s.load(values);
        (low, high) = (s.min(x, low), s.max(x, high));
    }
    let (low, high) = (-s.largest(s.sub(s.splat(0.0), low)), s.largest(high));
    if -low > high { low } else { high }
}

/// The multiples that a sub-block's scale may be of the super scale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    pub low: i32,
    pub high: i32,
}

/// The whole block: multiples of a super scale for each sub-block, and the codes.
///
/// As with mins, multiples near the rounded ones are tried with their own codes, the super scale is fitted to what was
/// chosen, and all is tried once more; the better of both is kept.
#[inline(always)]
pub(crate) fn encode_super<S: Simd, C: CodeSet, const LENGTH: usize>(
    s: S,
    set: C,
    steps: Steps,
    scales: &[f32],
    values: &[f32; 256],
    weights: &[f32; 256],
) -> Codes {
    let largest =
        scales.iter().fold(0.0_f32, |largest, scale| if scale.abs() > largest.abs() { *scale } else { largest });
    // The end that reaches further out is the low one in all formats.
    let super_scale = as_half(largest / steps.low as f32);
    let inverse = inverse_or_zero(super_scale);
    let mut guesses = [0; 16];
    for (guess, scale) in guesses.iter_mut().zip(scales) {
        *guess = (scale * inverse).round_ties_even() as i32;
    }
    let task = Super { set, steps, values, weights };
    let mut first = task.choose::<S, LENGTH>(s, super_scale, &guesses);
    let fitted = task.fit::<S, LENGTH>(s, &first.0);
    if fitted != super_scale && fitted != 0.0 {
        let second = task.choose::<S, LENGTH>(s, fitted, &first.0.scales);
        if second.1 < first.1 {
            first = second;
        }
    }
    first.0
}

/// As [`encode_super`], from the values on: the weights, and the scale of each sub-block.
#[inline(always)]
pub(crate) fn search_super<S: Simd, C: CodeSet, const LENGTH: usize>(
    s: S,
    set: C,
    targets: &Targets,
    steps: Steps,
    (plain, known): (Plain, Known),
    input: &BlockInput<'_>,
) -> Codes {
    let mut weights = [0.0; 256];
    weights::fill(s, input, plain, known, LENGTH, &mut weights);
    let values: &[f32; 256] = input.block();
    let mut scales = [0.0; 16];
    let subs = values.as_chunks::<LENGTH>().0.iter().zip(weights.as_chunks::<LENGTH>().0);
    for (scale, (values, weights)) in scales.iter_mut().zip(subs) {
        *scale = search(s, set, targets, values, weights);
    }
    encode_super::<S, C, LENGTH>(s, set, steps, &scales[..256 / LENGTH], values, &weights)
}

struct Super<'a, C> {
    set: C,
    steps: Steps,
    values: &'a [f32; 256],
    weights: &'a [f32; 256],
}

/// Multiples tried around a guess.
const NEIGHBOURS: [i32; LANES] = [0, -1, 1, -2, 2, -3, 3, 4];

impl<C: CodeSet> Super<'_, C> {
    #[inline(always)]
    fn choose<S: Simd, const LENGTH: usize>(&self, s: S, super_scale: f32, guesses: &[i32; 16]) -> (Codes, f32) {
        let mut codes = Codes::new();
        codes.super_scale = super_scale;
        let mut total = 0.0;
        let subs = self.values.as_chunks::<LENGTH>().0.iter().zip(self.weights.as_chunks::<LENGTH>().0);
        for (sub, (values, weights)) in subs.enumerate() {
            let steps = NEIGHBOURS.map(|by| (guesses[sub] + by).clamp(self.steps.low, self.steps.high));
            let scales = steps.map(|step| super_scale * step as f32);
            let errors = errors(s, self.set, &scales, values, weights);
            let mut best = (0, f32::INFINITY);
            for (error, step) in errors.into_iter().zip(steps) {
                if error < best.1 {
                    best = (step, error);
                }
            }
            codes.scales[sub] = best.0;
            total += best.1;
            let inverse = inverse_or_zero(super_scale * best.0 as f32);
            for (code, x) in codes.codes[sub * LENGTH..].iter_mut().zip(values) {
                *code = self.set.nearest_one(x * inverse);
            }
        }
        (codes, total)
    }

    /// The super scale that fits the chosen multiples and codes best, in half precision.
    #[inline(always)]
    fn fit<S: Simd, const LENGTH: usize>(&self, s: S, codes: &Codes) -> f32 {
        let (mut products, mut squares) = (0.0_f64, 0.0_f64);
        let subs = self.values.as_chunks::<LENGTH>().0.iter().zip(self.weights.as_chunks::<LENGTH>().0);
        for (sub, (values, weights)) in subs.enumerate() {
            let (product, square) = sums(s, &codes.codes[sub * LENGTH..], values, weights);
            let step = f64::from(codes.scales[sub]);
            products += step * product;
            squares += step * step * square;
        }
        if squares > 0.0 { as_half((products / squares) as f32) } else { codes.super_scale }
    }
}

/// Weighted sums of codes times values, and of the squares of the codes.
#[inline(always)]
pub(crate) fn sums<S: Simd>(s: S, codes: &[i8], values: &[f32], weights: &[f32]) -> (f64, f64) {
    let (mut products, mut squares) = (s.splat(0.0), s.splat(0.0));
    let chunks = codes.as_chunks::<LANES>().0.iter().zip(values.as_chunks::<LANES>().0);
    for ((q, x), w) in chunks.zip(weights.as_chunks::<LANES>().0) {
        let q = s.load(&q.map(f32::from));
        let weighted = s.mul(s.load(w), q);
        products = s.fma(weighted, s.load(x), products);
        squares = s.fma(weighted, q, squares);
    }
    (f64::from(s.sum(products)), f64::from(s.sum(squares)))
}

/// The weighted squared errors of eight scales, with the nearest codes.
#[inline(always)]
pub(crate) fn errors<S: Simd, C: CodeSet, const LENGTH: usize>(
    s: S,
    set: C,
    scales: &[f32; LANES],
    values: &[f32; LENGTH],
    weights: &[f32; LENGTH],
) -> [f32; LANES] {
    let (scale, inverse) = (s.load(scales), s.load(&scales.map(inverse_or_zero)));
    let mut sum = s.splat(0.0);
    for (values, weights) in values.as_chunks::<4>().0.iter().zip(weights.as_chunks::<4>().0) {
        let values = values.map(|x| s.splat(x));
        let codes = set.nearest(s, values.map(|x| s.mul(x, inverse)));
        for i in 0..4 {
            let difference = s.sub(s.mul(scale, codes[i]), values[i]);
            sum = s.fma(s.mul(s.splat(weights[i]), difference), difference, sum);
        }
    }
    s.to_array(sum)
}

/// A block of one scale, stored in half precision. Gives it, and the codes.
#[inline(always)]
pub(crate) fn encode_alone<S: Simd, C: CodeSet>(
    s: S,
    set: C,
    targets: &Targets,
    values: &[f32; 32],
    weights: &[f32; 32],
) -> (f32, [i8; 32]) {
    let scale = as_half(search(s, set, targets, values, weights));
    let inverse = inverse_or_zero(scale);
    (scale, values.map(|x| set.nearest_one(x * inverse)))
}
