//! Sums of exponentials over long rows of numbers: what a softmax over a vocabulary is made of.
//!
//! Exponentials are counted as whole multiples of a power of two, in integers: sums are exact, so they are the same in any order, in
//! any number of lanes, and on every instruction set. Only sums of weighted values have an order, which is the same everywhere.

use crate::{Isa, LANES, Range, Simd, math, vectorize};

/// Lanes of the sum of weighted values, on every instruction set.
pub(crate) const WEIGHTED_LANES: usize = 16;
/// Values whose products are summed in single precision: 64 to a lane.
pub(crate) const WEIGHTED_PART: usize = 64 * WEIGHTED_LANES;

/// Which exponentials are summed, and how: `exp((value - greatest) * scale)` of values within a range, each rounded down to a multiple of
/// `2^-fraction_bits`; [`math::exp_of_negative`] is what is meant by `exp`.
#[derive(Clone, Copy, Debug)]
pub struct Exponentials {
    /// What values are relative to: the greatest of those in the range, or greater.
    pub greatest: f32,
    /// What the difference is multiplied by: the inverse of a temperature.
    pub scale: f32,
    /// Other values are left out.
    pub range: Range,
    /// Bits after the point, 34 or 40; sums of up to 2^22 values have room.
    pub fraction_bits: u32,
}

