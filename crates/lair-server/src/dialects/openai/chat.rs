//! `/v1/chat/completions`.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream::{self, Stream, StreamExt};
use lair_engine::Usage;
use lair_text::output::Part;
use serde_json::{Value as Json, json};

use super::error_body;
use super::tools::{self, ToolWishes};
use super::wire::{self, Options, TOP_LOGPROBS_MAX};
use crate::chat::{self, AnswerLength, ChatAnswer, ChatPrompt, ChatRequest, Said, WholeAnswer};
use crate::dialects::{json_response, stream_response, with_ignored};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::generation::{End, EndReason, TokenStep};
use crate::loaded::Lease;
use crate::server::SharedApp;

/// What all chunks and answers of one request have in common.
#[derive(Clone)]
struct Frame {
    id: String,
    created: u64,
    model: String,
    has_logprobs: bool,
    /// Whether calls are told as OpenAI did before `tools`.
    is_legacy: bool,
}

/// A request, taken apart.
struct Asked {
    options: Options,
    request: ChatRequest,
    is_legacy: bool,
    /// Fields without effect.
    ignored: Vec<String>,
}

fn take(mut fields: Fields) -> Result<Asked, ApiError> {
    let options = Options::take(&mut fields)?;
    let messages = wire::messages(&mut fields)?;
    let logprobs = logprobs(&mut fields)?;
    let variables = template_variables(&mut fields)?;
    let reasoning_budget = reasoning_budget(&mut fields)?;
    let ToolWishes { tools, choice, is_parallel, is_legacy, ignored } = ToolWishes::take(&mut fields)?;
    let ignored = [ignored, fields.rest()].concat();
    let request = ChatRequest {
        messages,
        tools,
        tool_choice: choice,
        constraint: options.constraint.clone(),
        is_single_call: !is_parallel,
        reasoning_budget,
        variables,
        sampling: options.sampling.clone(),
        stop: options.stop.clone(),
        length: AnswerLength::at_most(options.max_tokens),
        choice_count: options.choice_count,
        ignores_end: options.ignores_end,
        logprobs,
    };
    Ok(Asked { options, request, is_legacy, ignored })
}

/// Tokens of a request's prompt, as llama-server says them.
pub(crate) async fn count(app: &SharedApp, fields: Fields) -> Result<Response, ApiError> {
    let Asked { options, request, ignored, .. } = take(fields)?;
    let model = app.models.get(&options.model, None).await?;
    let prompt = ChatPrompt::of_conversation(&model, &request)?;
    let body = json!({ "object": "response.input_tokens", "input_tokens": prompt.tokens.len() });
    Ok(with_ignored(json_response(StatusCode::OK, &body), &ignored))
}

