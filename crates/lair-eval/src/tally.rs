//! Counting answers: how many were right, and how sure that is.

/// How one task was answered, in up to three ways of choosing among the same scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// By the log-probability of the whole answer, or a generated answer's being right.
    pub plain: bool,
    /// By the log-probability for each byte of the answer.
    pub by_byte: bool,
    /// By the log-probability for each token of the answer.
    pub by_token: bool,
}

/// A share of right answers with its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accuracy {
    /// Right answers.
    pub right: usize,
    /// All answers.
    pub count: usize,
}

/// Of a normal distribution, what 95 % lie within.
const Z_95: f64 = 1.959_963_984_540_054;

impl Accuracy {
    /// The share of right answers, 0 to 1; 0 before the first.
    pub fn share(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.right as f64 / self.count as f64 }
    }

    /// The interval that holds the true share with a probability of 95 % (Wilson, "Probable Inference, the Law of Succession,
    /// and Statistical Inference", 1927).
    pub fn interval(&self) -> (f64, f64) {
        if self.count == 0 {
            return (0.0, 1.0);
        }
        let (share, count) = (self.share(), self.count as f64);
        let spread = Z_95 * Z_95 / count;
        let centre = (share + spread / 2.0) / (1.0 + spread);
        let half = Z_95 * (share * (1.0 - share) / count + spread / (4.0 * count)).sqrt() / (1.0 + spread);
        ((centre - half).max(0.0), (centre + half).min(1.0))
    }
}

/// All answers so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    count: usize,
    plain: usize,
    by_byte: usize,
    by_token: usize,
}

impl Tally {
    /// Counts one.
    pub fn add(&mut self, verdict: Verdict) {
        self.count += 1;
        self.plain += usize::from(verdict.plain);
        self.by_byte += usize::from(verdict.by_byte);
        self.by_token += usize::from(verdict.by_token);
    }

    /// By the log-probability of whole answers, or of generated answers those that are right.
    pub fn plain(&self) -> Accuracy {
        Accuracy { right: self.plain, count: self.count }
    }

    /// By the log-probability for each byte.
    pub fn by_byte(&self) -> Accuracy {
        Accuracy { right: self.by_byte, count: self.count }
    }

    /// By the log-probability for each token.
    pub fn by_token(&self) -> Accuracy {
        Accuracy { right: self.by_token, count: self.count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_wilson_s() {
        // Values of SciPy: `binomtest(right, count).proportion_ci(method="wilson")`.
        for (right, count, low, high) in
            [(0, 10, 0.0, 0.277_532_8), (5, 10, 0.236_593_1, 0.763_406_9), (100, 400, 0.210_079_0, 0.294_677_1)]
        {
            let (found_low, found_high) = Accuracy { right, count }.interval();
            assert!(
                (found_low - low).abs() < 1e-6 && (found_high - high).abs() < 1e-6,
                "{right} of {count}: {found_low} {found_high}"
            );
        }
        assert_eq!(Accuracy { right: 0, count: 0 }.interval(), (0.0, 1.0));
    }

    #[test]
    fn each_way_of_choosing_is_counted_by_itself() {
        let mut tally = Tally::default();
        tally.add(Verdict { plain: true, by_byte: false, by_token: true });
        tally.add(Verdict { plain: false, by_byte: true, by_token: true });
        assert_eq!((tally.plain().right, tally.by_byte().right, tally.by_token().right), (1, 1, 2));
        assert_eq!(tally.plain().share(), 0.5);
    }
}
