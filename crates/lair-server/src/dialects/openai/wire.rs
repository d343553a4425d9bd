//! What both kinds of completion have in common: options of a request, parts of an answer.

use std::time::{SystemTime, UNIX_EPOCH};

use lair_engine::{TokenLogprob, Usage};
use lair_text::tokenizer::Tokenizer;
use serde_json::{Value as Json, json};

use super::tools::check_calls;
use crate::answer::{MirostatWishes, SamplingWishes, stop_strings, unique_name};
use crate::constrained::{self, ConstraintWish};
use crate::error::ApiError;
use crate::fields::{Fields, wrong};
use crate::generation::{End, TokenStep};

/// Answers to one prompt.
pub(super) const CHOICES_MAX: usize = 16;
/// Likely tokens beside each token.
pub(super) const TOP_LOGPROBS_MAX: usize = 20;
/// Entries of `logit_bias`, as OpenAI has it.
const BIASES_MAX: usize = 1024;

/// Options of a request that are not its prompt.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) model: String,
    pub(super) max_tokens: Option<usize>,
    pub(super) sampling: SamplingWishes,
    pub(super) stop: Option<Vec<String>>,
    pub(super) choice_count: usize,
    pub(super) is_stream: bool,
    pub(super) has_usage_chunk: bool,
    pub(super) ignores_end: bool,
    /// What the answer must be.
    pub(super) constraint: Option<ConstraintWish>,
}

/// Fields that tell about the caller, or ask for what a local server does anyway.
const ACCEPTED: &[&str] = &[
    "user",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "verbosity",
    "cache_prompt",
];

impl Options {
    /// Takes the common fields.
    pub(super) fn take(fields: &mut Fields) -> Result<Options, ApiError> {
        let max_tokens = fields.count("max_tokens", 0, usize::MAX)?;
        let max_completion_tokens = fields.count("max_completion_tokens", 0, usize::MAX)?;
        if let (Some(old), Some(new)) = (max_tokens, max_completion_tokens)
            && old != new
        {
            let cause = format!("`max_tokens` is {old} and `max_completion_tokens` is {new}: give one of them");
            return Err(ApiError::bad("max_tokens", cause));
        }
        let is_stream = fields.switch("stream")?.unwrap_or(false);
        let mut stream_options = Fields::of(fields.object("stream_options")?.unwrap_or_default());
        let has_usage_chunk = stream_options.switch("include_usage")?.unwrap_or(false);
        stream_options.accept(&["include_obfuscation"]);
        fields.accept(ACCEPTED);
        for name in ["prediction", "modalities", "audio", "web_search_options"] {
            if name == "modalities" && fields.take(name).is_none_or(|value| value == json!(["text"])) {
                continue;
            }
            fields.refuse(name, "this server cannot honour it yet")?;
        }
        Ok(Options {
            model: fields.required_text("model")?,
            max_tokens: max_completion_tokens.or(max_tokens),
            sampling: sampling(fields)?,
            stop: stop_strings(fields, "stop")?,
            choice_count: fields.count("n", 1, CHOICES_MAX)?.unwrap_or(1),
            is_stream,
            has_usage_chunk,
            ignores_end: fields.switch("ignore_eos")?.unwrap_or(false),
            constraint: constrained::wish(fields)?,
        })
    }
}

fn sampling(fields: &mut Fields) -> Result<SamplingWishes, ApiError> {
    // vLLM writes "all" as -1, llama-server as 0.
    let top_k = fields.whole("top_k")?.map(|count| usize::try_from(count).unwrap_or(0));
    let temperature = fields.number("temperature")?;
    if temperature.is_some_and(|temperature| temperature < 0.0) {
        return Err(ApiError::bad("temperature", "`temperature` is below 0, a number from 0 on is expected"));
    }
    Ok(SamplingWishes {
        temperature,
        top_k,
        top_p: fields.number("top_p")?,
        min_p: fields.number("min_p")?,
        typical_p: fields.number("typical_p")?,
        repeat_penalty: match fields.number("repetition_penalty")? {
            Some(penalty) => Some(penalty),
            None => fields.number("repeat_penalty")?,
        },
        repeat_last_n: fields.count("repeat_last_n", 0, 1 << 20)?,
        presence_penalty: fields.number("presence_penalty")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        logit_bias: logit_bias(fields)?,
        // Negative seeds mean "any" to some clients.
        seed: fields.whole("seed")?.and_then(|seed| u64::try_from(seed).ok()),
        mirostat: MirostatWishes::take(fields)?,
    })
}

fn logit_bias(fields: &mut Fields) -> Result<Vec<(u32, f32)>, ApiError> {
    let map = fields.object("logit_bias")?.unwrap_or_default();
    if map.len() > BIASES_MAX {
        let cause = format!("`logit_bias` has {} entries, at most {BIASES_MAX} expected", map.len());
        return Err(ApiError::bad("logit_bias", cause));
    }
    map.into_iter()
        .map(|(token, bias)| {
            let id = token.parse().map_err(|_| ApiError::bad("logit_bias", format!("`{token}` is not a token id")))?;
            let bias = bias.as_f64().filter(|bias| bias.abs() <= 100.0);
            let bias = bias.ok_or_else(|| ApiError::bad("logit_bias", "a bias is a number from -100 to 100"))?;
            Ok((id, bias as f32))
        })
        .collect()
}

