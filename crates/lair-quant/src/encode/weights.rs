//! How much an error of each element of a block counts.

use lair_simd::Simd;

use super::BlockInput;

/// What counts where no importance is known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plain {
    /// `sqrt(mean + x^2)`, the mean of the squares of the block: as if all were of one importance.
    Spread,
    /// `|x|`.
    Magnitude,
    /// `|x|` and the root of the mean square of each 32.
    AboveMean,
}

/// What counts where the importance is known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Known {
    /// The importance itself.
    Alone,
    /// `importance * sqrt(factor * mean + x^2)`, the mean of the squares of the block.
    WithBlock(f32),
    /// `importance * sqrt(mean + x^2)`, the mean of the squares of the row.
    WithRow,
}

/// The weights of a block, in sub-blocks of `sub_length`. A sub-block without any weight gets equal ones.
///
/// The rules for known importances are those of ggml's quantizers; so are the others but for the first.
#[inline(always)]
pub(crate) fn fill<S: Simd>(
    s: S,
    input: &BlockInput<'_>,
    plain: Plain,
    known: Known,
    sub_length: usize,
    weights: &mut [f32],
) {
    match input.importance {
        None => fill_plain(s, input.values, plain, weights),
        Some(importance) => {
            let mean = match known {
                Known::Alone => None,
                Known::WithBlock(factor) => Some(factor * super::mean_square(s, input.values)),
                Known::WithRow => Some(input.row_mean_square),
            };
            for ((weight, value), importance) in weights.iter_mut().zip(input.values).zip(importance) {
                *weight = mean.map_or(*importance, |mean| importance * (mean + value * value).sqrt());
            }
        }
    }
    for weights in weights.chunks_exact_mut(sub_length) {
        let mut sum = s.splat(0.0);
        for weights in weights.as_chunks::<8>().0 {
            sum = s.add(sum, s.load(weights));
        }
        let sum = s.sum(sum);
        // Subnormal sums would lose all precision in the products that follow.
        if !(sum.is_finite() && sum >= f32::MIN_POSITIVE) {
            weights.fill(1.0);
        }
    }
}

#[inline(always)]
fn fill_plain<S: Simd>(s: S, values: &[f32], plain: Plain, weights: &mut [f32]) {
    match plain {
        Plain::Spread => {
            let mean = super::mean_square(s, values);
            weights.iter_mut().zip(values).for_each(|(weight, x)| *weight = (mean + x * x).sqrt());
        }
        Plain::Magnitude => weights.iter_mut().zip(values).for_each(|(weight, x)| *weight = x.abs()),
        Plain::AboveMean => {
            for (weights, values) in weights.chunks_exact_mut(32).zip(values.chunks_exact(32)) {
                let root = super::mean_square(s, values).sqrt();
                weights.iter_mut().zip(values).for_each(|(weight, x)| *weight = root + x.abs());
            }
        }
    }
}
