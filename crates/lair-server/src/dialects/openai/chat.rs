//! `/v1/chat/completions`.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream::{self, Stream, StreamExt};
use lair_engine::{Constraint, Usage};
use lair_text::output::ReasoningSplitter;
use serde_json::{Value as Json, json};

use super::error_body;
use super::wire::{self, Options, TOP_LOGPROBS_MAX};
use crate::answer::{Speech, Spoken, reasoning_splitter};
use crate::constrained::{self, Begins};
use crate::dialects::{json_response, stream_response, with_ignored};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::generation::{Ask, End, Generation, Piece, TokenStep, Whole};
use crate::loaded::Lease;
use crate::server::SharedApp;

/// What all chunks and answers of one request have in common.
#[derive(Clone)]
struct Frame {
    id: String,
    created: u64,
    model: String,
    has_logprobs: bool,
}

pub(super) async fn answer(app: &SharedApp, mut fields: Fields) -> Result<Response, ApiError> {
    let options = Options::take(&mut fields)?;
    let messages = wire::messages(&mut fields)?;
    let logprobs = logprobs(&mut fields)?;
    let variables = template_variables(&mut fields)?;
    refuse_unsupported(&mut fields)?;
    let ignored = fields.rest();

    let model = Arc::new(app.models.get(&options.model, None).await?);
    let tokens = model.tokens_of_conversation(&messages, None, variables.as_ref())?;
    let splitter = reasoning_splitter(&model, &tokens);
    let constraint = match &options.constraint {
        Some(wish) => Some(constrained::constraint(&model, wish, &tokens, Begins::AfterReasoning).await?),
        None => None,
    };
    let generations = start_all(&model, &options, &tokens, logprobs, constraint)?;
    let frame = Frame {
        id: wire::answer_id("chatcmpl"),
        created: wire::now_s(),
        model: options.model.clone(),
        has_logprobs: logprobs.is_some(),
    };
    let response = if options.is_stream {
        let chunks = chunks(frame, model, generations, splitter, options.has_usage_chunk);
        stream_response("text/event-stream", chunks)
    } else {
        whole(&frame, &model, generations, splitter).await?
    };
    Ok(with_ignored(response, &ignored))
}

fn logprobs(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let is_wanted = fields.switch("logprobs")?.unwrap_or(false);
    let top = fields.count("top_logprobs", 0, TOP_LOGPROBS_MAX)?;
    if top.is_some_and(|top| top > 0) && !is_wanted {
        return Err(ApiError::bad("top_logprobs", "`top_logprobs` needs `logprobs` to be true"));
    }
    Ok(is_wanted.then_some(top.unwrap_or(0)))
}

/// Variables for the template: those the request gives, and the switches for reasoning under the names that templates use.
fn template_variables(fields: &mut Fields) -> Result<Option<serde_json::Map<String, Json>>, ApiError> {
    let mut variables = fields.object("chat_template_kwargs")?.unwrap_or_default();
    if let Some(effort) = fields.text("reasoning_effort")? {
        if !["none", "minimal", "low", "medium", "high", "xhigh"].contains(&effort.as_str()) {
            let cause = format!("`reasoning_effort` is `{effort}`, none, minimal, low, medium or high expected");
            return Err(ApiError::bad("reasoning_effort", cause));
        }
        let is_on = effort != "none";
        variables.entry("enable_thinking").or_insert(Json::Bool(is_on));
        variables.entry("thinking").or_insert(Json::Bool(is_on));
        if is_on {
            variables.entry("reasoning_effort").or_insert(Json::String(effort));
        }
    }
    Ok((!variables.is_empty()).then_some(variables))
}

fn refuse_unsupported(fields: &mut Fields) -> Result<(), ApiError> {
    fields.refuse("tools", "calls of tools are not read out of answers yet")?;
    fields.refuse("functions", "calls of tools are not read out of answers yet")?;
    match fields.take("tool_choice") {
        None => {}
        Some(choice) if choice == "none" || choice == "auto" => {}
        Some(_) => {
            return Err(ApiError::unsupported("tool_choice", "`tool_choice` needs tools, which are not supported"));
        }
    }
    fields.accept(&["function_call"]);
    Ok(())
}

