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

/// Plain code: the instruction set only says how wide the compiler may make it.
#[inline(always)]
fn rotate_with<S: Simd>(_simd: S, values: &mut [f32]) {
    if values.is_empty() {
        return;
    }
    let length = 1 << values.len().trailing_zeros();
    let factor = 1.0 / (length as f32).sqrt();
    for run in values.chunks_exact_mut(length) {
        let mut half = 1;
        while half < length {
            for pair in run.chunks_exact_mut(2 * half) {
                let (low, high) = pair.split_at_mut(half);
                for (a, b) in low.iter_mut().zip(high) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            half *= 2;
        }
        run.iter_mut().for_each(|value| *value *= factor);
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
    fn an_outlier_is_spread() {
        let mut values = [0.0; 64];
        values[5] = 8.0;
        rotate(Isa::Scalar, &mut values);
        assert!(values.iter().all(|value| (value.abs() - 1.0).abs() < 1e-6));
    }
}
