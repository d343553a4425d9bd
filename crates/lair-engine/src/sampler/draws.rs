//! Random numbers that are a function of seed, token index and draw.
//!
//! Nothing is carried from token to token, so a draw is the same in any batch, and after a sequence was dropped and
//! computed again. The function is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom
//! Number Generators", figure 17), applied to seed, index and draw in turn.

/// The draws for one token.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    seed: u64,
    index: u64,
    next: u64,
}

/// Odd, close to `2^64 / golden ratio`.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Draws {
    /// Draws for the token with this index among the generated ones.
    pub fn new(seed: u64, index: u64) -> Self {
        Self { seed, index, next: 0 }
    }

    /// Other draws for the same token, for when the token that these drew cannot be taken.
    pub(crate) fn again(self) -> Self {
        Self { next: self.next + (1 << 32), ..self }
    }

    /// A number from 0 up to but not including 1, with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        let keyed = mix(mix(self.seed.wrapping_add(GAMMA)) ^ self.index.wrapping_mul(GAMMA));
        let bits = mix(keyed.wrapping_add(self.next.wrapping_add(1).wrapping_mul(GAMMA)));
        self.next += 1;
        (bits >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_even_over_indices_seeds_and_draws() {
        let uniform = |seed, index, draw| {
            let mut draws = Draws { seed, index, next: draw };
            draws.uniform()
        };
        let functions: [&dyn Fn(u64) -> f64; 3] = [&|i| uniform(7, i, 0), &|i| uniform(i, 3, 0), &|i| uniform(7, 3, i)];
        for function in functions {
            let mut counts = [0usize; 16];
            let mut lagged = 0.0;
            for i in 0..16_000 {
                counts[(function(i) * 16.0) as usize] += 1;
                lagged += (function(i) - 0.5) * (function(i + 1) - 0.5);
            }
            let chi_square: f64 = counts.iter().map(|&count| (count as f64 - 1000.0).powi(2) / 1000.0).sum();
            // The 99.9th percentile for 15 degrees of freedom.
            assert!(chi_square < 37.7, "{chi_square}");
            // The variance of the product is 1/144.
            assert!((lagged / 16_000.0).abs() < 4.0 / 12.0 / 16_000f64.sqrt(), "{lagged}");
        }
    }

    #[test]
    fn numbers_stay_what_they_are() {
        let mut draws = Draws::new(42, 0);
        let first = [draws.uniform(), draws.uniform(), Draws::new(42, 1).uniform()];
        assert_eq!(first.map(|number| (number * 1e9) as u64), [772_056_490, 381_651_227, 333_029_937]);
    }
}
