//! What a request says about sampling, and the range of each parameter.

use super::mirostat::{Mirostat, MirostatVersion};

/// A step that drops tokens or changes how sharply they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Keep logits within so many standard deviations of the greatest.
    TopNSigma,
    /// Keep so many of the most likely.
    TopK,
    /// Keep those whose surprise is nearest to the expected.
    TypicalP,
    /// Keep the most likely that together have this probability.
    TopP,
    /// Keep those at least so likely, relative to the most likely.
    MinP,
    /// Now and then, drop all but the least likely of the likely ones.
    Xtc,
    /// Divide the logits.
    Temperature,
}

impl Filter {
    /// The order that llama.cpp uses by default (`common_params_sampling::samplers`), after penalties and DRY.
    pub const DEFAULT_ORDER: [Self; 7] =
        [Self::TopNSigma, Self::TopK, Self::TypicalP, Self::TopP, Self::MinP, Self::Xtc, Self::Temperature];
}

/// Penalty on tokens that would continue a repetition ("Don't Repeat Yourself", text-generation-webui PR 5677).
#[derive(Clone, Debug, PartialEq)]
pub struct Dry {
    /// Factor of the penalty; 0 is off.
    pub multiplier: f32,
    /// The penalty is `multiplier * base ^ (repeated_length - allowed_length)`.
    pub base: f32,
    /// Repetitions shorter than this are free.
    pub allowed_length: usize,
    /// Tokens that are looked at.
    pub last_n: usize,
    /// Sequences of tokens that no repetition reaches across.
    pub breakers: Vec<Vec<u32>>,
}

impl Default for Dry {
    fn default() -> Self {
        Self { multiplier: 0.0, base: 1.75, allowed_length: 2, last_n: 64, breakers: Vec::new() }
    }
}

/// How tokens are chosen. The default draws from the model's own distribution.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 or less is greedy.
    pub temperature: f32,
    /// How far the temperature may go from there, with how evenly the candidates are likely; 0 is off.
    pub temperature_range: f32,
    /// How the one follows from the other: 1 in proportion, above later, below sooner.
    pub temperature_exponent: f32,
    /// Keeps surprise near a target, in place of all filters and penalties.
    pub mirostat: Option<Mirostat>,
    /// See [`Filter::TopK`]; 0 is off.
    pub top_k: usize,
    /// See [`Filter::TopP`]; 1 is off.
    pub top_p: f32,
    /// See [`Filter::MinP`]; 0 is off.
    pub min_p: f32,
    /// See [`Filter::TypicalP`]; 1 is off.
    pub typical_p: f32,
    /// See [`Filter::TopNSigma`]; 0 or less is off.
    pub top_n_sigma: f32,
    /// How often [`Filter::Xtc`] acts; 0 is off.
    pub xtc_probability: f32,
    /// What counts as likely there; above 0.5 nothing is dropped.
    pub xtc_threshold: f32,
    /// Divides positive and multiplies other logits of tokens seen lately; 1 is off.
    pub repeat_penalty: f32,
    /// Taken from logits of tokens seen lately; 0 is off.
    pub presence_penalty: f32,
    /// Taken from logits of tokens seen lately, for each time; 0 is off.
    pub frequency_penalty: f32,
    /// How many tokens, prompt included, "lately" means; 0 is off.
    pub penalty_last_n: usize,
    /// Penalty on repetitions.
    pub dry: Dry,
    /// Added to the logits of tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Which draws are made; `None` takes one that no other request has.
    pub seed: Option<u64>,
    /// The filters that apply, in order.
    pub order: Vec<Filter>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            temperature_range: 0.0,
            temperature_exponent: 1.0,
            mirostat: None,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            top_n_sigma: 0.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            repeat_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            penalty_last_n: 64,
            dry: Dry::default(),
            logit_bias: Vec::new(),
            seed: None,
            order: Filter::DEFAULT_ORDER.to_vec(),
        }
    }
}

/// A parameter out of its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{parameter} is {found}, {expected} expected")]
pub struct SamplingError {
    /// Which.
    pub parameter: &'static str,
    /// Its value.
    pub found: f32,
    /// The range.
    pub expected: &'static str,
}

/// Largest magnitude of penalties and biases: far beyond any logit, far from overflow.
const CHANGE_MAX: f32 = 1e6;