impl Exponentials {
    /// Puts the sum of each block of so many `values` behind those in `sums`.
    ///
    /// # Panics
    /// If there are other than 34 or 40 bits after the point.
    pub fn sum_blocks(self, isa: Isa, values: &[f32], block: usize, sums: &mut Vec<f64>) {
        assert!(matches!(self.fraction_bits, 34 | 40), "{self:?}");
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

    /// The sum of all exponentials, and the sum of each times its value relative to the greatest. Scale and range do not count here.
    ///
    /// The second sum has a fixed order instead of counts: [`WEIGHTED_LANES`] lanes of fused multiply-adds in single precision over
    /// [`WEIGHTED_PART`] values at a time, in double precision over those and over the lanes. Its exponentials are not rounded to multiples.
    pub fn sum_weighted(self, isa: Isa, values: &[f32]) -> (f64, f64) {
        let (mut sum, mut weighted) = (0, [0.0; WEIGHTED_LANES]);
        #[cfg(target_arch = "x86_64")]
        if let Isa::Avx512Vnni(_) = isa {
            (sum, weighted) = crate::avx512::sum_weighted(isa, self, values);
            return (self.value(sum), natural(&weighted));
        }
        vectorize!(isa, sum_weighted_with,
            exponentials: Exponentials = self,
            values: &[f32] = values,
            sum: &mut i64 = &mut sum,
            weighted: &mut [f64; WEIGHTED_LANES] = &mut weighted,
        );
        (self.value(sum), natural(&weighted))
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

/// The sum of lanes of products with powers of two, as of powers of e.
fn natural(weighted: &[f64; WEIGHTED_LANES]) -> f64 {
    weighted.iter().sum::<f64>() * std::f64::consts::LN_2
}

#[inline(always)]
fn sum_blocks_with<S: Simd>(s: S, how: Exponentials, values: &[f32], block: usize, sums: &mut Vec<f64>) {
    let (least, most, one) = (s.splat(how.range.least), s.splat(how.range.most), s.splat(how.one()));
    for values in values.chunks(block) {
        let mut lanes = [0; LANES];
        for chunk in values.chunks(LANES) {
            let (x, there) = load(s, chunk);
            let wanted = s.at_least(x, least) & s.at_least(most, x) & there;
            if wanted == 0 {
                continue;
            }
            let x = s.sub(x, s.splat(how.greatest));
            let x = if how.scale == 1.0 { x } else { s.mul(x, s.splat(how.scale)) };
            let mut found = s.mul(math::exp_of_negative(s, x), one);
            if wanted != (1 << LANES) - 1 {
                let mut each = s.to_array(found);
                for (lane, found) in each.iter_mut().enumerate() {
                    *found = if wanted >> lane & 1 == 1 { *found } else { 0.0 };
                }
                found = s.load(&each);
            }
            s.add_floored(found, &mut lanes);
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
                let exponent = math::binary_exponent(s, s.sub(s.load(chunk), s.splat(how.greatest)));
                let found = math::exp2_of_negative(s, exponent);
                s.add_floored(s.mul(found, one), &mut lanes);
                *product = s.fma(found, exponent, *product);
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
        let relative = (value - how.greatest) * how.scale;
        let found = f64::from(math::exp_of_negative(Scalar, Scalar.splat(relative))[0]);
        (found * f64::from(how.one())).floor()
    }

    fn values(length: usize) -> Vec<f32> {
        let special = [f32::NEG_INFINITY, f32::MIN, -200.0, -0.0, 0.0, 3.5];
        (0..length)
            .map(|i| if i % 11 == 3 { special[i / 11 % 6] } else { (i * 37 % 101) as f32 * 0.13 - 9.03 })
            .collect()
    }

    const LENGTHS: [usize; 13] = [0, 1, 7, 8, 15, 16, 17, 63, 64, 65, 200, 1000, 5000];

    fn check_sums(how: Exponentials, values: &[f32], block: usize) {
        let naive = |values: &[f32]| {
            let wanted = values.iter().filter(|&&value| how.range.has(value));
            wanted.map(|&value| exponential(how, value)).sum::<f64>() / f64::from(how.one())
        };
        let expected: Vec<f64> = values.chunks(block).map(naive).collect();
        for isa in Isa::available() {
            let mut sums = Vec::new();
            how.sum_blocks(isa, values, block, &mut sums);
            assert_eq!(sums, expected, "{}, {how:?}, {block}, {}", values.len(), isa.name());
        }
    }

    #[test]
    fn every_instruction_set_sums_as_defined() {
        let range = |least, most| Range { least, most };
        for length in LENGTHS {
            let values = values(length);
            for (range, scale, fraction_bits) in [
                (Range::ALL, 1.0, 34),
                (Range::ALL, 1.25, 40),
                (range(0.0, f32::MAX), 1.0, 34),
                (range(f32::MIN, 2.5), 1.0, 34),
                (range(-3.5, 2.5), 0.6, 34),
                (range(f32::INFINITY, f32::INFINITY), 1.0, 40),
            ] {
                for block in [64, 24, 1000, 5000] {
                    check_sums(Exponentials { greatest: 4.2, scale, range, fraction_bits }, &values, block);
                }
            }
        }
    }

    /// Values above the greatest of the range, however great, are left out as others are.
    #[test]
    fn what_is_beyond_the_range_does_not_count() {
        let great = [f32::MAX, 1e30, 200.0, f32::INFINITY, f32::NAN];
        let values: Vec<f32> =
            values(1000).into_iter().enumerate().map(|(i, x)| if i % 5 == 0 { great[i / 5 % 5] } else { x }).collect();
        for scale in [1.0, 1e30] {
            let range = Range { least: -3.0, most: 2.5 };
            check_sums(Exponentials { greatest: 2.5, scale, range, fraction_bits: 34 }, &values, 100);
        }
    }

    /// Sums of lanes are as great as they can be: each exponential is 1, or as little below a multiple as can be.
    #[test]
    fn sums_have_room() {
        for fraction_bits in [34, 40] {
            for relative in [0.0, -0.3, -5.0, -12.345, -23.5] {
                let how = Exponentials { greatest: 0.0, scale: 1.0, range: Range::ALL, fraction_bits };
                for length in [1024, 4096, 5000] {
                    check_sums(how, &vec![relative; length], length);
                }
            }
        }
    }

    #[test]
    fn every_instruction_set_weighs_as_defined() {
        for length in LENGTHS {
            let values = values(length);
            for greatest in [4.2, 30.0] {
                let how = Exponentials { greatest, scale: 1.0, range: Range::ALL, fraction_bits: 34 };
                let total: f64 = values.iter().map(|&value| exponential(how, value)).sum();
                let mut weighted = [0.0; WEIGHTED_LANES];
                let of = |value: f32| {
                    let exponent = math::binary_exponent(Scalar, Scalar.splat(value - greatest));
                    (math::exp2_of_negative(Scalar, exponent)[0], exponent[0])
                };
                for part in values.chunks(WEIGHTED_PART) {
                    let mut products = [0.0f32; WEIGHTED_LANES];
                    for (place, &value) in part.iter().enumerate() {
                        let (found, exponent) = of(value);
                        let product = &mut products[place % WEIGHTED_LANES];
                        *product = found.mul_add(exponent, *product);
                    }
                    // Lanes that are not there have an infinitely small value, which may leave a trace where there is nothing else.
                    let missing = part.len().next_multiple_of(WEIGHTED_LANES) - part.len();
                    let (found, exponent) = of(f32::NEG_INFINITY);
                    for product in products.iter_mut().rev().take(missing) {
                        *product = found.mul_add(exponent, *product);
                    }
                    weighted.iter_mut().zip(products).for_each(|(sum, product)| *sum += f64::from(product));
                }
                let naive = |&value: &f32| {
                    let relative = f64::from(value - greatest).max(-1e3);
                    relative.exp() * relative
                };
                let close: f64 = values.iter().map(naive).sum();
                let weighted = natural(&weighted);
                assert!((weighted - close).abs() <= 2e-6 * close.abs().max(1e-30), "{weighted}, {close}");
                let expected = (total / f64::from(how.one()), weighted);
                for isa in Isa::available() {
                    assert_eq!(how.sum_weighted(isa, &values), expected, "{length}, {how:?}, {}", isa.name());
                }
            }
        }
    }
}
