//! `/completion` and `/infill`: text on, in llama-server's form.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream::{self, BoxStream, StreamExt};
use lair_engine::{Constraint, PrefixScope, Sampling, TokenLogprob, Usage};
use lair_text::tokenizer::{ShowSpecial, Tokenizer};
use serde_json::{Map, Value as Json, json};

use super::request::{self, CompletionRequest};
use super::{error_body, sampling};
use crate::caller::caller;
use crate::constrained::{self, Begins};
use crate::default_model::model_or_only;
use crate::dialects::{json_response, stream_response, with_ignored, with_pings};
use crate::error::ApiError;
use crate::fields::{Fields, wrong};
use crate::generation::{Ask, EndReason, Generation, Piece, TokenStep};
use crate::infill::{Gap, tokens_of_gap};
use crate::loaded::Lease;
use crate::saved_slots::Slots;
use crate::server::SharedApp;

/// Files beside the one with the gap.
const FILES_MAX: usize = 1024;

pub(super) async fn answer(app: &SharedApp, mut fields: Fields) -> Result<Response, ApiError> {
    let request = CompletionRequest::take(&mut fields)?;
    let prompts = request::prompts(&mut fields, "prompt")?;
    let ignored = fields.rest();
    let model = lease(app, &request).await?;
    let tokens: Vec<Vec<u32>> =
        prompts.prompts.iter().map(|parts| request::tokens_of_parts(&model.tokenizer, parts)).collect();
    let is_list = prompts.is_list || request.choice_count > 1;
    let response = respond(app, model, request, &tokens, is_list).await?;
    Ok(with_ignored(response, &ignored))
}

pub(super) async fn infill(app: &SharedApp, mut fields: Fields) -> Result<Response, ApiError> {
    let request = CompletionRequest::take(&mut fields)?;
    let gap = Gap {
        prefix: fields.required_text("input_prefix")?,
        suffix: fields.required_text("input_suffix")?,
        begun: fields.text("prompt")?.unwrap_or_default(),
        files: files(&mut fields)?,
    };
    let ignored = fields.rest();
    let model = lease(app, &request).await?;
    let tokens = tokens_of_gap(&model.tokenizer, &gap)?;
    let is_list = request.choice_count > 1;
    let response = respond(app, model, request, &[tokens], is_list).await?;
    Ok(with_ignored(response, &ignored))
}

/// `input_extra`: files by name and text.
fn files(fields: &mut Fields) -> Result<Vec<(String, String)>, ApiError> {
    let name = "input_extra";
    let items = fields.list(name)?.unwrap_or_default();
    if items.len() > FILES_MAX {
        return Err(ApiError::bad(name, format!("`{name}` has {} files, at most {FILES_MAX} expected", items.len())));
    }
    let one = |item: Json| match item {
        Json::Object(map) => {
            let mut file = Fields::of(map);
            let file_name = file.text("filename")?.unwrap_or_else(|| "tmp".to_owned());
            Ok((file_name, file.required_text("text")?))
        }
        other => Err(wrong(name, &other, "a list of objects with `filename` and `text`")),
    };
    items.into_iter().map(one).collect()
}

async fn lease(app: &SharedApp, request: &CompletionRequest) -> Result<Arc<Lease>, ApiError> {
    let name = model_or_only(app, request.model.clone()).await?;
    Ok(Arc::new(app.models.get(&name, None).await?))
}

/// What the parts of one answer have in common.
struct Frame {
    model: Arc<Lease>,
    request: CompletionRequest,
    sampling: Sampling,
    stop: Vec<String>,
    slots: Arc<Slots>,
}

/// One answer while it comes.
struct Run {
    index: usize,
    prompt: Vec<u32>,
    generation: Generation,
    /// The slot that the answer is noted under, and whose it is.
    slot: usize,
    scope: PrefixScope,
    slots: Arc<Slots>,
    answer: Vec<u32>,
    started: Instant,
    first: Option<Instant>,
    count: usize,
    has_new_line: bool,
    /// Tokens whose text is still held back.
    pending: Vec<TokenStep>,
    has_ended: bool,
}

/// What an answer says next.
enum Said {
    Text(String, Vec<TokenStep>),
    End(Ending),
}

/// How an answer ended.
struct Ending {
    reason: EndReason,
    usage: Usage,
    /// Tokens that no text came of.
    steps: Vec<TokenStep>,
}

