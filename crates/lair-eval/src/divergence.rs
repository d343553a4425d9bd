//! How far a model's predictions are from another's: both say how likely each token of a vocabulary is at the same places
//! of a text, and the distributions are compared place by place.
//!
//! The Kullback-Leibler divergence needs far less text than the difference of two perplexities: it is a sum of positive
//! terms, while rounding that favours some tokens and hurts others leaves a difference that wanders about its mean by
//! about `sqrt(2 * divergence / tokens)`.

/// Logits that no distribution can be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the logit of token {token} is not a number that a distribution can be made of")]
pub struct NotFinite {
    /// The first such token.
    pub token: usize,
}

/// What is found at one place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Kullback-Leibler divergence of the candidate from the reference, in nats.
    pub divergence: f64,
    /// Negative log-probability that the candidate gives the token that came.
    pub surprise: f64,
    /// The same of the reference.
    pub reference_surprise: f64,
    /// Whether both find the same token likeliest.
    pub is_same_likeliest: bool,
}

/// `ln(sum(exp(logits)))`, the terms relative to the greatest in f32, their sum in f64.
///
/// # Errors
/// If a logit is not a number or positive infinity; negative infinity is a probability of zero, unless all are.
pub fn log_sum_exp(logits: &[f32]) -> Result<f64, NotFinite> {
    let is_wrong = |logit: &f32| logit.is_nan() || *logit == f32::INFINITY;
    if let Some(token) = logits.iter().position(is_wrong) {
        return Err(NotFinite { token });
    }
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if greatest == f32::NEG_INFINITY {
        return Err(NotFinite { token: 0 });
    }
    let sum: f64 = logits.iter().map(|logit| f64::from((logit - greatest).exp())).sum();
    Ok(f64::from(greatest) + sum.ln())
}

/// What a candidate is compared with at one place.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    /// Logits, or log-probabilities.
    pub logits: &'a [f32],
    /// What makes log-probabilities of logits when it is taken off: [`log_sum_exp`] of them, 0 of log-probabilities.
    pub total: f64,
    /// Tokens of this log-probability or less count for nothing: for references that were stored with a smallest one (see
    /// [`crate::BASE_FLOOR`]).
    pub floor: f64,
}

impl<'a> Reference<'a> {
    /// Logits as they are.
    ///
    /// # Errors
    /// If one is not finite.
    pub fn of_logits(logits: &'a [f32]) -> Result<Reference<'a>, NotFinite> {
        Ok(Reference { logits, total: log_sum_exp(logits)?, floor: f64::NEG_INFINITY })
    }
}

/// Compares a candidate's logits with a reference at a place where `token` came.
///
/// # Errors
/// If a logit is not finite.
///
/// # Panics
/// If the vocabularies differ in size, or the token is in neither.
pub fn compare(logits: &[f32], reference: &Reference<'_>, token: u32) -> Result<Place, NotFinite> {
    assert_eq!(logits.len(), reference.logits.len(), "vocabularies of two sizes");
    let total = log_sum_exp(logits)?;
    let (mut divergence, mut likeliest, mut reference_likeliest) = (0.0, 0, 0);
    for (index, (&x, &y)) in logits.iter().zip(reference.logits).enumerate() {
        let log_probability = f64::from(y) - reference.total;
        if log_probability > reference.floor {
            let probability = f64::from((log_probability as f32).exp());
            divergence += probability * (log_probability - (f64::from(x) - total));
        }
        if x > logits[likeliest] {
            likeliest = index;
        }
        if y > reference.logits[reference_likeliest] {
            reference_likeliest = index;
        }
    }
    Ok(Place {
        divergence,
        surprise: total - f64::from(logits[token as usize]),
        reference_surprise: reference.total - f64::from(reference.logits[token as usize]),
        is_same_likeliest: likeliest == reference_likeliest,
    })
}

/// Sums of numbers and of their squares.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    sum: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, x: f64) {
        self.sum += x;
        self.squares += x * x;
    }

    /// The mean and its standard error.
    fn mean(&self, count: usize) -> Estimate {
        let mean = self.sum / count.max(1) as f64;
        let variance = (self.squares / count.max(1) as f64 - mean * mean).max(0.0);
        Estimate { value: mean, error: (variance / count.saturating_sub(1).max(1) as f64).sqrt() }
    }
}

