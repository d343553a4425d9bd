//! Sums of exponentials over long rows of numbers: what a softmax over a vocabulary is made of.

use crate::{Isa, LANES, Simd, math, vectorize};

/// Which exponentials are summed, and how: `exp((value - greatest) / temperature)` of values of at least `least`, rounded to
/// multiples of the last place of `grid` in double precision (see [`Simd::add_on_grid`]; a grid of 0 rounds nothing).
#[derive(Clone, Copy, Debug)]
pub struct Exponentials {
    /// What values are relative to.
    pub greatest: f32,
    /// What the difference is divided by.
    pub temperature: f32,
    /// Smaller values are left out; minus infinity leaves none out.
    pub least: f32,
    /// What exponentials are rounded to.
    pub grid: f64,
}

impl Exponentials {
    /// Puts the sum of each block of so many `values` behind those in `sums`. Eight running sums a block, of every eighth
    /// value each, are added as by [`Simd::sum`]: the same bits on every instruction set.
    pub fn sum_blocks(self, isa: Isa, values: &[f32], block: usize, sums: &mut Vec<f64>) {
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
}

/// As [`Simd::sum`] adds them.
#[inline(always)]
pub(crate) fn sum_of_lanes(v: [f64; LANES]) -> f64 {
    ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
}

#[inline(always)]
fn sum_blocks_with<S: Simd>(s: S, how: Exponentials, values: &[f32], block: usize, sums: &mut Vec<f64>) {
    let least = s.splat(how.least);
    for values in values.chunks(block) {
        let mut lanes = [0.0; LANES];
        for chunk in values.chunks(LANES) {
            let (x, there) = match chunk.first_chunk() {
                Some(chunk) => (s.load(chunk), (1 << LANES) - 1),
                None => (s.load_part(chunk, f32::NEG_INFINITY), (1 << chunk.len()) - 1),
            };
            let wanted = s.at_least(x, least) & there;
            if wanted == 0 {
                continue;
            }
            let x = s.sub(x, s.splat(how.greatest));
            let x = if how.temperature == 1.0 { x } else { s.div(x, s.splat(how.temperature)) };
            let found = math::exp(s, x);
            if wanted == (1 << LANES) - 1 {
                s.add_on_grid(found, how.grid, &mut lanes);
                continue;
            }
            for (lane, found) in s.to_array(found).into_iter().enumerate() {
                if wanted >> lane & 1 == 1 {
                    lanes[lane] += (f64::from(found) + how.grid) - how.grid;
                }
            }
        }
        sums.push(sum_of_lanes(lanes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As defined, value by value.
    fn naive(how: Exponentials, values: &[f32], block: usize) -> Vec<u64> {
        let sum = |values: &[f32]| {
            let mut lanes = [0.0; LANES];
            for (place, value) in values.iter().enumerate().filter(|(_, value)| **value >= how.least) {
                let relative = (value - how.greatest) / how.temperature;
                let found = math::exp(crate::Scalar, crate::Scalar.splat(relative))[0];
                lanes[place % LANES] += (f64::from(found) + how.grid) - how.grid;
            }
            sum_of_lanes(lanes).to_bits()
        };
        values.chunks(block).map(sum).collect()
    }

    #[test]
    fn every_instruction_set_sums_as_defined() {
        let special = [f32::NEG_INFINITY, f32::MIN, -200.0, -0.0, 0.0, 3.5];
        for length in [0, 1, 7, 8, 15, 16, 17, 63, 64, 65, 200, 1000] {
            let values: Vec<f32> = (0..length)
                .map(|i| if i % 11 == 3 { special[i / 11 % 6] } else { (i * 37 % 101) as f32 * 0.13 - 9.0 })
                .collect();
            for (least, temperature, grid) in [
                (f32::NEG_INFINITY, 1.0, 262_144.0),
                (f32::NEG_INFINITY, 0.8, 0.0),
                (0.0, 1.0, 262_144.0),
                (2.5, 1.7, 262_144.0),
                (f32::INFINITY, 1.0, 0.0),
            ] {
                let how = Exponentials { greatest: 4.1, temperature, least, grid };
                for block in [64, 24, 1000] {
                    for isa in Isa::available() {
                        let mut sums = Vec::new();
                        how.sum_blocks(isa, &values, block, &mut sums);
                        let sums: Vec<u64> = sums.into_iter().map(f64::to_bits).collect();
                        assert_eq!(sums, naive(how, &values, block), "{length}, {how:?}, {}", isa.name());
                    }
                }
            }
        }
    }
}