async fn respond(
    app: &SharedApp,
    model: Arc<Lease>,
    request: CompletionRequest,
    prompts: &[Vec<u32>],
    is_list: bool,
) -> Result<Response, ApiError> {
    let slot_count = model.engine.limits().sequences_max;
    if let Some(slot) = request.slot.filter(|&slot| slot >= slot_count) {
        return Err(ApiError::bad("id_slot", format!("there is no slot {slot}, 0 to {} expected", slot_count - 1)));
    }
    let sampling = request.sampling.over(&model.default_sampling, &model.tokenizer)?;
    let stop = request.stop.clone().unwrap_or_else(|| model.default_stop.clone());
    let constraint = match &request.constraint {
        Some(wish) => Some(constrained::constraint(&model, wish, &[], Begins::AtOnce).await?),
        None => None,
    };
    let frame = Arc::new(Frame { model, request, sampling, stop, slots: Arc::clone(&app.slots) });
    let mut runs = Vec::new();
    for prompt in prompts {
        for choice in 0..frame.request.choice_count {
            runs.push(Run::start(&frame, prompt, runs.len(), choice, constraint.clone())?);
        }
    }
    if frame.request.is_stream {
        return Ok(stream_response("text/event-stream", events(frame, runs)));
    }
    let answers = runs.into_iter().map(|run| whole(&frame, run));
    let mut answers = futures_util::future::try_join_all(answers).await?;
    let body = if is_list { Json::Array(answers) } else { answers.swap_remove(0) };
    Ok(json_response(StatusCode::OK, &body))
}

/// A scope that no other request has: nothing is found in the cache, and nothing is left there to be found.
fn own_scope() -> PrefixScope {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let mut scope = [0xFF; 32];
    scope[..8].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    PrefixScope(scope)
}

impl Run {
    fn start(
        frame: &Frame,
        prompt: &[u32],
        index: usize,
        choice: usize,
        constraint: Option<Constraint>,
    ) -> Result<Run, ApiError> {
        let Frame { model, request, sampling, stop, slots } = frame;
        let scope = if request.is_cached { caller().scope } else { own_scope() };
        let mut sampling = sampling.clone();
        // Each answer to one prompt is another draw.
        sampling.seed = sampling.seed.map(|seed| seed.wrapping_add(choice as u64));
        let ask = Ask {
            tokens: prompt.to_vec(),
            max_tokens: request.max_tokens.or(model.default_max_tokens),
            sampling,
            stop: stop.clone(),
            ignores_end: request.sampling.ignores_end,
            logprobs: (request.probability_count > 0).then_some(request.probability_count),
            constraint,
            adapter_scales: request
                .adapters
                .as_deref()
                .map(|asked| model.adapters.chosen("lora", asked))
                .transpose()?,
            scope,
            ..Ask::default()
        };
        let generation = Generation::start(model, ask)?;
        Ok(Run {
            index,
            prompt: prompt.to_vec(),
            slot: request.slot.unwrap_or_else(|| generation.slot()),
            scope,
            slots: Arc::clone(slots),
            answer: Vec::new(),
            generation,
            started: Instant::now(),
            first: None,
            count: 0,
            has_new_line: false,
            pending: Vec::new(),
            has_ended: false,
        })
    }

    /// Text with the tokens it came of, or the end; `None` after the end.
    async fn next(&mut self, time_max_ms: Option<u64>) -> Option<Result<Said, ApiError>> {
        while !self.has_ended {
            if self.is_over_time(time_max_ms) {
                let usage =
                    Usage { prompt_tokens: self.prompt.len(), completion_tokens: self.count, ..Usage::default() };
                return Some(Ok(self.end(EndReason::Length, usage)));
            }
            let piece = match self.generation.next().await? {
                Ok(piece) => piece,
                Err(error) => {
                    self.has_ended = true;
                    return Some(Err(error));
                }
            };
            match piece {
                Piece::Prompt { .. } => {}
                Piece::Text { text, tokens } => {
                    self.first.get_or_insert_with(Instant::now);
                    self.count += tokens.len();
                    self.answer.extend(tokens.iter().map(|step| step.token));
                    self.pending.extend(tokens);
                    self.has_new_line |= text.contains('\n');
                    if !text.is_empty() {
                        return Some(Ok(Said::Text(text, std::mem::take(&mut self.pending))));
                    }
                }
                Piece::End(end) => return Some(Ok(self.end(end.reason, end.usage))),
            }
        }
        None
    }

    /// Whether a line has ended and more time has passed since the first token.
    fn is_over_time(&self, time_max_ms: Option<u64>) -> bool {
        let passed = self.first.map_or(Duration::ZERO, |first| first.elapsed());
        self.has_new_line && time_max_ms.is_some_and(|most| passed > Duration::from_millis(most))
    }

