//! The greatest number of each block of a long row, and whether all of them can be compared.

use crate::{Isa, LANES, Simd, vectorize};

/// Numbers of a block.
pub const MAXIMA_BLOCK: usize = 64;

/// Sets `maxima` to the greatest of each [`MAXIMA_BLOCK`] of `values`, the last block as long as is left; `None` if one of the values is
/// no number or infinite upwards, which leaves anything in `maxima`. Returns the greatest of all, minus infinity of none.
///
/// # Panics
/// If there are not as many maxima as blocks.
pub fn block_maxima(isa: Isa, values: &[f32], maxima: &mut [f32]) -> Option<f32> {
    assert_eq!(maxima.len(), values.len().div_ceil(MAXIMA_BLOCK), "as many maxima as blocks");
    #[cfg(target_arch = "x86_64")]
    if let Isa::Avx512Vnni(_) = isa {
        return crate::avx512::block_maxima(isa, values, maxima);
    }
    let (mut fault, mut greatest) = (0.0, f32::NEG_INFINITY);
    vectorize!(isa, block_maxima_with,
        values: &[f32] = values,
        maxima: &mut [f32] = maxima,
        fault: &mut f32 = &mut fault,
        greatest: &mut f32 = &mut greatest,
    );
    (!fault.is_nan()).then_some(greatest)
}

#[inline(always)]
fn block_maxima_with<S: Simd>(s: S, values: &[f32], maxima: &mut [f32], fault: &mut f32, greatest: &mut f32) {
    let mut faults = s.splat(0.0);
    for (block, maximum) in values.chunks(MAXIMA_BLOCK).zip(maxima) {
        *maximum = block_maximum(s, block, &mut faults);
        if *maximum > *greatest {
            *greatest = *maximum;
        }
    }
    *fault = s.sum(faults);
}

/// The greatest of a block; `faults` becomes no number where a value is none, or infinite upwards.
#[inline(always)]
fn block_maximum<S: Simd>(s: S, block: &[f32], faults: &mut S::F) -> f32 {
    // No closures here: what is not inlined is compiled without the instruction set.
    let (pairs, rest) = block.as_chunks::<{ 2 * LANES }>();
    // Two of each, so that one does not wait for the other.
    let mut greatest = [s.splat(f32::NEG_INFINITY); 2];
    let mut fault = [s.splat(0.0); 2];
    for pair in pairs {
        let (vectors, _) = pair.as_chunks::<LANES>();
        for i in 0..2 {
            let x = s.load(&vectors[i]);
            greatest[i] = s.max(x, greatest[i]);
            // Zero times what is infinite or no number is no number; minus infinity is replaced, for it is allowed.
            fault[i] = s.fma(s.max(s.splat(f32::MIN), x), s.splat(0.0), fault[i]);
        }
    }
    for part in rest.chunks(LANES) {
        let x = s.load_part(part, f32::NEG_INFINITY);
        greatest[0] = s.max(x, greatest[0]);
        fault[0] = s.fma(s.max(s.splat(f32::MIN), x), s.splat(0.0), fault[0]);
    }
    *faults = s.add(*faults, s.add(fault[0], fault[1]));
    s.largest(s.max(greatest[0], greatest[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(length: usize, seed: usize) -> Vec<f32> {
        let special = [f32::NEG_INFINITY, f32::MIN, -0.0, 0.0, f32::MAX, 1e-40];
        let value = |i: usize| {
            if (i + seed) % 13 == 3 {
                special[(i / 13 + seed) % 6]
            } else {
                ((i + seed) * 37 % 1013) as f32 * 0.13 - 70.0
            }
        };
        (0..length).map(value).collect()
    }

    const LENGTHS: [usize; 16] = [0, 1, 7, 16, 63, 64, 65, 127, 128, 500, 1023, 1024, 1025, 1088, 2049, 5000];

    #[test]
    fn every_instruction_set_finds_the_greatest_of_each_block() {
        for length in LENGTHS {
            for seed in 0..8 {
                let mut values = values(length, seed);
                if seed == 7 {
                    values.fill(f32::NEG_INFINITY);
                }
                let greatest = |values: &[f32]| values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let expected: Vec<f32> = values.chunks(MAXIMA_BLOCK).map(greatest).collect();
                for isa in Isa::available() {
                    let mut maxima = vec![f32::NAN; expected.len()];
                    let found = block_maxima(isa, &values, &mut maxima);
                    // Zeros of both signs are equal.
                    assert_eq!((found, &maxima), (Some(greatest(&values)), &expected), "{length}, {}", isa.name());
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_compared_is_found_wherever_it_is() {
        let negative_nan = f32::from_bits(0xffc0_0001);
        for length in LENGTHS.into_iter().filter(|&length| length > 0) {
            let places = (0..length.min(40)).chain(length.saturating_sub(40)..length).chain((0..length).step_by(61));
            for place in places {
                for fault in [f32::NAN, negative_nan, f32::INFINITY, f32::from_bits(0x7f80_0001)] {
                    let mut values = values(length, 1);
                    values[place] = fault;
                    for isa in Isa::available() {
                        let mut maxima = vec![0.0; length.div_ceil(MAXIMA_BLOCK)];
                        assert_eq!(
                            block_maxima(isa, &values, &mut maxima),
                            None,
                            "{place} of {length}, {}",
                            isa.name()
                        );
                    }
                }
            }
        }
    }
}
