//! Keep the surprise of what is chosen near a target: what is too surprising is dropped, by a bound that follows how
//! surprising the tokens before were (Basu et al., "Mirostat: A Neural Text Decoding Algorithm that Directly Controls
//! Perplexity", algorithm 1; the second version, algorithm 2 of its appendix, takes the bound as it is where the first
//! reckons from it how many tokens to keep).
//!
//! It takes the place of all filters and penalties, as it does in llama.cpp: only biases and the temperature come before it.
//! Surprise is in bits.

use lair_simd::Range;

use super::weights::{self, Scale};
use super::{Sampler, Sampling, temperature};

/// Which algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirostatVersion {
    /// Keeps a number of tokens, reckoned from how steeply the likeliest fall.
    One,
    /// Keeps the tokens whose surprise is within the bound.
    Two,
}

/// What Mirostat aims at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mirostat {
    /// Which algorithm.
    pub version: MirostatVersion,
    /// The surprise that is wanted, in bits.
    pub target: f32,
    /// How fast the bound follows.
    pub rate: f32,
}

impl Mirostat {
    /// As llama.cpp and Ollama have it by default: 5 bits, followed by a tenth.
    pub const DEFAULT: Self = Self { version: MirostatVersion::Two, target: 5.0, rate: 0.1 };
}

impl std::fmt::Display for Mirostat {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let version = match self.version {
            MirostatVersion::One => 1,
            MirostatVersion::Two => 2,
        };
        write!(formatter, "{version} (tau {}, eta {})", self.target, self.rate)
    }
}

/// What a sequence carries from token to token: the bound. It follows from the tokens alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MirostatState {
    bound: Option<f32>,
}

impl MirostatState {
    /// The bound for the next token: twice the target at first.
    pub fn bound(&self, mirostat: Mirostat) -> f32 {
        self.bound.unwrap_or(2.0 * mirostat.target)
    }

    /// Takes note of how likely the token was that was chosen, among those that were kept.
    pub fn note(&mut self, mirostat: Mirostat, probability: f64) {
        let surprise = -probability.log2();
        let bound =
            f64::from(self.bound(mirostat)) - f64::from(mirostat.rate) * (surprise - f64::from(mirostat.target));
        self.bound = Some(bound as f32);
    }
}

/// Tokens from which the first version reckons how steeply likelihood falls.
const STEEPNESS_TOKENS: usize = 100;

impl Sampler {
    /// Leaves as candidates what the bound allows, the temperature applied.
    pub(super) fn fill_by_mirostat(
        &mut self,
        logits: &[f32],
        greatest: f32,
        sampling: &Sampling,
        (mirostat, state): (Mirostat, &MirostatState),
    ) {
        let bound = f64::from(state.bound(mirostat));
        match mirostat.version {
            MirostatVersion::One => {
                self.fill_with_greatest(logits, STEEPNESS_TOKENS);
                let steepness = self.steepness(sampling.temperature);
                self.fill_with_greatest(logits, kept_count(steepness, bound, logits.len()));
            }
            MirostatVersion::Two => {
                let temperature = sampling.temperature;
                let scale = Scale::at(greatest, temperature);
                let total = weights::sum_blocks(self.survey.isa, logits, scale, Range::ALL, &mut self.block_sums);
                let reach = f64::from(temperature) * (total.ln() - bound * std::f64::consts::LN_2);
                let least = f64::from(greatest) + reach;
                if least > f64::from(greatest) {
                    // Even the likeliest is too surprising; something has to be chosen.
                    self.fill_with_greatest(logits, 1);
                } else {
                    self.fill(logits, least as f32);
                }
            }
        }
        temperature::apply(sampling.temperature, &mut self.candidates);
    }

    /// Takes so many of the likeliest tokens as candidates.
    fn fill_with_greatest(&mut self, logits: &[f32], count: usize) {
        let bound = self.survey.bound_of_greatest(count).filter(|_| count < logits.len());
        self.fill(logits, bound.unwrap_or(f32::NEG_INFINITY));
        self.candidates.keep_greatest(count);
    }

    /// The exponent of Zipf's law that fits the candidates best (section 3 of the paper): least squares of the logarithms of
    /// the ratios of neighbours, in order of likelihood.
    fn steepness(&self, temperature: f32) -> f64 {
        let mut sorted = [f32::NEG_INFINITY; STEEPNESS_TOKENS];
        let items = self.candidates.items();
        let count = items.len().min(STEEPNESS_TOKENS);
        sorted.iter_mut().zip(items).for_each(|(place, item)| *place = item.logit);
        sorted[..count].sort_unstable_by(|left, right| right.total_cmp(left));
        let (mut products, mut squares) = (0.0, 0.0);
        for (index, pair) in sorted[..count].windows(2).enumerate() {
            let by_rank = ((index + 2) as f64 / (index + 1) as f64).ln();
            let by_likelihood = f64::from(pair[0] - pair[1]) / f64::from(temperature);
            products += by_rank * by_likelihood;
            squares += by_rank * by_rank;
        }
        // One token alone is as steep as can be.
        if squares > 0.0 { products / squares } else { f64::INFINITY }
    }
}

/// How many tokens of a vocabulary that falls so steeply have to be kept for this bound (equation 2 of the paper).
fn kept_count(steepness: f64, bound: f64, vocabulary_size: usize) -> usize {
    let excess = steepness - 1.0;
    let size = vocabulary_size as f64;
    // `excess / (1 - size ^ -excess)`, which at 0 is nothing divided by nothing.
    let factor = if excess.abs() < 1e-9 { 1.0 / size.ln() } else { excess / (1.0 - size.powf(-excess)) };
    let count = (factor * bound.exp2()).powf(1.0 / steepness);
    // What is no number becomes nothing here, and so does a count below one.
    (count as usize).clamp(1, vocabulary_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_falls_after_surprises_and_rises_after_none() {
        let mirostat = Mirostat { target: 3.0, rate: 0.5, ..Mirostat::DEFAULT };
        let mut state = MirostatState::default();
        assert_eq!(state.bound(mirostat), 6.0);
        state.note(mirostat, 2f64.powi(-7));
        assert_eq!(state.bound(mirostat), 4.0);
        state.note(mirostat, 1.0);
        assert_eq!(state.bound(mirostat), 5.5);
    }

    #[test]
    fn a_count_is_one_at_least_and_the_vocabulary_at_most() {
        for (steepness, bound) in [(0.0, 5.0), (1.0, 5.0), (1.0 + 1e-12, 5.0), (f64::INFINITY, 5.0), (f64::NAN, 5.0)] {
            assert!((1..=1000).contains(&kept_count(steepness, bound, 1000)), "{steepness}");
        }
        assert_eq!(kept_count(2.0, 1e6, 1000), 1000);
        assert_eq!(kept_count(2.0, -50.0, 1000), 1);
        // Near an exponent of one the count goes on without a step.
        let near = |steepness| kept_count(steepness, 10.0, 100_000);
        assert_eq!(near(1.0), near(1.0 + 1e-8));
    }
}