fn start_all(
    model: &Arc<Lease>,
    options: &Options,
    tokens: &[u32],
    logprobs: Option<usize>,
    constraint: Option<Constraint>,
) -> Result<Vec<Generation>, ApiError> {
    let sampling = options.sampling.over(&model.default_sampling)?;
    (0..options.choice_count)
        .map(|index| {
            let mut sampling = sampling.clone();
            // Each answer to one prompt is another draw.
            sampling.seed = sampling.seed.map(|seed| seed.wrapping_add(index as u64));
            let ask = Ask {
                tokens: tokens.to_vec(),
                max_tokens: options.max_tokens.or(model.default_max_tokens),
                sampling,
                stop: options.stop.clone().unwrap_or_else(|| model.default_stop.clone()),
                ignores_end: options.ignores_end,
                logprobs,
                constraint: constraint.clone(),
                ..Ask::default()
            };
            Generation::start(model, ask)
        })
        .collect()
}

async fn whole(
    frame: &Frame,
    model: &Lease,
    generations: Vec<Generation>,
    splitter: Option<ReasoningSplitter>,
) -> Result<Response, ApiError> {
    let mut usage = Usage::default();
    let mut choices = Vec::new();
    let answers = futures_util::future::try_join_all(generations.into_iter().map(Generation::collect)).await?;
    for (index, Whole { text, steps, end, .. }) in answers.into_iter().enumerate() {
        wire::add_usage(&mut usage, &end.usage);
        let mut speech = Speech::new(splitter.clone());
        let mut spoken = speech.push(text);
        let rest = speech.finish();
        spoken.reasoning.push_str(&rest.reasoning);
        spoken.content.push_str(&rest.content);
        let mut message = json!({ "role": "assistant", "content": spoken.content, "refusal": null });
        if !spoken.reasoning.is_empty() {
            message["reasoning_content"] = json!(spoken.reasoning);
            message["reasoning"] = json!(spoken.reasoning);
        }
        choices.push(json!({
            "index": index,
            "message": message,
            "logprobs": logprobs_json(frame, model, &steps),
            "finish_reason": end.reason.word(),
        }));
    }
    let body = json!({
        "id": frame.id,
        "object": "chat.completion",
        "created": frame.created,
        "model": frame.model,
        "system_fingerprint": crate::dialects::fingerprint(),
        "choices": choices,
        "usage": wire::usage_json(&usage),
    });
    Ok(json_response(StatusCode::OK, &body))
}

fn logprobs_json(frame: &Frame, model: &Lease, steps: &[TokenStep]) -> Json {
    if !frame.has_logprobs {
        return Json::Null;
    }
    let content: Vec<Json> = steps.iter().map(|step| wire::logprob_json(&model.tokenizer, step)).collect();
    json!({ "content": content, "refusal": null })
}

/// One answer as it comes: its chunks, and how it ended.
struct Choice {
    index: usize,
    generation: Generation,
    speech: Speech,
    /// Log-probabilities of tokens whose text is still held back.
    steps: Vec<TokenStep>,
    queue: VecDeque<Json>,
    end: Option<Result<End, ApiError>>,
}

/// What a choice says next.
enum Said {
    Chunk(Json),
    End(Result<End, ApiError>),
}