/// A figure with its standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Its standard error.
    pub error: f64,
}

impl Estimate {
    /// `exp` of a figure: its error grows with its slope.
    fn exp(self) -> Estimate {
        Estimate { value: self.value.exp(), error: self.value.exp() * self.error }
    }
}

/// Sums over places.
#[derive(Clone, Debug, Default)]
pub struct Divergence {
    same_likeliest: usize,
    divergence: Moments,
    surprise: Moments,
    reference_surprise: Moments,
    excess: Moments,
    /// Of the probability of the token that came, how much larger it is than the reference's: itself, and its square.
    shift: Moments,
    shift_square: Moments,
    /// Of every place, for percentiles.
    divergences: Vec<f32>,
    shifts: Vec<f32>,
}

/// The shares of which [`Divergence::percentiles`] are given.
pub const PERCENTILES: [f64; 11] = [0.0, 0.001, 0.01, 0.05, 0.10, 0.50, 0.90, 0.95, 0.99, 0.999, 1.0];

impl Divergence {
    /// Adds a place.
    pub fn add(&mut self, place: Place) {
        let shift = (-place.surprise).exp() - (-place.reference_surprise).exp();
        self.same_likeliest += usize::from(place.is_same_likeliest);
        self.divergence.add(place.divergence);
        self.surprise.add(place.surprise);
        self.reference_surprise.add(place.reference_surprise);
        self.excess.add(place.surprise - place.reference_surprise);
        self.shift.add(shift);
        self.shift_square.add(shift * shift);
        self.divergences.push(place.divergence as f32);
        self.shifts.push(shift as f32);
    }

    /// Places that were compared.
    pub fn count(&self) -> usize {
        self.divergences.len()
    }

    /// The mean Kullback-Leibler divergence of the candidate from the reference, in nats a token.
    pub fn mean(&self) -> Estimate {
        self.divergence.mean(self.count())
    }

    /// The candidate's perplexity.
    pub fn perplexity(&self) -> Estimate {
        self.surprise.mean(self.count()).exp()
    }

    /// The reference's perplexity.
    pub fn reference_perplexity(&self) -> Estimate {
        self.reference_surprise.mean(self.count()).exp()
    }

    /// The candidate's perplexity over the reference's. Its error knows that both saw the same text.
    pub fn ratio(&self) -> Estimate {
        self.excess.mean(self.count()).exp()
    }

    /// The share of places where both find the same token likeliest, 0 to 1.
    pub fn same_likeliest(&self) -> Estimate {
        let count = self.count().max(1) as f64;
        let share = self.same_likeliest as f64 / count;
        Estimate { value: share, error: (share * (1.0 - share) / (count - 1.0).max(1.0)).sqrt() }
    }

    /// The mean of how much more probable the candidate finds the token that came, -1 to 1.
    pub fn mean_shift(&self) -> Estimate {
        self.shift.mean(self.count())
    }

    /// The root of the mean square of the same.
    pub fn root_mean_square_shift(&self) -> Estimate {
        let square = self.shift_square.mean(self.count());
        let root = square.value.sqrt();
        Estimate { value: root, error: if root > 0.0 { 0.5 / root * square.error } else { 0.0 } }
    }

    /// The divergences below which the shares of [`PERCENTILES`] lie.
    pub fn percentiles(&self) -> [f64; PERCENTILES.len()] {
        percentiles(&self.divergences)
    }

    /// The same of how much more probable the candidate finds the token that came.
    pub fn shift_percentiles(&self) -> [f64; PERCENTILES.len()] {
        percentiles(&self.shifts)
    }
}