    fn end(&mut self, reason: EndReason, usage: Usage) -> Said {
        self.has_ended = true;
        let tokens = [self.prompt.as_slice(), &self.answer].concat();
        self.slots.note(&self.generation.model().facts.name, self.slot, self.scope, tokens);
        Said::End(Ending { reason, usage, steps: std::mem::take(&mut self.pending) })
    }

    fn timings(&self, usage: &Usage) -> Json {
        let now = Instant::now();
        let first = self.first.unwrap_or(now);
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let prompt_count = self.prompt.len().saturating_sub(usage.cached_tokens);
        let (prompt_ms, predicted_ms) = (milliseconds(first - self.started), milliseconds(now - first));
        // The first token comes of the prompt's last step: the rate is over the others.
        let steps = self.count.saturating_sub(1);
        let per = |amount: f64, count: usize| if count == 0 { 0.0 } else { amount / count as f64 };
        let rate = |count: usize, time: f64| if time > 0.0 { 1e3 * count as f64 / time } else { 0.0 };
        let mut timings = json!({
            "cache_n": usage.cached_tokens,
            "prompt_n": prompt_count,
            "prompt_ms": prompt_ms,
            "prompt_per_token_ms": per(prompt_ms, prompt_count),
            "prompt_per_second": rate(prompt_count, prompt_ms),
            "predicted_n": self.count,
            "predicted_ms": predicted_ms,
            "predicted_per_token_ms": per(predicted_ms, steps),
            "predicted_per_second": rate(steps, predicted_ms),
        });
        if usage.guessed_tokens > 0 {
            timings["draft_n"] = json!(usage.guessed_tokens);
            timings["draft_n_accepted"] = json!(usage.accepted_tokens);
        }
        timings
    }
}

/// The answer without a stream.
async fn whole(frame: &Frame, mut run: Run) -> Result<Json, ApiError> {
    let (mut content, mut steps) = (String::new(), Vec::new());
    while let Some(said) = run.next(frame.request.time_max_ms).await {
        match said? {
            Said::Text(text, tokens) => {
                content.push_str(&text);
                steps.extend(tokens);
            }
            Said::End(mut ending) => {
                steps.append(&mut ending.steps);
                let mut body = last_json(frame, &run, &ending);
                body["content"] = json!(content);
                if frame.request.returns_tokens {
                    body["tokens"] = steps.iter().map(|step| step.token).collect();
                }
                if frame.request.probability_count > 0 {
                    body["completion_probabilities"] = probabilities(&frame.model.tokenizer, &steps);
                }
                return Ok(chosen_fields(&frame.request.response_fields, body));
            }
        }
    }
    Err(ApiError::new(crate::ErrorKind::Internal, "the answer ended without its end"))
}

/// What ends an answer, without its content.
fn last_json(frame: &Frame, run: &Run, ending: &Ending) -> Json {
    let (kind, word) = match &ending.reason {
        EndReason::Model | EndReason::ToolCalls => ("eos", ""),
        EndReason::StopString(word) => ("word", word.as_str()),
        EndReason::Length => ("limit", ""),
    };
    let length = run.prompt.len() + run.count;
    let prompt = frame.model.tokenizer.decode(&run.prompt, ShowSpecial::Show).unwrap_or_default();
    json!({
        "index": run.index,
        "content": "",
        "tokens": [],
        "id_slot": run.slot,
        "stop": true,
        "model": frame.model.facts.name,
        "tokens_predicted": run.count,
        "tokens_evaluated": run.prompt.len(),
        "generation_settings": settings_json(frame),
        "prompt": prompt,
        "has_new_line": run.has_new_line,
        // The answer ends where the context does.
        "truncated": kind == "limit" && length >= frame.model.context_length,
        "stop_type": kind,
        "stopping_word": word,
        "tokens_cached": length,
        "timings": run.timings(&ending.usage),
    })
}

/// `generation_settings` of an answer.
fn settings_json(frame: &Frame) -> Json {
    let request = &frame.request;
    let mut settings = sampling::settings_json(&frame.sampling);
    let limit = request.max_tokens.or(frame.model.default_max_tokens).map_or(json!(-1), |count| json!(count));
    let more = json!({
        "max_tokens": limit,
        "n_predict": limit,
        "n_keep": 0,
        "n_discard": 0,
        "n_probs": request.probability_count,
        "ignore_eos": request.sampling.ignores_end,
        "stream": request.is_stream,
        "stop": frame.stop,
        "timings_per_token": request.times_tokens,
        "post_sampling_probs": false,
        "grammar": "",
    });
    if let (Some(all), Json::Object(more)) = (settings.as_object_mut(), more) {
        all.extend(more);
    }
    settings
}

