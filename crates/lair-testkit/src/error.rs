//! How far two results lie apart.

/// `mean((actual - expected)^2) / mean(expected^2)`: 0 for equal results, about 1 for unrelated ones.
///
/// # Panics
/// If the lengths differ or `expected` is empty.
pub fn normalised_mean_squared_error(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "results of different length");
    assert!(!expected.is_empty(), "no results to compare");
    let mut difference = 0.0f64;
    let mut power = 0.0f64;
    for (&a, &b) in actual.iter().zip(expected) {
        difference += (f64::from(a) - f64::from(b)).powi(2);
        power += f64::from(b).powi(2);
    }
    difference / power
}