/// Most bits of surprise to aim at: far beyond any vocabulary.
const BITS_MAX: f32 = 1e3;

/// Largest repeat penalty; also what its inverse is bounded by.
const REPEAT_MAX: f32 = 1e3;

impl Sampling {
    /// The most likely token, always.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Whether nothing is drawn.
    pub fn is_greedy(&self) -> bool {
        // From 0 a dynamic temperature still rises.
        self.temperature < 0.0 || (self.temperature == 0.0 && !self.has_dynamic_temperature())
    }

    /// Takes what is said about Mirostat under the names that llama.cpp and Ollama have for it: its version (0 is off), the
    /// surprise to aim at, the rate to follow it with. What is not said stays.
    ///
    /// # Errors
    /// If there is no such version.
    pub fn set_mirostat(
        &mut self,
        version: Option<i64>,
        target: Option<f32>,
        rate: Option<f32>,
    ) -> Result<(), SamplingError> {
        let base = self.mirostat.unwrap_or(Mirostat::DEFAULT);
        self.mirostat = match version {
            None => self.mirostat,
            Some(0) => None,
            Some(1) => Some(Mirostat { version: MirostatVersion::One, ..base }),
            Some(2) => Some(Mirostat { version: MirostatVersion::Two, ..base }),
            Some(other) => {
                return Err(SamplingError { parameter: "mirostat", found: other as f32, expected: "0, 1 or 2" });
            }
        };
        if let Some(mirostat) = &mut self.mirostat {
            mirostat.target = target.unwrap_or(mirostat.target);
            mirostat.rate = rate.unwrap_or(mirostat.rate);
        }
        Ok(())
    }

    /// Whether the temperature depends on the candidates.
    pub fn has_dynamic_temperature(&self) -> bool {
        self.temperature_range > 0.0 && self.mirostat.is_none() && self.order.contains(&Filter::Temperature)
    }

    /// Refuses parameters out of their range, NaN among them.
    pub fn check(&self) -> Result<(), SamplingError> {
        let change = "a number from -1000000 to 1000000";
        let fraction = "a number from 0 to 1";
        check("temperature", self.temperature, -CHANGE_MAX, CHANGE_MAX, change)?;
        let positive = "a number from 0 to 1000000";
        check("dynatemp_range", self.temperature_range, 0.0, CHANGE_MAX, positive)?;
        check("dynatemp_exponent", self.temperature_exponent, 0.0, CHANGE_MAX, positive)?;
        if let Some(mirostat) = self.mirostat {
            check("mirostat_tau", mirostat.target, 0.0, BITS_MAX, "a number from 0 to 1000")?;
            check("mirostat_eta", mirostat.rate, 0.0, BITS_MAX, "a number from 0 to 1000")?;
        }
        check("top_p", self.top_p, 0.0, 1.0, fraction)?;
        check("min_p", self.min_p, 0.0, 1.0, fraction)?;
        check("typical_p", self.typical_p, 0.0, 1.0, fraction)?;
        check("top_n_sigma", self.top_n_sigma, -CHANGE_MAX, CHANGE_MAX, change)?;
        check("xtc_probability", self.xtc_probability, 0.0, 1.0, fraction)?;
        check("xtc_threshold", self.xtc_threshold, 0.0, 1.0, fraction)?;
        check("repeat_penalty", self.repeat_penalty, 1.0 / REPEAT_MAX, REPEAT_MAX, "a number from 0.001 to 1000")?;
        check("presence_penalty", self.presence_penalty, -CHANGE_MAX, CHANGE_MAX, change)?;
        check("frequency_penalty", self.frequency_penalty, -CHANGE_MAX, CHANGE_MAX, change)?;
        check("dry_multiplier", self.dry.multiplier, 0.0, CHANGE_MAX, positive)?;
        check("dry_base", self.dry.base, 0.0, CHANGE_MAX, positive)?;
        for &(_, bias) in &self.logit_bias {
            check("logit_bias", bias, -CHANGE_MAX, CHANGE_MAX, change)?;
        }
        Ok(())
    }
}

fn check(parameter: &'static str, found: f32, min: f32, max: f32, expected: &'static str) -> Result<(), SamplingError> {
    // NaN lies in no range.
    if (min..=max).contains(&found) { Ok(()) } else { Err(SamplingError { parameter, found, expected }) }
}