impl Choice {
    async fn next(mut self, frame: Frame, model: Arc<Lease>) -> Option<(Said, Choice)> {
        loop {
            if let Some(chunk) = self.queue.pop_front() {
                return Some((Said::Chunk(chunk), self));
            }
            if let Some(end) = self.end.take() {
                return Some((Said::End(end), self));
            }
            match self.generation.next().await? {
                Ok(Piece::Prompt { .. }) => {}
                Ok(Piece::Text { text, tokens }) => {
                    self.steps.extend(tokens);
                    let spoken = self.speech.push(text);
                    self.say(&frame, &model, spoken);
                }
                Ok(Piece::End(end)) => {
                    let spoken = self.speech.finish();
                    self.say(&frame, &model, spoken);
                    let last = choice_chunk(&frame, self.index, json!({}), Json::Null, Some(end.reason.word()));
                    self.queue.push_back(last);
                    self.end = Some(Ok(end));
                }
                Err(error) => self.end = Some(Err(error)),
            }
        }
    }

    fn say(&mut self, frame: &Frame, model: &Lease, spoken: Spoken) {
        // Without text a chunk says nothing, but log-probabilities are owed for every token.
        let owes_logprobs = frame.has_logprobs && !self.steps.is_empty();
        if spoken.is_empty() && !owes_logprobs {
            return;
        }
        let mut delta = json!({});
        if !spoken.reasoning.is_empty() {
            delta["reasoning_content"] = json!(spoken.reasoning);
            delta["reasoning"] = json!(spoken.reasoning);
        }
        if !spoken.content.is_empty() || spoken.reasoning.is_empty() {
            delta["content"] = json!(spoken.content);
        }
        let logprobs = logprobs_json(frame, model, &std::mem::take(&mut self.steps));
        self.queue.push_back(choice_chunk(frame, self.index, delta, logprobs, None));
    }
}

fn choice_chunk(frame: &Frame, index: usize, delta: Json, logprobs: Json, finish_reason: Option<&str>) -> Json {
    let choice = json!({ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason });
    chunk(frame, json!([choice]))
}

fn chunk(frame: &Frame, choices: Json) -> Json {
    json!({
        "id": frame.id,
        "object": "chat.completion.chunk",
        "created": frame.created,
        "model": frame.model,
        "system_fingerprint": crate::dialects::fingerprint(),
        "choices": choices,
    })
}

fn event(json: &Json) -> String {
    format!("data: {json}\n\n")
}

/// The answers as server-sent events, in the order in which their tokens come.
fn chunks(
    frame: Frame,
    model: Arc<Lease>,
    generations: Vec<Generation>,
    splitter: Option<ReasoningSplitter>,
    has_usage_chunk: bool,
) -> impl Stream<Item = String> + Send {
    let choice_count = generations.len();
    let first: Vec<String> = (0..choice_count)
        .map(|index| {
            let delta = json!({ "role": "assistant", "content": "", "refusal": null });
            event(&choice_chunk(&frame, index, delta, Json::Null, None))
        })
        .collect();
    let (of_choices, model) = (frame.clone(), model);
    let choices = generations.into_iter().enumerate().map(|(index, generation)| {
        let choice = Choice {
            index,
            generation,
            speech: Speech::new(splitter.clone()),
            steps: Vec::new(),
            queue: VecDeque::new(),
            end: None,
        };
        let (frame, model) = (of_choices.clone(), Arc::clone(&model));
        stream::unfold(choice, move |choice| choice.next(frame.clone(), Arc::clone(&model))).boxed()
    });
    let mut usage = Usage::default();
    let mut open = choice_count;
    let mut has_failed = false;
    let said = stream::select_all(choices).map(move |said| match said {
        _ if has_failed => String::new(),
        Said::Chunk(chunk) => event(&chunk),
        Said::End(Ok(end)) => {
            wire::add_usage(&mut usage, &end.usage);
            open -= 1;
            if open > 0 {
                return String::new();
            }
            let mut text = String::new();
            if has_usage_chunk {
                let mut last = chunk(&frame, json!([]));
                last["usage"] = wire::usage_json(&usage);
                text = event(&last);
            }
            text + "data: [DONE]\n\n"
        }
        // The status is sent already: the error is the last event, and no [DONE] follows.
        Said::End(Err(error)) => {
            has_failed = true;
            event(&error_body(&error))
        }
    });
    stream::iter(first).chain(said).filter(|text| std::future::ready(!text.is_empty()))
}
