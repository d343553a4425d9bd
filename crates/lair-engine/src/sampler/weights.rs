//! Weights of tokens: exponentials of logits, relative to the greatest, and their sums.
//!
//! A weight counts as a multiple of 2^-34, about 6e-11, rounded down. Sums of up to 2^19 such weights, none above 1, have at most 53
//! bits, so a double holds them without rounding: they are the same in any order, which is what lets vectors add them and lets
//! survivors stand in any order. (Beyond 2^19 tokens sums may be rounded.) What the grid takes from a probability is
//! less than 2^-34 of the greatest.

use lair_simd::{Exponentials, Isa, LANES, Range, Simd, math, vectorize};

use super::{candidates::Candidate, survey::BLOCK};

/// Bits of a weight after the point.
const FRACTION_BITS: u32 = 34;
/// Weights are summed by so many: what is counted in 32 bits at most. Each sum takes as long as some vectors.
pub(super) const SUM_BLOCK: usize = 16 * BLOCK;

/// What logits are relative to, and what the difference is multiplied by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) greatest: f32,
    inverse: f32,
}

impl Scale {
    /// Relative to the greatest logit.
    pub(super) fn new(greatest: f32) -> Self {
        Self { greatest, inverse: 1.0 }
    }

    /// Relative to the greatest logit, at a temperature.
    pub(super) fn at(greatest: f32, temperature: f32) -> Self {
        Self { greatest, inverse: inverse(temperature) }
    }

    fn exponentials(self, range: Range) -> Exponentials {
        Exponentials { greatest: self.greatest, scale: self.inverse, range, fraction_bits: FRACTION_BITS }
    }
}

/// What a temperature multiplies logits by; finite, so that the greatest stays at 0. Multiplied and not divided everywhere, as a vector
/// of sixteen takes as long to divide as to take the exponential.
pub(super) fn inverse(temperature: f32) -> f32 {
    (1.0 / temperature).min(f32::MAX)
}

/// The weight, 0 or more, as it counts. Exact in single precision too: on the grid a number has no more bits than before.
pub(super) fn on_grid(weight: f32) -> f64 {
    const ONE: f64 = (1u64 << FRACTION_BITS) as f64;
    (f64::from(weight) * ONE) as i64 as f64 / ONE
}

/// Sets each candidate's `probability` to its weight as it counts, not yet divided; returns the sum.
pub(super) fn weigh(isa: Isa, items: &mut [Candidate], greatest: f32) -> f64 {
    let mut sum = 0.0;
    vectorize!(isa, weigh_with, items: &mut [Candidate] = items, greatest: f32 = greatest, sum: &mut f64 = &mut sum);
    sum
}

#[inline(always)]
fn weigh_with<S: Simd>(s: S, items: &mut [Candidate], greatest: f32, sum: &mut f64) {
    let greatest = s.splat(greatest);
    for items in items.chunks_mut(LANES) {
        let mut logits = [f32::NEG_INFINITY; LANES];
        for (logit, item) in logits.iter_mut().zip(&*items) {
            *logit = item.logit;
        }
        let weights = s.to_array(math::exp_of_negative(s, s.sub(s.load(&logits), greatest)));
        for (item, weight) in items.iter_mut().zip(weights) {
            let weight = on_grid(weight);
            item.probability = weight as f32;
            *sum += weight;
        }
    }
}

/// Sums of the weights of each [`SUM_BLOCK`] of logits, of those within a range; returns their sum.
pub(super) fn sum_blocks(isa: Isa, logits: &[f32], scale: Scale, range: Range, sums: &mut Vec<f64>) -> f64 {
    sums.clear();
    scale.exponentials(range).sum_blocks(isa, logits, SUM_BLOCK, sums);
    sums.iter().sum()
}

/// The sum of the weights of all logits, and that of each weight, not rounded, times its logit relative to the greatest.
pub(super) fn sum_weighted(isa: Isa, logits: &[f32], greatest: f32) -> (f64, f64) {
    Scale::new(greatest).exponentials(Range::ALL).sum_weighted(isa, logits)
}

/// The first place at which the cumulated weight of logits within a range passes `uniform` times the whole; `sums` are those
/// of [`sum_blocks`] with the same arguments, and serve as room.
pub(super) fn draw(isa: Isa, logits: &[f32], scale: Scale, range: Range, sums: &mut Vec<f64>, uniform: f64) -> usize {
    let total: f64 = sums.iter().sum();
    let mut search = Search { target: uniform * total, total, before: 0.0 };
    let block = search.first(sums.iter().copied()) * SUM_BLOCK;
    let logits = &logits[block.min(logits.len())..];
    let logits = &logits[..logits.len().min(SUM_BLOCK)];
    sums.clear();
    scale.exponentials(range).sum_blocks(isa, logits, BLOCK, sums);
    let part = search.first(sums.iter().copied()) * BLOCK;
    let logits = &logits[part.min(logits.len())..];
    let logits = &logits[..logits.len().min(BLOCK)];
    let weights = of_block(isa, logits, scale).into_iter().zip(logits);
    block + part + search.first(weights.map(|(weight, &logit)| if range.has(logit) { weight } else { 0.0 }))
}

/// Where a cumulated weight passes a target.
struct Search {
    target: f64,
    total: f64,
    /// The weight of what was passed.
    before: f64,
}

impl Search {
    /// The first weight with which the target is passed.
    fn first(&mut self, weights: impl Iterator<Item = f64>) -> usize {
        for (place, weight) in weights.enumerate() {
            let with_this = self.before + weight;
            // The last one of any weight is needed where rounding makes the target the whole.
            if with_this > self.target || (with_this == self.total && weight > 0.0) {
                return place;
            }
            self.before = with_this;
        }
        0
    }
}

/// A weight times the logit that it belongs to, relative to the greatest, as it counts. At most 1/e in magnitude, so sums of
/// these have no order either.
pub(super) fn weighted_logit(weight: f32, relative: f32) -> f64 {
    // Below zero the grid is reached from the other side.
    if weight == 0.0 { 0.0 } else { -on_grid(weight * -relative) }
}

/// The weights of the logits of one block as they count.
pub(super) fn of_block(isa: Isa, logits: &[f32], scale: Scale) -> [f64; BLOCK] {
    let mut weights = [0.0; BLOCK];
    vectorize!(isa, of_block_with,
        logits: &[f32] = logits,
        scale: Scale = scale,
        weights: &mut [f64; BLOCK] = &mut weights,
    );
    weights
}

#[inline(always)]
fn of_block_with<S: Simd>(s: S, logits: &[f32], scale: Scale, weights: &mut [f64; BLOCK]) {
    for (logits, weights) in logits.chunks(LANES).zip(weights.chunks_mut(LANES)) {
        let x = s.sub(s.load_part(logits, f32::NEG_INFINITY), s.splat(scale.greatest));
        let x = if scale.inverse == 1.0 { x } else { s.mul(x, s.splat(scale.inverse)) };
        let found = s.to_array(math::exp_of_negative(s, x));
        weights.iter_mut().zip(found).for_each(|(out, weight)| *out = on_grid(weight));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_have_no_order() {
        let mut state = 3u64;
        let mut weights: Vec<f64> = (0..262_144)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                on_grid((-((state >> 40) as f32) / (1 << 20) as f32).exp())
            })
            .collect();
        let forward: f64 = weights.iter().sum();
        assert_eq!(forward, weights.iter().rev().sum::<f64>());
        weights.sort_by(f64::total_cmp);
        assert_eq!(forward, weights.iter().sum::<f64>());
        assert!(weights.iter().all(|&weight| f64::from(weight as f32) == weight));
    }
}
