//! What is noted of one answer: what the model was given, how it was to choose, what it took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lair_engine::{Sampling, Timings, Usage};
use lair_text::tokenizer::{ShowSpecial, Tokenizer};
use serde_json::{Map, Value as Json, json};

use super::record::ms;
use super::{RequestLogMode, Trace};
use crate::generation::{Ask, EndReason};
use crate::loaded::Lease;

/// Longest text of a record. Of a longer one beginning and end are recorded, and how much is left out.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Notes an answer as it is made. Dropped, it gives what it has to the request it belongs to.
pub(crate) struct Noting(Option<(Arc<Trace>, AnswerNote)>);

impl Noting {
    /// An answer that begins, for the request that is being answered.
    pub(crate) fn begin(trace: Option<&Arc<Trace>>, model: &Lease, ask: &Ask) -> Noting {
        Noting(trace.map(|trace| (Arc::clone(trace), AnswerNote::begin(trace, model, ask))))
    }

    fn note(&mut self, noting: impl FnOnce(&mut AnswerNote)) {
        if let Some((_, note)) = &mut self.0 {
            noting(note);
        }
    }

    /// A token came.
    pub(crate) fn token(&mut self, token: u32) {
        self.note(|note| note.token(token));
    }

    /// The engine told its times and counts.
    pub(crate) fn measured(&mut self, usage: Usage, timings: Timings) {
        self.note(|note| note.measured = Some((usage, timings)));
    }

    /// It ended so.
    pub(crate) fn ended(&mut self, reason: &EndReason) {
        self.note(|note| {
            note.finish = match reason {
                EndReason::StopString(_) => "stop_string",
                reason => reason.word(),
            }
        });
    }

    /// It broke.
    pub(crate) fn failed(&mut self) {
        self.note(|note| note.finish = "error");
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        if let Some((trace, note)) = self.0.take() {
            trace.noted().answers.push(note);
        }
    }
}

/// An answer, from when its prompt is handed to the engine.
pub(super) struct AnswerNote {
    pub(super) model: String,
    pub(super) model_digest: String,
    pub(super) prompt_tokens: usize,
    pub(super) completion_tokens: usize,
    context_length: usize,
    max_tokens: Option<usize>,
    sampling: Sampling,
    stop: Vec<String>,
    is_constrained: bool,
    start: Instant,
    first: Option<Instant>,
    last: Instant,
    /// What the engine counted; not known of an answer that ended before the engine did.
    measured: Option<(Usage, Timings)>,
    finish: &'static str,
    /// Prompt and answer in tokens, and what makes them text; only where texts are recorded.
    texts: Option<(Arc<Tokenizer>, Vec<u32>, Vec<u32>)>,
}

impl AnswerNote {
    /// An answer that begins.
    fn begin(trace: &Trace, model: &Lease, ask: &Ask) -> AnswerNote {
        let texts = trace.is_full().then(|| (Arc::clone(&model.tokenizer), ask.tokens.clone(), Vec::new()));
        let now = Instant::now();
        AnswerNote {
            model: model.facts.name.clone(),
            model_digest: model.facts.digest.clone(),
            prompt_tokens: ask.tokens.len(),
            completion_tokens: 0,
            context_length: model.context_length,
            max_tokens: ask.max_tokens,
            sampling: ask.sampling.clone(),
            stop: ask.stop.clone(),
            is_constrained: ask.constraint.is_some(),
            start: now,
            first: None,
            last: now,
            measured: None,
            finish: "cancelled",
            texts,
        }
    }

    fn token(&mut self, token: u32) {
        self.last = Instant::now();
        self.first.get_or_insert(self.last);
        self.completion_tokens += 1;
        if let Some((_, _, answer)) = &mut self.texts {
            answer.push(token);
        }
    }

