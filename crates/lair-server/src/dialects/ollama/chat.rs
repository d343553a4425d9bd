//! `/api/chat`, and the answers that it shares with `/api/generate`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream::{self, Stream};
use lair_text::output::ReasoningSplitter;
use serde_json::{Value as Json, json};

use super::error_body;
use super::generate::{loaded_answer, model_name};
use super::wire::{self, Options};
use crate::answer::{Speech, Spoken, reasoning_splitter};
use crate::constrained::{self, Begins};
use crate::dialects::{json_response, stream_response, with_ignored};
use crate::error::ApiError;
use crate::fields::{Fields, wrong};
use crate::generation::{Ask, Generation, Piece, TokenStep};
use crate::loaded::{KeepAlive, Lease};
use crate::server::SharedApp;

pub(super) async fn answer(app: &SharedApp, mut fields: Fields) -> Result<Response, ApiError> {
    let start = Instant::now();
    let name = model_name(&mut fields)?;
    let messages = messages(fields.list("messages")?.unwrap_or_default())?;
    let is_stream = fields.switch("stream")?.unwrap_or(true);
    let keep_alive = wire::keep_alive(&mut fields)?;
    let options = Options::take(&mut fields)?;
    let logprobs = wire::logprobs(&mut fields)?;
    let think = wire::think(&mut fields)?;
    let wish = constrained::ollama_format(&mut fields)?;
    fields.refuse("tools", "calls of tools are not read out of answers yet")?;
    let ignored = [options.ignored.clone(), fields.rest()].concat();

    let empty = json!({ "message": { "role": "assistant", "content": "" } });
    if messages.is_empty() && keep_alive == Some(KeepAlive::For(std::time::Duration::ZERO)) {
        app.models.unload(&name).await?;
        return Ok(loaded_answer(&name, "unload", &empty));
    }
    let model = Arc::new(app.models.get(&name, keep_alive).await?);
    if messages.is_empty() {
        return Ok(loaded_answer(&name, "load", &empty));
    }
    let tokens = model.tokens_of_conversation(&messages, None, wire::think_variables(think.as_ref()).as_ref())?;
    let splitter = reasoning_splitter(&model, &tokens);
    let constraint = match &wish {
        Some(wish) => Some(constrained::constraint(&model, wish, &tokens, Begins::AfterReasoning).await?),
        None => None,
    };
    let ask = Ask {
        constraint,
        max_tokens: options.max_tokens(&model, tokens.len())?,
        sampling: options.sampling.over(&model.default_sampling)?,
        stop: options.stop.clone().unwrap_or_else(|| model.default_stop.clone()),
        logprobs,
        tokens,
        ..Ask::default()
    };
    let generation = Generation::start(&model, ask)?;
    let response =
        respond(name, model, generation, splitter, Shape::Message, (is_stream, logprobs.is_some(), start)).await?;
    Ok(with_ignored(response, &ignored))
}

/// Messages, checked, in the form that templates know.
fn messages(messages: Vec<Json>) -> Result<Vec<Json>, ApiError> {
    messages
        .into_iter()
        .enumerate()
        .map(|(index, mut message)| {
            let place = format!("messages[{index}]");
            if !message.is_object() {
                return Err(wrong(&place, &message, "an object"));
            }
            let role = message["role"].as_str().unwrap_or_default();
            if !["system", "user", "assistant", "tool"].contains(&role) {
                let cause = format!("`{place}.role` is `{role}`, one of system, user, assistant, tool expected");
                return Err(ApiError::bad("messages", cause));
            }
            if message["images"].as_array().is_some_and(|images| !images.is_empty()) {
                let cause = format!("`{place}.images`: pictures are not read yet");
                return Err(ApiError::unsupported("messages", cause));
            }
            match &message["content"] {
                Json::String(_) => {}
                Json::Null => message["content"] = json!(""),
                other => return Err(wrong(&format!("{place}.content"), other, "a string")),
            }
            if let Some(thinking) = message["thinking"].as_str().map(str::to_owned) {
                message["reasoning_content"] = json!(thinking);
            }
            Ok(message)
        })
        .collect()
}

/// Where the text of an answer stands.
pub(super) enum Shape {
    /// In `message.content`.
    Message,
    /// In `response`, with the tokens of the conversation so far at the end.
    Response {
        /// The tokens of the prompt.
        context: Vec<u32>,
    },
}

impl Shape {
    fn put(&self, json: &mut Json, spoken: &Spoken) {
        match self {
            Shape::Message => {
                json["message"] = json!({ "role": "assistant", "content": spoken.content });
                if !spoken.reasoning.is_empty() {
                    json["message"]["thinking"] = json!(spoken.reasoning);
                }
            }
            Shape::Response { .. } => {
                json["response"] = json!(spoken.content);
                if !spoken.reasoning.is_empty() {
                    json["thinking"] = json!(spoken.reasoning);
                }
            }
        }
    }
}

