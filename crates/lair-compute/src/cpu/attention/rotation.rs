//! Turning heads by a Hadamard matrix, which spreads an outlier over all elements.
//!
//! The matrix `H` is orthogonal and its own inverse, so turned queries and turned keys have the same products as before,
//! and a sum of turned values turned once more is the sum of the values (Ashkboos et al., "QuaRot", section 4). What is
//! gained is that a block's scale is no longer that of its one largest element. `d log2 d` additions a head.

use lair_simd::{Isa, Simd, vectorize};

/// Multiplies by a Hadamard matrix of ones and minus ones over `sqrt(n)`: each run of `n` elements by itself, `n` being
/// the largest power of two that divides the length.
pub(super) fn rotate(isa: Isa, values: &mut [f32]) {
    vectorize!(isa, rotate_with, values: &mut [f32] = values);
}

/// Elements that are turned among themselves at a time: the compiler keeps them in one or two registers.
const WIDTH: usize = 8;

/// Plain code: the instruction set only says how wide the compiler may make it.
#[inline(always)]
fn rotate_with<S: Simd>(_simd: S, values: &mut [f32]) {
    if values.is_empty() {
        return;
    }
    let length = 1 << values.len().trailing_zeros();
    let factor = 1.0 / (length as f32).sqrt();
    for run in values.chunks_exact_mut(length) {
        let (wides, _) = run.as_chunks_mut::<WIDTH>();
        if wides.is_empty() {
            steps(run, 1);
        } else {
            for wide in &mut *wides {
                *wide = step_within::<4>(step_within::<2>(step_within::<1>(*wide)));
            }
            steps_of_wides(wides);
        }
        run.iter_mut().for_each(|value| *value *= factor);
    }
}

/// Sums and differences of elements `half`, `2 half` ... apart.
#[inline(always)]
fn steps(run: &mut [f32], mut half: usize) {
    while half < run.len() {
        for pair in run.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

/// The step for elements `HALF` apart.
#[inline(always)]
fn step_within<const HALF: usize>(values: [f32; WIDTH]) -> [f32; WIDTH] {
    std::array::from_fn(|index| {
        let other = values[index ^ HALF];
        if index & HALF == 0 { values[index] + other } else { other - values[index] }
    })
}

/// [`steps`] from elements [`WIDTH`] apart on.
#[inline(always)]
fn steps_of_wides(wides: &mut [[f32; WIDTH]]) {
    let mut half = 1;
    while half < wides.len() {
        for pair in wides.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                let (sum, difference): ([f32; WIDTH], [f32; WIDTH]) =
                    (std::array::from_fn(|i| a[i] + b[i]), std::array::from_fn(|i| a[i] - b[i]));
                (*a, *b) = (sum, difference);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lair_simd::IsaChoice;

    #[test]
    fn turning_twice_changes_nothing() {
        let isa = Isa::detect(IsaChoice::Auto);
        for length in [0, 1, 2, 20, 64, 80, 96, 128, 576] {
            let values: Vec<f32> = (0..length).map(|index| ((index * 37 % 101) as f32 - 50.0) / 7.0).collect();
            let mut turned = values.clone();
            rotate(isa, &mut turned);
            let mut scalar = values.clone();
            rotate(Isa::Scalar, &mut scalar);
            assert_eq!(turned, scalar, "instruction sets differ");
            let norm = |values: &[f32]| values.iter().map(|x| x * x).sum::<f32>();
            assert!((norm(&turned) - norm(&values)).abs() <= 1e-4 * norm(&values));
            rotate(isa, &mut turned);
            for (a, b) in turned.iter().zip(&values) {
                assert!((a - b).abs() < 1e-5, "{length}: {a} and {b}");
            }
        }
    }

    #[test]
    fn wide_steps_are_the_plain_ones() {
        let isa = Isa::detect(IsaChoice::Auto);
        for length in [2, 8, 16, 64, 256] {
            let values: Vec<f32> = (0..length).map(|index| ((index * 53 % 97) as f32 - 48.0) / 11.0).collect();
            let (mut turned, mut plain) = (values.clone(), values);
            rotate(isa, &mut turned);
            steps(&mut plain, 1);
            let factor = 1.0 / (length as f32).sqrt();
            plain.iter_mut().for_each(|value| *value *= factor);
            assert_eq!(turned, plain, "{length}");
        }
    }

    #[test]
    fn an_outlier_is_spread() {
        let mut values = [0.0; 64];
        values[5] = 8.0;
        rotate(Isa::Scalar, &mut values);
        assert!(values.iter().all(|value| (value.abs() - 1.0).abs() < 1e-6));
    }
}