/// `completion_probabilities`.
fn probabilities(tokenizer: &Tokenizer, steps: &[TokenStep]) -> Json {
    let entry = |token: u32, logprob: f32| {
        let bytes = tokenizer.token_bytes(token).unwrap_or_default();
        // JSON has no infinity.
        let logprob = if logprob.is_finite() { logprob } else { f32::MIN };
        json!({ "id": token, "token": String::from_utf8_lossy(bytes), "bytes": bytes, "logprob": logprob })
    };
    let one = |step: &TokenStep| {
        let mut json = entry(step.token, step.logprob.unwrap_or(0.0));
        json["top_logprobs"] = step.top.iter().map(|&TokenLogprob { token, logprob }| entry(token, logprob)).collect();
        json
    };
    steps.iter().map(one).collect()
}

/// Only these fields, if any are named. `a/b` is the field `b` of `a`, and comes out as `b`; what is not there is left out.
fn chosen_fields(names: &[String], body: Json) -> Json {
    if names.is_empty() {
        return body;
    }
    let mut chosen = Map::new();
    for name in names.iter().collect::<BTreeSet<_>>() {
        let found = name.split('/').try_fold(&body, |value, key| value.get(key));
        if let (Some(value), Some(last)) = (found, name.rsplit('/').next()) {
            chosen.insert(last.to_owned(), value.clone());
        }
    }
    Json::Object(chosen)
}

fn event(json: &Json) -> String {
    format!("data: {json}\n\n")
}

/// The answers as server-sent events, in the order in which their tokens come.
fn events(frame: Arc<Frame>, runs: Vec<Run>) -> BoxStream<'static, String> {
    let ping = frame.request.ping_seconds.map(Duration::from_secs);
    let answers = runs.into_iter().map(|run| {
        let frame = Arc::clone(&frame);
        stream::unfold(run, move |mut run| {
            let frame = Arc::clone(&frame);
            async move {
                let said = run.next(frame.request.time_max_ms).await?;
                let text = match said {
                    Ok(said) => event(&chunk(&frame, &run, said)),
                    Err(error) => event(&error_body(&error)),
                };
                Some((text, run))
            }
        })
        .boxed()
    });
    let events = stream::select_all(answers).boxed();
    match ping {
        Some(every) => with_pings(events, every, ":\n\n".to_owned()),
        None => events,
    }
}

fn chunk(frame: &Frame, run: &Run, said: Said) -> Json {
    match said {
        Said::Text(text, steps) => {
            let mut chunk = json!({
                "index": run.index,
                "content": text,
                "tokens": steps.iter().map(|step| step.token).collect::<Vec<_>>(),
                "stop": false,
                "id_slot": run.slot,
                "tokens_predicted": run.count,
                "tokens_evaluated": run.prompt.len(),
            });
            if frame.request.times_tokens {
                chunk["timings"] = run.timings(&Usage::default());
            }
            if frame.request.probability_count > 0 {
                chunk["completion_probabilities"] = probabilities(&frame.model.tokenizer, &steps);
            }
            chunk
        }
        Said::End(ending) => chosen_fields(&frame.request.response_fields, last_json(frame, run, &ending)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_chosen_and_lifted() {
        let body = json!({ "content": "x", "generation_settings": { "n_predict": 8, "seed": 1 }, "stop": true });
        let choose = |names: &[&str]| {
            chosen_fields(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), body.clone())
        };
        assert_eq!(choose(&[]), body);
        assert_eq!(choose(&["content", "generation_settings/n_predict"]), json!({ "content": "x", "n_predict": 8 }));
        assert_eq!(choose(&["nothing", "content/deeper"]), json!({}));
    }

    #[test]
    fn files_need_a_text_and_may_have_a_name() {
        let take = |json: &str| files(&mut Fields::parse(json.as_bytes()).expect("an object"));
        let named = take(r#"{"input_extra": [{"filename": "a", "text": "b"}, {"text": "c"}]}"#).expect("fine");
        assert_eq!(named, [("a".to_owned(), "b".to_owned()), ("tmp".to_owned(), "c".to_owned())]);
        for json in [
            r#"{"input_extra": [{}]}"#,
            r#"{"input_extra": [{"filename": "ok"}]}"#,
            r#"{"input_extra": [{"filename": 123, "text": "abc"}]}"#,
            r#"{"input_extra": [{"filename": "a", "text": 456}]}"#,
            r#"{"input_extra": ["a"]}"#,
            r#"{"input_extra": {}}"#,
        ] {
            assert!(take(json).is_err(), "{json}");
        }
    }
}