/// An answer in the making.
struct Telling {
    name: String,
    model: Arc<Lease>,
    generation: Generation,
    speech: Speech,
    shape: Shape,
    has_logprobs: bool,
    start: Instant,
    steps: Vec<TokenStep>,
    tokens: Vec<u32>,
    queue: VecDeque<Json>,
}

impl Telling {
    fn line(&self) -> Json {
        json!({ "model": self.name, "created_at": wire::time_text(SystemTime::now()) })
    }

    /// Takes one piece of the answer; `false` when there is none left.
    async fn go_on(&mut self) -> bool {
        match self.generation.next().await {
            None => return false,
            Some(Ok(Piece::Prompt { .. })) => {}
            Some(Ok(Piece::Text { text, tokens })) => {
                self.tokens.extend(tokens.iter().map(|step| step.token));
                self.steps.extend(tokens);
                let spoken = self.speech.push(text);
                self.say(&spoken);
            }
            Some(Ok(Piece::End(end))) => {
                let spoken = self.speech.finish();
                self.say(&spoken);
                let mut last = self.line();
                self.shape.put(&mut last, &Spoken::default());
                last["done"] = json!(true);
                let load = self.model.load;
                for (name, value) in wire::metrics(&end, self.start.elapsed(), load) {
                    last[name] = value;
                }
                if let Shape::Response { context } = &self.shape {
                    let all: Vec<u32> = context.iter().chain(&self.tokens).copied().collect();
                    last["context"] = json!(all);
                }
                self.queue.push_back(last);
            }
            // The status is sent already: an error is the last line.
            Some(Err(error)) => self.queue.push_back(error_body(&error)),
        }
        true
    }

    fn say(&mut self, spoken: &Spoken) {
        if spoken.is_empty() {
            return;
        }
        let mut line = self.line();
        self.shape.put(&mut line, spoken);
        if self.has_logprobs {
            line["logprobs"] = wire::logprobs_json(&self.model, &std::mem::take(&mut self.steps));
        }
        line["done"] = json!(false);
        self.queue.push_back(line);
    }
}

/// The answer as lines, or as one object.
pub(super) async fn respond(
    name: String,
    model: Arc<Lease>,
    generation: Generation,
    splitter: Option<ReasoningSplitter>,
    shape: Shape,
    (is_stream, has_logprobs, start): (bool, bool, Instant),
) -> Result<Response, ApiError> {
    let telling = Telling {
        name,
        model,
        generation,
        speech: Speech::new(splitter),
        shape,
        has_logprobs,
        start,
        steps: Vec::new(),
        tokens: Vec::new(),
        queue: VecDeque::new(),
    };
    if is_stream {
        return Ok(stream_response("application/x-ndjson", lines(telling)));
    }
    whole(telling).await
}

fn lines(telling: Telling) -> impl Stream<Item = String> + Send {
    stream::unfold(telling, |mut telling| async move {
        loop {
            if let Some(line) = telling.queue.pop_front() {
                return Some((format!("{line}\n"), telling));
            }
            if !telling.go_on().await {
                return None;
            }
        }
    })
}

async fn whole(mut telling: Telling) -> Result<Response, ApiError> {
    let (mut spoken, mut steps) = (Spoken::default(), Vec::new());
    loop {
        match telling.generation.next().await {
            None => return Err(ApiError::new(crate::ErrorKind::Internal, "the answer ended without its end")),
            Some(Err(error)) => return Err(error),
            Some(Ok(Piece::Prompt { .. })) => {}
            Some(Ok(Piece::Text { text, tokens })) => {
                telling.tokens.extend(tokens.iter().map(|step| step.token));
                steps.extend(tokens);
                let more = telling.speech.push(text);
                spoken.reasoning.push_str(&more.reasoning);
                spoken.content.push_str(&more.content);
            }
            Some(Ok(Piece::End(end))) => {
                let more = telling.speech.finish();
                spoken.reasoning.push_str(&more.reasoning);
                spoken.content.push_str(&more.content);
                let mut json = telling.line();
                telling.shape.put(&mut json, &spoken);
                json["done"] = json!(true);
                for (name, value) in wire::metrics(&end, telling.start.elapsed(), telling.model.load) {
                    json[name] = value;
                }
                if telling.has_logprobs {
                    json["logprobs"] = wire::logprobs_json(&telling.model, &steps);
                }
                if let Shape::Response { context } = &telling.shape {
                    json["context"] = json!(context.iter().chain(&telling.tokens).collect::<Vec<_>>());
                }
                return Ok(json_response(StatusCode::OK, &json));
            }
        }
    }
}