pub(crate) async fn answer(app: &SharedApp, fields: Fields) -> Result<Response, ApiError> {
    let Asked { options, request, is_legacy, ignored } = take(fields)?;
    let model = Arc::new(app.models.get(&options.model, None).await?);
    let answers = chat::start(&model, &request).await?;
    let frame = Frame {
        id: wire::answer_id("chatcmpl"),
        created: wire::now_s(),
        model: options.model.clone(),
        has_logprobs: request.logprobs.is_some(),
        is_legacy,
    };
    let response = if options.is_stream {
        let chunks = chunks(frame, model, answers, options.has_usage_chunk);
        stream_response("text/event-stream", chunks)
    } else {
        whole(&frame, &model, answers).await?
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

/// The most tokens of reasoning, under the names that servers have for it; below zero is no bound.
fn reasoning_budget(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    for name in ["reasoning_budget", "thinking_budget", "thinking_budget_tokens", "thinking_token_budget"] {
        if let Some(budget) = fields.whole(name)? {
            return Ok(usize::try_from(budget).ok());
        }
    }
    Ok(None)
}

/// Variables for the template: those the request gives, and the switches for reasoning under the names that templates use.
pub(super) fn template_variables(fields: &mut Fields) -> Result<Option<serde_json::Map<String, Json>>, ApiError> {
    fields.refuse("chat_template", "templates come with models; `lair create` makes a model with another one")?;
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

async fn whole(frame: &Frame, model: &Lease, answers: Vec<ChatAnswer>) -> Result<Response, ApiError> {
    let mut usage = Usage::default();
    let mut choices = Vec::new();
    let answers = futures_util::future::try_join_all(answers.into_iter().map(ChatAnswer::collect)).await?;
    let timings = answers.last().map(|answer| wire::timings_json(&answer.end));
    for (index, answer) in answers.into_iter().enumerate() {
        wire::add_usage(&mut usage, &answer.end.usage);
        choices.push(json!({
            "index": index,
            "message": message(frame, &answer),
            "logprobs": logprobs_json(frame, model, &answer.steps),
            "finish_reason": finish_reason(frame, &answer.end),
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
        "timings": timings,
    });
    Ok(json_response(StatusCode::OK, &body))
}

/// Why an answer ended.
fn finish_reason(frame: &Frame, end: &End) -> &'static str {
    if frame.is_legacy && end.reason == EndReason::ToolCalls { "function_call" } else { end.reason.word() }
}

fn message(frame: &Frame, answer: &WholeAnswer) -> Json {
    let WholeAnswer { reasoning, content, calls, .. } = answer;
    let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
    if !reasoning.is_empty() {
        message["reasoning_content"] = json!(reasoning);
        message["reasoning"] = json!(reasoning);
    }
    tools::put_calls(&mut message, calls, frame.is_legacy);
    message
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
    answer: ChatAnswer,
    /// Log-probabilities of tokens whose text is still held back.
    steps: Vec<TokenStep>,
    queue: VecDeque<Json>,
    end: Option<Result<End, ApiError>>,
}

/// What a choice gives next.
enum Next {
    Chunk(Json),
    End(Result<End, ApiError>),
}

impl Choice {
    async fn next(mut self, frame: Frame, model: Arc<Lease>) -> Option<(Next, Choice)> {
        loop {
            if let Some(chunk) = self.queue.pop_front() {
                return Some((Next::Chunk(chunk), self));
            }
            if let Some(end) = self.end.take() {
                return Some((Next::End(end), self));
            }
            match self.answer.next().await? {
                Ok(Said::More { parts, steps }) => {
                    self.steps.extend(steps);
                    self.say(&frame, &model, parts);
                }
                Ok(Said::End(end)) => {
                    let reason = finish_reason(&frame, &end);
                    let mut last = choice_chunk(&frame, self.index, json!({}), Json::Null, Some(reason));
                    last["timings"] = wire::timings_json(&end);
                    self.queue.push_back(last);
                    self.end = Some(Ok(end));
                }
                Err(error) => self.end = Some(Err(error)),
            }
        }
    }

    fn say(&mut self, frame: &Frame, model: &Lease, parts: Vec<Part>) {
        let mut deltas: Vec<Json> = parts.into_iter().filter_map(|part| delta(frame, part)).collect();
        // Without text a chunk says nothing, but log-probabilities are owed for every token.
        if deltas.is_empty() && frame.has_logprobs && !self.steps.is_empty() {
            deltas.push(json!({ "content": "" }));
        }
        for delta in deltas {
            let logprobs = logprobs_json(frame, model, &std::mem::take(&mut self.steps));
            self.queue.push_back(choice_chunk(frame, self.index, delta, logprobs, None));
        }
    }
}

/// What a part changes in the message.
fn delta(frame: &Frame, part: Part) -> Option<Json> {
    let of_call = |call: Json| {
        let is_legacy = frame.is_legacy;
        Some(if is_legacy { json!({ "function_call": call["function"] }) } else { json!({ "tool_calls": [call] }) })
    };
    match part {
        Part::Reasoning(text) => Some(json!({ "reasoning_content": text, "reasoning": text })),
        Part::Content(text) | Part::CallBroken { text, .. } => Some(json!({ "content": text })),
        Part::CallBegin { index, id, name } => of_call(
            json!({ "index": index, "id": id, "type": "function", "function": { "name": name, "arguments": "" } }),
        ),
        Part::CallArguments { index, text } => of_call(json!({ "index": index, "function": { "arguments": text } })),
        Part::CallEnd { .. } => None,
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
    answers: Vec<ChatAnswer>,
    has_usage_chunk: bool,
) -> impl Stream<Item = String> + Send {
    let choice_count = answers.len();
    let first: Vec<String> = (0..choice_count)
        .map(|index| {
            let delta = json!({ "role": "assistant", "content": "", "refusal": null });
            event(&choice_chunk(&frame, index, delta, Json::Null, None))
        })
        .collect();
    let (of_choices, model) = (frame.clone(), model);
    let choices = answers.into_iter().enumerate().map(|(index, answer)| {
        let choice = Choice { index, answer, steps: Vec::new(), queue: VecDeque::new(), end: None };
        let (frame, model) = (of_choices.clone(), Arc::clone(&model));
        stream::unfold(choice, move |choice| choice.next(frame.clone(), Arc::clone(&model))).boxed()
    });
    let mut usage = Usage::default();
    let mut open = choice_count;
    let mut has_failed = false;
    let said = stream::select_all(choices).map(move |said| match said {
        _ if has_failed => String::new(),
        Next::Chunk(chunk) => event(&chunk),
        Next::End(Ok(end)) => {
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
        Next::End(Err(error)) => {
            has_failed = true;
            event(&error_body(&error))
        }
    });
    stream::iter(first).chain(said).filter(|text| std::future::ready(!text.is_empty()))
}
