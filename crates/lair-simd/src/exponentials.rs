//! Sums of exponentials over long rows of numbers: what a softmax over a vocabulary is made of.
//!
//! Exponentials are counted as whole multiples of a power of two, in integers: sums are exact, so they are the same in any order, in
//! any number of lanes, and on every instruction set. Only sums of weighted values have an order, which is the same everywhere.

use crate::{Isa, LANES, Simd, math, vectorize};

/// Lanes of the sum of weighted values, on every instruction set.
pub(crate) const WEIGHTED_LANES: usize = 16;
/// Values whose products are summed in single precision: 64 to a lane.
pub(crate) const WEIGHTED_PART: usize = 64 * WEIGHTED_LANES;

/// Which exponentials are summed, and how: `exp((value - greatest) / temperature)` of values of at least `least`, each rounded to
/// the nearest multiple of `2^-fraction_bits`, ties to even.
#[derive(Clone, Copy, Debug)]
pub struct Exponentials {
    /// What values are relative to: the greatest of them, or greater.
    pub greatest: f32,
    /// What the difference is divided by.
    pub temperature: f32,
    /// Smaller values are left out; minus infinity leaves none out.
    pub least: f32,
    /// Bits after the point, 17 to 39; sums of up to 2^22 values have room.
    pub fraction_bits: u32,
}

impl Exponentials {
    /// Puts the sum of each block of so many `values` behind those in `sums`.
    pub fn sum_blocks(self, isa: Isa, values: &[f32], block: usize, sums: &mut Vec<f64>) {
        sums.reserve(values.len().div_ceil(block));
        #[cfg(target_arch = "x86_64")]
        if let Isa::Avx512Vnni(_) = isa {
            return crate::avx512::sum_blocks(isa, self, values, block, sums);
        }
        vectorize!(isa, sum_blocks_with,
            exponentials: Exponentials = self,
            values: &[f32] = values,
            block: usize = block,
            sums: &mut Vec<f64> = sums,
        );
    }

    /// The sum of all exponentials, and the sum of each times its value relative to the greatest. Temperature and `least` do not
    /// count here.
    ///
    /// The second sum has a fixed order instead of counts: [`WEIGHTED_LANES`] lanes of fused multiply-adds in single precision over
    /// [`WEIGHTED_PART`] values at a time, in double precision over those and over the lanes. Its exponentials are not rounded to multiples.
    pub fn sum_weighted(self, isa: Isa, values: &[f32]) -> (f64, f64) {
        let (mut sum, mut weighted) = (0, [0.0; WEIGHTED_LANES]);
        #[cfg(target_arch = "x86_64")]
        if let Isa::Avx512Vnni(_) = isa {
            (sum, weighted) = crate::avx512::sum_weighted(isa, self, values);
            return (self.value(sum), weighted.iter().sum());
        }
        vectorize!(isa, sum_weighted_with,
            exponentials: Exponentials = self,
            values: &[f32] = values,
            sum: &mut i64 = &mut sum,
            weighted: &mut [f64; WEIGHTED_LANES] = &mut weighted,
        );
        (self.value(sum), weighted.iter().sum())
    }

    /// What 1 counts.
    fn one(self) -> f32 {
        power_of_two(self.fraction_bits as i32)
    }

    /// What a count is worth; rounded beyond 2^53.
    pub(crate) fn value(self, count: i64) -> f64 {
        count as f64 * f64::from(power_of_two(-(self.fraction_bits as i32)))
    }
}

fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

/// Loads at most eight values and says which are there.
#[inline(always)]
fn load<S: Simd>(s: S, chunk: &[f32]) -> (S::F, u32) {
    match chunk.first_chunk() {
        Some(chunk) => (s.load(chunk), (1 << LANES) - 1),
        None => (s.load_part(chunk, f32::NEG_INFINITY), (1 << chunk.len()) - 1),
    }
}

#[inline(always)]
fn sum_blocks_with<S: Simd>(s: S, how: Exponentials, values: &[f32], block: usize, sums: &mut Vec<f64>) {
    let (least, one) = (s.splat(how.least), s.splat(how.one()));
    for values in values.chunks(block) {
        let mut lanes = [0; LANES];
        for chunk in values.chunks(LANES) {
            let (x, there) = load(s, chunk);
            let wanted = s.at_least(x, least) & there;
            if wanted == 0 {
                continue;
            }
            let x = s.sub(x, s.splat(how.greatest));
            let x = if how.temperature == 1.0 { x } else { s.div(x, s.splat(how.temperature)) };
            let mut found = s.mul(math::exp(s, x), one);
            if wanted != (1 << LANES) - 1 {
                let mut each = s.to_array(found);
                for (lane, found) in each.iter_mut().enumerate() {
                    *found = if wanted >> lane & 1 == 1 { *found } else { 0.0 };
                }
                found = s.load(&each);
            }
            s.add_rounded(found, &mut lanes);
        }
        sums.push(how.value(lanes.iter().sum()));
    }
}