/// Between two numbers the percentile lies on the line through both.
fn percentiles(values: &[f32]) -> [f64; PERCENTILES.len()] {
    let mut values = values.to_vec();
    values.sort_unstable_by(f32::total_cmp);
    PERCENTILES.map(|share| {
        let Some(last) = values.len().checked_sub(1) else { return 0.0 };
        let place = share * last as f64;
        let (below, part) = (place.floor() as usize, place.fract());
        f64::from(values[below]) * (1.0 - part) + f64::from(values[(below + 1).min(last)]) * part
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(found: &[f32], expected: &[f32], token: u32) -> Result<Place, NotFinite> {
        compare(found, &Reference::of_logits(expected)?, token)
    }

    #[test]
    fn equal_distributions_do_not_diverge_and_others_do_as_the_formula_has_it() {
        let mut same = Divergence::default();
        same.add(place(&[1.0, 2.0, 3.0], &[2.0, 3.0, 4.0], 1).expect("finite"));
        assert!(same.mean().value.abs() < 1e-9 && (same.ratio().value - 1.0).abs() < 1e-9);
        assert_eq!((same.count(), same.same_likeliest().value), (1, 1.0));

        // Expected halves, found a quarter and three quarters: ln 2 - (ln 3)/2 nats; token 0 is half as likely.
        let mut other = Divergence::default();
        other.add(place(&[0.0, 3f32.ln()], &[0.0, 0.0], 0).expect("finite"));
        assert!((other.mean().value - (2f64.ln() * 2.0 - 3f64.ln()) / 2.0).abs() < 1e-6, "{other:?}");
        assert!((other.ratio().value - 2.0).abs() < 1e-6 && (other.perplexity().value - 4.0).abs() < 1e-5);
        assert!((other.root_mean_square_shift().value - 0.25).abs() < 1e-6, "{other:?}");
        assert!((other.mean_shift().value + 0.25).abs() < 1e-6, "{other:?}");
        assert_eq!(place(&[0.0, f32::NAN], &[0.0, 0.0], 0), Err(NotFinite { token: 1 }));
        assert_eq!(place(&[f32::NEG_INFINITY; 2], &[0.0, 0.0], 0), Err(NotFinite { token: 0 }));
    }

    #[test]
    fn what_lies_below_the_floor_counts_for_nothing() {
        let reference = Reference { logits: &[0.0, -17.0], total: 0.0, floor: -16.0 };
        let found = compare(&[0.0, 10.0], &reference, 0).expect("finite");
        let alone = Reference { logits: &[0.0, f32::NEG_INFINITY], total: 0.0, floor: -1e30 };
        let alone = compare(&[0.0, 10.0], &alone, 0).expect("finite");
        assert!((found.divergence - alone.divergence).abs() < 1e-12);
        assert!(!found.is_same_likeliest);
    }

    #[test]
    fn percentiles_lie_on_lines_between_numbers() {
        let values: Vec<f32> = (0..=100).rev().map(|x| x as f32).collect();
        let found = percentiles(&values);
        for (found, expected) in found.iter().zip([0.0, 0.1, 1.0, 5.0, 10.0, 50.0, 90.0, 95.0, 99.0, 99.9, 100.0]) {
            assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
        }
        assert_eq!(percentiles(&[]), [0.0; PERCENTILES.len()]);
        assert_eq!(percentiles(&[2.0])[5], 2.0);
    }

    #[test]
    fn errors_shrink_with_the_root_of_the_places() {
        let mut few = Divergence::default();
        let mut many = Divergence::default();
        for index in 0..400 {
            let found = place(&[0.0, (index % 7) as f32], &[0.0, 1.0], u32::from(index % 2 == 0)).expect("finite");
            if index < 100 {
                few.add(found);
            }
            many.add(found);
        }
        assert!((few.mean().error / many.mean().error - 2.0).abs() < 0.2);
    }
}
