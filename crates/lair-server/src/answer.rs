//! Wishes about sampling that all dialects share, and what their answers have in common.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use lair_engine::Sampling;
use lair_text::output::AnswerReader;
use lair_text::tokenizer::{AddSpecial, ShowSpecial, Special};
use serde_json::Value as Json;

use crate::error::ApiError;
use crate::fields::Fields;
use crate::model::LoadedModel;

/// Stop strings of a request.
const STOPS_MAX: usize = 16;
/// Length of one.
const STOP_BYTES_MAX: usize = 1024;

/// What a request says about sampling; what it does not say is left to the model.
#[derive(Clone, Debug, Default)]
pub(crate) struct SamplingWishes {
    pub(crate) temperature: Option<f32>,
    pub(crate) top_k: Option<usize>,
    pub(crate) top_p: Option<f32>,
    pub(crate) min_p: Option<f32>,
    pub(crate) typical_p: Option<f32>,
    pub(crate) repeat_penalty: Option<f32>,
    pub(crate) repeat_last_n: Option<usize>,
    pub(crate) presence_penalty: Option<f32>,
    pub(crate) frequency_penalty: Option<f32>,
    pub(crate) logit_bias: Vec<(u32, f32)>,
    pub(crate) seed: Option<u64>,
    pub(crate) mirostat: MirostatWishes,
}

/// Wishes about Mirostat, under the names that llama.cpp and Ollama share.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct MirostatWishes {
    version: Option<i64>,
    target: Option<f32>,
    rate: Option<f32>,
}

impl MirostatWishes {
    /// Takes `mirostat`, `mirostat_tau` and `mirostat_eta`.
    pub(crate) fn take(fields: &mut Fields) -> Result<MirostatWishes, ApiError> {
        Ok(MirostatWishes {
            version: fields.whole("mirostat")?,
            target: fields.number("mirostat_tau")?,
            rate: fields.number("mirostat_eta")?,
        })
    }
}

impl SamplingWishes {
    /// These over the model's own.
    pub(crate) fn over(&self, defaults: &Sampling) -> Result<Sampling, ApiError> {
        let mut sampling = Sampling {
            temperature: self.temperature.unwrap_or(defaults.temperature),
            top_k: self.top_k.unwrap_or(defaults.top_k),
            top_p: self.top_p.unwrap_or(defaults.top_p),
            min_p: self.min_p.unwrap_or(defaults.min_p),
            typical_p: self.typical_p.unwrap_or(defaults.typical_p),
            repeat_penalty: self.repeat_penalty.unwrap_or(defaults.repeat_penalty),
            penalty_last_n: self.repeat_last_n.unwrap_or(defaults.penalty_last_n),
            presence_penalty: self.presence_penalty.unwrap_or(defaults.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(defaults.frequency_penalty),
            logit_bias: self.logit_bias.clone(),
            seed: self.seed.or(defaults.seed),
            ..defaults.clone()
        };
        let MirostatWishes { version, target, rate } = self.mirostat;
        let bad = |error| ApiError::new(crate::ErrorKind::BadRequest, error);
        sampling.set_mirostat(version, target, rate).map_err(bad)?;
        sampling.check().map_err(bad)?;
        Ok(sampling)
    }
}

/// The stop strings of a request, over those of the model.
pub(crate) fn stop_strings(fields: &mut Fields, name: &str) -> Result<Option<Vec<String>>, ApiError> {
    let stop = fields.texts(name)?;
    if stop.len() > STOPS_MAX {
        return Err(ApiError::bad(name, format!("`{name}` has {} strings, at most {STOPS_MAX} expected", stop.len())));
    }
    if let Some(long) = stop.iter().find(|stop| stop.len() > STOP_BYTES_MAX) {
        let cause = format!("`{name}` has a string of {} bytes, at most {STOP_BYTES_MAX} expected", long.len());
        return Err(ApiError::bad(name, cause));
    }
    let stop: Vec<String> = stop.into_iter().filter(|stop| !stop.is_empty()).collect();
    Ok((!stop.is_empty()).then_some(stop))
}

/// Tokens at the end of a prompt that can hold an opening tag of reasoning.
const TAIL_TOKENS: usize = 24;

/// A reader of the answer to this prompt, and the control tokens it must be shown. Without tools in the request no calls
/// are read.
pub(crate) fn answer_reader(model: &LoadedModel, prompt: &[u32], tools: Option<&[Json]>) -> (AnswerReader, Vec<u32>) {
    let (style, tokenizer) = (model.answers(), &model.tokenizer);
    let tail = &prompt[prompt.len().saturating_sub(TAIL_TOKENS)..];
    let tail = tokenizer.decode(tail, ShowSpecial::Show).unwrap_or_default();
    let tokens = style.marks(tools.is_some()).into_iter();
    let tokens = tokens.flat_map(|mark| tokenizer.encode(mark, Special::Parse, AddSpecial::No));
    (style.reader(&tail, tools), tokens.filter(|token| tokenizer.is_control(*token)).collect())
}

/// A name that begins so: different for each of a server's answers and calls.
pub(crate) fn unique_name(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    // Odd multiplier of the golden ratio: neighbours in time and count get names that look nothing alike.
    let mixed = (nanos ^ COUNT.fetch_add(1, Ordering::Relaxed)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("{prefix}{mixed:016x}{:08x}", nanos as u32)
}