#[inline(always)]
fn sum_weighted_with<S: Simd>(
    s: S,
    how: Exponentials,
    values: &[f32],
    sum: &mut i64,
    weighted: &mut [f64; WEIGHTED_LANES],
) {
    let one = s.splat(how.one());
    let mut lanes = [0; LANES];
    for part in values.chunks(WEIGHTED_PART) {
        let mut products = [s.splat(0.0); WEIGHTED_LANES / LANES];
        for row in part.chunks(WEIGHTED_LANES) {
            let mut padded = [f32::NEG_INFINITY; WEIGHTED_LANES];
            padded[..row.len()].copy_from_slice(row);
            for (chunk, product) in padded.as_chunks::<LANES>().0.iter().zip(&mut products) {
                let x = s.max(s.sub(s.load(chunk), s.splat(how.greatest)), s.splat(math::EXP_LOWEST));
                let found = math::exp(s, x);
                s.add_rounded(s.mul(found, one), &mut lanes);
                *product = s.fma(found, x, *product);
            }
        }
        for (weighted, products) in weighted.as_chunks_mut::<LANES>().0.iter_mut().zip(products) {
            weighted.iter_mut().zip(s.to_array(products)).for_each(|(sum, product)| *sum += f64::from(product));
        }
    }
    *sum = lanes.iter().sum();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scalar;

    fn exponential(how: Exponentials, value: f32) -> f64 {
        let relative = (value - how.greatest) / how.temperature;
        let found = f64::from(math::exp(Scalar, Scalar.splat(relative))[0]);
        (found * f64::from(how.one())).round_ties_even()
    }

    fn values(length: usize) -> Vec<f32> {
        let special = [f32::NEG_INFINITY, f32::MIN, -200.0, -0.0, 0.0, 3.5];
        (0..length)
            .map(|i| if i % 11 == 3 { special[i / 11 % 6] } else { (i * 37 % 101) as f32 * 0.13 - 9.03 })
            .collect()
    }

    const LENGTHS: [usize; 13] = [0, 1, 7, 8, 15, 16, 17, 63, 64, 65, 200, 1000, 5000];

    #[test]
    fn every_instruction_set_sums_as_defined() {
        for length in LENGTHS {
            let values = values(length);
            for (least, temperature, fraction_bits) in [
                (f32::NEG_INFINITY, 1.0, 34),
                (f32::NEG_INFINITY, 0.8, 39),
                (0.0, 1.0, 34),
                (2.5, 1.7, 34),
                (f32::INFINITY, 1.0, 39),
            ] {
                let how = Exponentials { greatest: 4.2, temperature, least, fraction_bits };
                for block in [64, 24, 1000, 5000] {
                    let naive = |values: &[f32]| {
                        let wanted = values.iter().filter(|&&value| value >= least);
                        wanted.map(|&value| exponential(how, value)).sum::<f64>() / f64::from(how.one())
                    };
                    let expected: Vec<f64> = values.chunks(block).map(naive).collect();
                    for isa in Isa::available() {
                        let mut sums = Vec::new();
                        how.sum_blocks(isa, &values, block, &mut sums);
                        assert_eq!(sums, expected, "{length}, {how:?}, {}", isa.name());
                    }
                }
            }
        }
    }

    #[test]
    fn every_instruction_set_weighs_as_defined() {
        for length in LENGTHS {
            let values = values(length);
            for greatest in [4.2, 30.0] {
                let how = Exponentials { greatest, temperature: 1.0, least: f32::NEG_INFINITY, fraction_bits: 34 };
                let total: f64 = values.iter().map(|&value| exponential(how, value)).sum();
                let mut weighted = [0.0; WEIGHTED_LANES];
                for part in values.chunks(WEIGHTED_PART) {
                    let mut products = [0.0f32; WEIGHTED_LANES];
                    for (place, value) in part.iter().enumerate() {
                        let relative = (value - greatest).max(math::EXP_LOWEST);
                        let found = math::exp(Scalar, Scalar.splat(relative))[0];
                        let product = &mut products[place % WEIGHTED_LANES];
                        *product = found.mul_add(relative, *product);
                    }
                    // Lanes that are not there have an infinitely small value, which may leave a trace where there is nothing else.
                    let missing = part.len().next_multiple_of(WEIGHTED_LANES) - part.len();
                    let found = math::exp(Scalar, Scalar.splat(math::EXP_LOWEST))[0];
                    for product in products.iter_mut().rev().take(missing) {
                        *product = found.mul_add(math::EXP_LOWEST, *product);
                    }
                    weighted.iter_mut().zip(products).for_each(|(sum, product)| *sum += f64::from(product));
                }
                let naive = |&value: &f32| {
                    let relative = f64::from(value - greatest).max(-1e3);
                    relative.exp() * relative
                };
                let close: f64 = values.iter().map(naive).sum();
                let weighted: f64 = weighted.iter().sum();
                assert!((weighted - close).abs() <= 1e-6 * close.abs().max(1e-30), "{weighted}, {close}");
                let expected = (total / f64::from(how.one()), weighted);
                for isa in Isa::available() {
                    assert_eq!(how.sum_weighted(isa, &values), expected, "{length}, {how:?}, {}", isa.name());
                }
            }
        }
    }
}
