//! How tokens are chosen: what the user asked for, over what the model's author recommends, over the defaults.

use clap::Args;
use lair_engine::Sampling;
use lair_gguf::Metadata;
use lair_store::RecommendedSampling;

use crate::failure::{ExitCode, Failure};

/// What the user asked for. What is not given comes from the model file (`general.sampling.*`), then from the defaults:
/// temperature 0.8, top-k 40, top-p 0.95, min-p 0.05.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// How far from the most likely token to stray; 0 always takes the most likely [default: the model's, or 0.8]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Keep so many of the most likely tokens; 0 keeps all [default: the model's, or 40]
    #[arg(long, value_name = "COUNT")]
    pub top_k: Option<usize>,
    /// Keep the most likely tokens that together have this probability [default: the model's, or 0.95]
    #[arg(long, value_name = "NUMBER")]
    pub top_p: Option<f32>,
    /// Keep tokens at least so likely, relative to the most likely [default: the model's, or 0.05]
    #[arg(long, value_name = "NUMBER")]
    pub min_p: Option<f32>,
    /// Keep the tokens whose surprise is nearest to the expected, of this probability together [default: 1, off]
    #[arg(long, value_name = "NUMBER")]
    pub typical_p: Option<f32>,
    /// Divide the logits of tokens seen lately [default: the model's, or 1, off]
    #[arg(long, value_name = "NUMBER")]
    pub repeat_penalty: Option<f32>,
    /// Subtract from the logits of tokens seen lately [default: 0, off]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub presence_penalty: Option<f32>,
    /// Subtract from the logits of tokens seen lately, for each time [default: 0, off]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub frequency_penalty: Option<f32>,
    /// How many tokens "lately" means [default: the model's, or 64]
    #[arg(long, value_name = "COUNT")]
    pub repeat_last_n: Option<usize>,
    /// How far the temperature may go up and down with how even the choice is [default: 0, off]
    #[arg(long, value_name = "NUMBER")]
    pub dynatemp_range: Option<f32>,
    /// How that follows evenness: 1 in proportion, above later, below sooner [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub dynatemp_exponent: Option<f32>,
    /// Keep surprise near a target instead of filters and penalties: 1 or 2, the version of Mirostat [default: 0, off]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i64).range(0..=2))]
    pub mirostat: Option<i64>,
    /// The surprise that Mirostat aims at, in bits [default: 5]
    #[arg(long, value_name = "BITS")]
    pub mirostat_tau: Option<f32>,
    /// How fast Mirostat follows it [default: 0.1]
    #[arg(long, value_name = "NUMBER")]
    pub mirostat_eta: Option<f32>,
    /// Add to the logit of a token, `ID=NUMBER`; may be given several times
    #[arg(long, value_name = "ID=NUMBER", value_parser = parse_bias, allow_negative_numbers = true)]
    pub logit_bias: Vec<(u32, f32)>,
    /// The same seed and input give the same tokens [default: another each time]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
}

fn parse_bias(text: &str) -> Result<(u32, f32), String> {
    let (id, bias) = text.split_once('=').ok_or("expected ID=NUMBER, for example 1234=-2.5")?;
    let id = id.trim().parse().map_err(|_| format!("`{id}` is not a token id"))?;
    let bias = bias.trim().parse().map_err(|_| format!("`{bias}` is not a number"))?;
    Ok((id, bias))
}

/// The defaults of this model: what its authors recommend in the file, over what the catalogue says they recommend, over
/// Lair's own.
pub fn defaults(metadata: &Metadata, recommended: RecommendedSampling) -> Sampling {
    let number = |key: &str| metadata.optional::<f32>(&format!("general.sampling.{key}")).ok().flatten();
    let count = |key: &str| metadata.optional::<u32>(&format!("general.sampling.{key}")).ok().flatten();
    Sampling {
        temperature: number("temp").or(recommended.temperature).unwrap_or(0.8),
        top_k: count("top_k").map(|count| count as usize).or(recommended.top_k).unwrap_or(40),
        top_p: number("top_p").or(recommended.top_p).unwrap_or(0.95),
        min_p: number("min_p").unwrap_or(0.05),
        repeat_penalty: number("penalty_repeat").or(recommended.repeat_penalty).unwrap_or(1.0),
        penalty_last_n: count("penalty_last_n").map_or(64, |count| count as usize),
        xtc_probability: number("xtc_probability").unwrap_or(0.0),
        xtc_threshold: number("xtc_threshold").unwrap_or(0.1),
        ..Sampling::default()
    }
}

impl SamplingArgs {
    /// These wishes over `defaults`, checked.
    pub fn over(&self, defaults: &Sampling) -> Result<Sampling, Failure> {
        let mut sampling = Sampling {
            temperature: self.temperature.unwrap_or(defaults.temperature),
            temperature_range: self.dynatemp_range.unwrap_or(defaults.temperature_range),
            temperature_exponent: self.dynatemp_exponent.unwrap_or(defaults.temperature_exponent),
            top_k: self.top_k.unwrap_or(defaults.top_k),
            top_p: self.top_p.unwrap_or(defaults.top_p),
            min_p: self.min_p.unwrap_or(defaults.min_p),
            typical_p: self.typical_p.unwrap_or(defaults.typical_p),
            repeat_penalty: self.repeat_penalty.unwrap_or(defaults.repeat_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(defaults.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(defaults.frequency_penalty),
            penalty_last_n: self.repeat_last_n.unwrap_or(defaults.penalty_last_n),
            logit_bias: self.logit_bias.clone(),
            seed: self.seed.or(defaults.seed),
            ..defaults.clone()
        };
        let wrong = |error| Failure::new(ExitCode::Usage, error);
        sampling.set_mirostat(self.mirostat, self.mirostat_tau, self.mirostat_eta).map_err(wrong)?;
        sampling.check().map_err(wrong)?;
        Ok(sampling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_go_over_the_model_s_values_and_are_checked() {
        let mut metadata = Metadata::default();
        metadata.set("general.sampling.temp", 0.25f32);
        metadata.set("general.sampling.top_k", 7u32);
        let recommended =
            RecommendedSampling { temperature: Some(9.0), top_p: Some(0.5), ..RecommendedSampling::default() };
        let defaults = defaults(&metadata, recommended);
        let wishes = SamplingArgs { top_k: Some(3), ..SamplingArgs::default() };
        let sampling = wishes.over(&defaults).expect("in range");
        assert_eq!((sampling.temperature, sampling.top_k, sampling.top_p), (0.25, 3, 0.5));
        let wrong = SamplingArgs { top_p: Some(1.5), ..SamplingArgs::default() };
        assert_eq!(wrong.over(&defaults).expect_err("out of range").code, ExitCode::Usage);
    }

    #[test]
    fn a_bias_is_an_id_and_a_number() {
        assert_eq!(parse_bias("12=-2.5"), Ok((12, -2.5)));
        assert!(parse_bias("12").is_err());
        assert!(parse_bias("x=1").is_err());
    }
}
