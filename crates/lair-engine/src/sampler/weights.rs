//! Weights of tokens: exponentials of logits, relative to the greatest, and their sums.
//!
//! A weight counts as a multiple of 2^-34, about 6e-11. Sums of up to 2^19 such weights, none above 1, have at most 53 bits, so
//! a double holds them without rounding: they are the same in any order, which is what lets vectors add them and lets
//! survivors stand in any order. (Beyond 2^19 tokens sums may be rounded.) What the grid takes from a probability is
//! less than 2^-35 of the greatest.

use lair_simd::{Exponentials, Isa, LANES, Simd, math, vectorize};

use super::{candidates::Candidate, survey::BLOCK};

/// Bits of a weight after the point.
const FRACTION_BITS: u32 = 34;
/// Weights are summed by so many: what is counted in 32 bits at most. Each sum takes as long as some vectors.
pub(super) const SUM_BLOCK: usize = 16 * BLOCK;
/// The last place of 2^18 in double precision is 2^-34: adding and subtracting it rounds to that.
const GRID: f64 = 262_144.0;

/// The weight as it counts. Exact in single precision too: on the grid a number has no more bits than before.
pub(super) fn on_grid(weight: f32) -> f64 {
    (f64::from(weight) + GRID) - GRID
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
        let weights = s.to_array(math::exp(s, s.sub(s.load(&logits), greatest)));
        for (item, weight) in items.iter_mut().zip(weights) {
            let weight = on_grid(weight);
            item.probability = weight as f32;
            *sum += weight;
        }
    }
}

/// Sums of the weights of each [`SUM_BLOCK`] of logits, at a temperature, of logits of at least `least`; returns their sum.
pub(super) fn sum_blocks(
    isa: Isa,
    logits: &[f32],
    (greatest, temperature): (f32, f32),
    least: f32,
    sums: &mut Vec<f64>,
) -> f64 {
    sums.clear();
    let how = Exponentials { greatest, temperature, least, fraction_bits: FRACTION_BITS };
    how.sum_blocks(isa, logits, SUM_BLOCK, sums);
    sums.iter().sum()
}

/// The sum of the weights of all logits, and that of each weight, not rounded, times its logit relative to the greatest.
pub(super) fn sum_weighted(isa: Isa, logits: &[f32], greatest: f32) -> (f64, f64) {
    let least = f32::NEG_INFINITY;
    Exponentials { greatest, temperature: 1.0, least, fraction_bits: FRACTION_BITS }.sum_weighted(isa, logits)
}

/// The first place at which the cumulated weight of logits of at least `least` passes `uniform` times the whole; `sums` are those
/// of [`sum_blocks`] with the same arguments.
pub(super) fn draw(isa: Isa, logits: &[f32], scale: (f32, f32), least: f32, sums: &[f64], uniform: f64) -> usize {
    let total: f64 = sums.iter().sum();
    let target = uniform * total;
    let (mut before, mut drawn) = (0.0, 0);
    for (index, logits) in logits.chunks(SUM_BLOCK).enumerate() {
        let with_block = before + sums[index];
        let is_here = with_block > target;
        // The last one of any weight is needed where rounding makes the target the whole.
        if is_here || (with_block == total && sums[index] > 0.0) {
            for (part, logits) in logits.chunks(BLOCK).enumerate() {
                let weights = of_block(isa, logits, scale);
                for (place, (&logit, weight)) in logits.iter().zip(weights).enumerate() {
                    if weight == 0.0 || logit < least {
                        continue;
                    }
                    before += weight;
                    drawn = index * SUM_BLOCK + part * BLOCK + place;
                    if before > target {
                        return drawn;
                    }
                }
            }
        }
        before = with_block;
    }
    drawn
}

/// A weight times the logit that it belongs to, relative to the greatest, as it counts. At most 1/e in magnitude, so sums of
/// these have no order either.
pub(super) fn weighted_logit(weight: f32, relative: f32) -> f64 {
    // Below zero the grid is reached from the other side.
    if weight == 0.0 { 0.0 } else { -on_grid(weight * -relative) }
}

#[inline(always)]
fn weight<S: Simd>(s: S, logits: S::F, greatest: f32, temperature: f32) -> S::F {
    let x = s.sub(logits, s.splat(greatest));
    // Divided and not multiplied by the inverse, as where the temperature is a filter among others.
    math::exp(s, if temperature == 1.0 { x } else { s.div(x, s.splat(temperature)) })
}

/// The weights of the logits of one block as they count.
pub(super) fn of_block(isa: Isa, logits: &[f32], (greatest, temperature): (f32, f32)) -> [f64; BLOCK] {
    let mut weights = [0.0; BLOCK];
    vectorize!(isa, of_block_with,
        logits: &[f32] = logits,
        greatest: f32 = greatest,
        temperature: f32 = temperature,
        weights: &mut [f64; BLOCK] = &mut weights,
    );
    weights
}

#[inline(always)]
fn of_block_with<S: Simd>(s: S, logits: &[f32], greatest: f32, temperature: f32, weights: &mut [f64; BLOCK]) {
    for (logits, weights) in logits.chunks(LANES).zip(weights.chunks_mut(LANES)) {
        let x = s.load_part(logits, f32::NEG_INFINITY);
        let found = s.to_array(weight(s, x, greatest, temperature));
        weights.iter_mut().zip(found).for_each(|(out, weight)| *out = on_grid(weight));
    }
}

/// About the weights of the logits of one block: not counted on the grid, for what no outcome depends on.
pub(super) fn about_block(isa: Isa, logits: &[f32], greatest: f32) -> [f32; BLOCK] {
    let mut weights = [0.0; BLOCK];
    vectorize!(isa, about_block_with,
        logits: &[f32] = logits,
        greatest: f32 = greatest,
        weights: &mut [f32; BLOCK] = &mut weights,
    );
    weights
}

#[inline(always)]
fn about_block_with<S: Simd>(s: S, logits: &[f32], greatest: f32, weights: &mut [f32; BLOCK]) {
    for (logits, weights) in logits.chunks(LANES).zip(weights.as_chunks_mut::<LANES>().0) {
        let x = match logits.first_chunk() {
            Some(logits) => s.load(logits),
            None => s.load_part(logits, f32::NEG_INFINITY),
        };
        *weights = s.to_array(math::exp(s, s.sub(x, s.splat(greatest))));
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