/// Seconds since 1970.
pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// A name for an answer: different for each of a server's answers.
pub(in crate::dialects) fn answer_id(prefix: &str) -> String {
    unique_name(&format!("{prefix}-"))
}

pub(super) fn usage_json(usage: &Usage) -> Json {
    let Usage { prompt_tokens, completion_tokens, cached_tokens, .. } = *usage;
    json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": { "cached_tokens": cached_tokens },
        "completion_tokens_details": { "accepted_prediction_tokens": usage.accepted_tokens },
    })
}

/// How long an answer took, under llama-server's names.
pub(super) fn timings_json(end: &End) -> Json {
    let Usage { prompt_tokens, completion_tokens, cached_tokens, .. } = end.usage;
    let prompt_count = prompt_tokens.saturating_sub(cached_tokens);
    let (prompt_s, predicted_s) = (end.prefill.as_secs_f64(), end.decode.as_secs_f64());
    // The first token comes of the prompt's last step: the rate is over the others.
    let steps = completion_tokens.saturating_sub(1);
    let rate = |count: usize, seconds: f64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
    json!({
        "cache_n": cached_tokens,
        "prompt_n": prompt_count,
        "prompt_ms": prompt_s * 1e3,
        "prompt_per_second": rate(prompt_count, prompt_s),
        "predicted_n": completion_tokens,
        "predicted_ms": predicted_s * 1e3,
        "predicted_per_second": rate(steps, predicted_s),
    })
}

/// The sum over the answers to one prompt, which is counted once.
pub(super) fn add_usage(sum: &mut Usage, one: &Usage) {
    sum.prompt_tokens = one.prompt_tokens;
    sum.cached_tokens = sum.cached_tokens.max(one.cached_tokens);
    sum.completion_tokens += one.completion_tokens;
    sum.guessed_tokens += one.guessed_tokens;
    sum.accepted_tokens += one.accepted_tokens;
}

/// An entry of `logprobs.content`.
pub(super) fn logprob_json(tokenizer: &Tokenizer, step: &TokenStep) -> Json {
    let entry = |token: u32, logprob: f32| {
        let bytes = tokenizer.token_bytes(token).unwrap_or_default();
        json!({ "token": String::from_utf8_lossy(bytes), "logprob": finite(logprob), "bytes": bytes })
    };
    let mut json = entry(step.token, step.logprob.unwrap_or(0.0));
    json["top_logprobs"] = step.top.iter().map(|&TokenLogprob { token, logprob }| entry(token, logprob)).collect();
    json
}

/// JSON has no infinity; OpenAI writes what is as good as impossible so.
pub(super) fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { -9999.0 }
}

/// Messages, checked: roles and contents that a template can be given.
pub(crate) fn messages(fields: &mut Fields) -> Result<Vec<Json>, ApiError> {
    let messages = fields.list("messages")?.ok_or_else(|| ApiError::bad("messages", "`messages` is missing"))?;
    if messages.is_empty() {
        return Err(ApiError::bad("messages", "`messages` is empty, at least one message expected"));
    }
    messages.into_iter().enumerate().map(|(index, message)| checked_message(index, message)).collect()
}

fn checked_message(index: usize, mut message: Json) -> Result<Json, ApiError> {
    let place = format!("messages[{index}]");
    if !message.is_object() {
        return Err(wrong(&place, &message, "an object"));
    }
    let role = message["role"].as_str().unwrap_or_default().to_owned();
    if !["system", "developer", "user", "assistant", "tool", "function"].contains(&role.as_str()) {
        let cause = format!("`{place}.role` is `{role}`, one of system, developer, user, assistant, tool expected");
        return Err(ApiError::bad("messages", cause));
    }
    check_calls(&place, &message)?;
    let content = match &message["content"] {
        Json::String(_) => return Ok(message),
        Json::Null if role == "assistant" => return Ok(message),
        Json::Array(parts) => joined_parts(&place, parts)?,
        other => return Err(wrong(&format!("{place}.content"), other, "a string or a list of parts")),
    };
    message["content"] = Json::String(content);
    Ok(message)
}

/// Text parts, joined. Other kinds are refused by name: an answer that has not seen the picture would be a lie.
fn joined_parts(place: &str, parts: &[Json]) -> Result<String, ApiError> {
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        match part["type"].as_str() {
            Some("text" | "input_text" | "output_text") => {
                let found = &part["text"];
                let place = format!("{place}.content[{index}].text");
                text.push_str(found.as_str().ok_or_else(|| wrong(&place, found, "a string"))?);
            }
            Some(kind) => {
                let cause = format!("`{place}.content[{index}]` is a part of type `{kind}`, only text is supported");
                return Err(ApiError::unsupported("messages", cause));
            }
            None => return Err(ApiError::bad("messages", format!("`{place}.content[{index}]` has no type"))),
        }
    }
    Ok(text)
}