    pub(super) fn record(&self, mode: RequestLogMode) -> Json {
        let first = self.first.map(|first| first - self.start);
        let decode = self.first.map_or(Duration::ZERO, |first| self.last - first);
        let after_first = self.completion_tokens.saturating_sub(1) as f64;
        let rate = (!decode.is_zero()).then(|| (after_first / decode.as_secs_f64() * 10.0).round() / 10.0);
        let usage = self.measured.map(|(usage, _)| usage);
        let timings = self.measured.map(|(_, timings)| timings);
        let mut record = json!({
            "context_length": self.context_length,
            "prompt_tokens": self.prompt_tokens,
            // A prompt that does not fit is refused: none was ever cut.
            "prompt_cut_tokens": 0,
            "cached_tokens": usage.map(|usage| usage.cached_tokens),
            "completion_tokens": self.completion_tokens,
            "guessed_tokens": usage.map(|usage| usage.guessed_tokens),
            "accepted_tokens": usage.map(|usage| usage.accepted_tokens),
            "finish_reason": self.finish,
            "max_tokens": self.max_tokens,
            "sampling": sampling_record(&self.sampling),
            "stop_strings": self.stop.len(),
            "is_constrained": self.is_constrained,
            "queue_ms": timings.map(|timings| ms(timings.waiting)),
            "prefill_ms": timings.map(|timings| ms(timings.prefill)),
            "decode_ms": ms(decode),
            "time_to_first_token_ms": first.map(ms),
            "decode_tokens_per_second": rate,
        });
        if mode == RequestLogMode::Full
            && let Some((tokenizer, prompt, answer)) = &self.texts
        {
            record["stop"] = json!(self.stop);
            put_text(&mut record, "prompt", tokenizer, prompt);
            put_text(&mut record, "text", tokenizer, answer);
        }
        record
    }
}

/// The exact text of tokens, special ones shown, as far as a record holds it.
fn put_text(record: &mut Json, name: &str, tokenizer: &Tokenizer, tokens: &[u32]) {
    let text = tokenizer.decode(tokens, ShowSpecial::Show).unwrap_or_default();
    let (text, left_out) = shortened(text, TEXT_BYTES_MAX);
    record[name] = json!(text);
    if left_out > 0 {
        record[format!("{name}_left_out_bytes")] = json!(left_out);
    }
}

/// Beginning and end of a text that is too long, and how many bytes are between.
fn shortened(text: String, bytes_max: usize) -> (String, usize) {
    if text.len() <= bytes_max {
        return (text, 0);
    }
    let head = text.floor_char_boundary(bytes_max / 2);
    let tail = text.ceil_char_boundary(text.len() - bytes_max / 2);
    (format!("{}\n[...]\n{}", &text[..head], &text[tail..]), tail - head)
}

/// How tokens were chosen, after the defaults: what is off is left out.
fn sampling_record(sampling: &Sampling) -> Json {
    let usual = Sampling::default();
    // As short as it was written: `0.8`, not the nearest double.
    let number = |value: f32| value.to_string().parse::<f64>().map_or(Json::Null, Json::from);
    let mut record = Map::new();
    record.insert("temperature".to_owned(), number(sampling.temperature));
    for (name, value, off) in [
        ("top_p", sampling.top_p, usual.top_p),
        ("min_p", sampling.min_p, usual.min_p),
        ("typical_p", sampling.typical_p, usual.typical_p),
        ("top_n_sigma", sampling.top_n_sigma, usual.top_n_sigma),
        ("xtc_probability", sampling.xtc_probability, usual.xtc_probability),
        ("repeat_penalty", sampling.repeat_penalty, usual.repeat_penalty),
        ("presence_penalty", sampling.presence_penalty, usual.presence_penalty),
        ("frequency_penalty", sampling.frequency_penalty, usual.frequency_penalty),
    ] {
        if value != off {
            record.insert(name.to_owned(), number(value));
        }
    }
    if sampling.top_k != usual.top_k {
        record.insert("top_k".to_owned(), json!(sampling.top_k));
    }
    if !sampling.logit_bias.is_empty() {
        record.insert("logit_bias_count".to_owned(), json!(sampling.logit_bias.len()));
    }
    record.insert("penalty_last_n".to_owned(), json!(sampling.penalty_last_n));
    record.insert("seed".to_owned(), json!(sampling.seed));
    Json::Object(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_both_ends_and_whole_characters() {
        assert_eq!(shortened("abc".to_owned(), 3), ("abc".to_owned(), 0));
        let text = "é".repeat(100);
        let (short, left_out) = shortened(text.clone(), 51);
        let kept: usize = short.matches('é').count() * 2;
        assert_eq!(kept + left_out, text.len());
        assert!(short.starts_with("éé") && short.ends_with("éé") && left_out >= 149, "{left_out}");
    }

    #[test]
    fn sampling_says_what_is_not_off() {
        let sampling = Sampling { temperature: 0.8, top_k: 40, seed: Some(7), ..Sampling::default() };
        let expected = json!({ "temperature": 0.8, "top_k": 40, "penalty_last_n": 64, "seed": 7 });
        assert_eq!(sampling_record(&sampling), expected);
    }
}
