//! Turning heads by a Hadamard matrix, which spreads an outlier over all elements.
//!
//! The matrix `H` is orthogonal and its own inverse, so turned queries and turned keys have the same products as before,
//! and a sum of turned values turned once more is the sum of the values (Ashkboos et al., "QuaRot", section 4). What is
//! gained is that a block's scale is no longer that of its one largest element. `d log2 d` additions a head.

use lair_simd::{Isa, LANES, Simd, vectorize};

/// Multiplies by a Hadamard matrix of ones and minus ones over `sqrt(n)`: each run of `n` elements by itself, `n` being
/// the largest power of two that divides the length.
pub(super) fn rotate(isa: Isa, values: &mut [f32]) {
    vectorize!(isa, rotate_with, values: &mut [f32] = values);
}

#[inline(always)]
fn rotate_with<S: Simd>(s: S, values: &mut [f32]) {
    if values.is_empty() {
        return;
    }
    let length = 1 << values.len().trailing_zeros();
    let factor = 1.0 / (length as f32).sqrt();
    for run in values.chunks_exact_mut(length) {
        let (vectors, _) = run.as_chunks_mut::<LANES>();
        // Of a length that the compiler knows, all of it stays in registers.
        match vectors.len() {
            0 => {
                steps(run, 1);
                run.iter_mut().for_each(|value| *value *= factor);
            }
            8 => turn::<S, 8>(s, vectors, factor),
            16 => turn::<S, 16>(s, vectors, factor),
            _ => {
                vectors.iter_mut().for_each(|vector| turn::<S, 1>(s, std::slice::from_mut(vector), 1.0));
                steps_of_vectors(s, vectors);
                vectors.iter_mut().for_each(|vector| s.store(s.mul(s.load(vector), s.splat(factor)), vector));
            }
        }
    }
}

/// A run of `N` vectors.
#[inline(always)]
fn turn<S: Simd, const N: usize>(s: S, run: &mut [[f32; LANES]], factor: f32) {
    let mut vectors: [S::F; N] = std::array::from_fn(|index| s.load(&run[index]));
    for vector in &mut vectors {
        *vector = step_within::<S, 4>(s, step_within::<S, 2>(s, step_within::<S, 1>(s, *vector)));
    }
    let mut half = 1;
    while half < N {
        for low in (0..N).filter(|low| low & half == 0) {
            let (a, b) = (vectors[low], vectors[low + half]);
            (vectors[low], vectors[low + half]) = (s.add(a, b), s.sub(a, b));
        }
        half *= 2;
    }
    for (values, vector) in run.iter_mut().zip(vectors) {
        s.store(s.mul(vector, s.splat(factor)), values);
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

/// The step for elements `HALF` apart: a product with one or minus one is exact.
#[inline(always)]
fn step_within<S: Simd, const HALF: usize>(s: S, vector: S::F) -> S::F {
    let signs = s.load(&std::array::from_fn(|lane| if lane & HALF == 0 { 1.0 } else { -1.0 }));
    s.fma(vector, signs, s.exchange::<HALF>(vector))
}

/// [`steps`] from elements [`LANES`] apart on.
#[inline(always)]
fn steps_of_vectors<S: Simd>(s: S, vectors: &mut [[f32; LANES]]) {
    let mut half = 1;
    while half < vectors.len() {
        for pair in vectors.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                let (x, y) = (s.load(a), s.load(b));
                s.store(s.add(x, y), a);
                s.store(s.sub(x, y), b);
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
        for length in [2, 4, 8, 16, 32, 64, 128, 256, 512] {
            let values: Vec<f32> = (0..length).map(|index| ((index * 53 % 97) as f32 - 48.0) / 11.0).collect();
            let mut plain = values.clone();
            steps(&mut plain, 1);
            let factor = 1.0 / (length as f32).sqrt();
            plain.iter_mut().for_each(|value| *value *= factor);
            for isa in Isa::available() {
                let mut turned = values.clone();
                rotate(isa, &mut turned);
                assert_eq!(turned, plain, "{length} on {}", isa.name());
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
