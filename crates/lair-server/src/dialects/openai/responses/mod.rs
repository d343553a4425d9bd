//! `/v1/responses`: answers as lists of items, told in numbered events, kept so that the next request can go on from them.
//!
//! Source: OpenAI's OpenAPI description, version 2.3, "Responses".

mod answer;
mod request;
mod tools;

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value as Json, json};

use crate::chat::{self, ChatPrompt};
use crate::dialects::route::{Field, Kind, Route, fields_of, parameter, spoken};
use crate::dialects::{json_response, stream_response, with_ignored};
use crate::error::{ApiError, ErrorKind};
use crate::keys::Scope;
use crate::server::SharedApp;
use crate::stored_responses::StoredResponse;

/// Fields that decide about the prompt.
const INPUT_FIELDS: &[Field] = &[
    Field::required("model", Kind::Text),
    Field::required("input", Kind::Mixed),
    Field::new("instructions", Kind::Text),
    Field::new("previous_response_id", Kind::Text),
    Field::new("tools", Kind::List),
    Field::new("tool_choice", Kind::Mixed),
    Field::new("reasoning", Kind::Object),
    Field::new("text", Kind::Object),
    Field::new("truncation", Kind::Text),
];
/// Fields of an answer.
const ANSWER_FIELDS: &[Field] = &[
    Field::new("max_output_tokens", Kind::Whole),
    Field::new("temperature", Kind::Number),
    Field::new("top_p", Kind::Number),
    Field::new("store", Kind::Switch),
    Field::new("stream", Kind::Switch),
    Field::new("metadata", Kind::Object),
    Field::new("include", Kind::List),
    Field::new("parallel_tool_calls", Kind::Switch),
    Field::new("background", Kind::Switch),
];
/// Items of a list that are given at once; at most so many are.
const PAGE: usize = 20;
const PAGE_MAX: usize = 100;

pub(crate) fn routes() -> Vec<Route> {
    const CREATE: &[&[Field]] = &[INPUT_FIELDS, ANSWER_FIELDS];
    vec![
        Route::post(Scope::Chat, "/v1/responses", "Answers a conversation, and keeps the answer.", CREATE, create),
        Route::post(Scope::Chat, "/v1/responses/input_tokens", "Tokens of a conversation.", &[INPUT_FIELDS], count),
        Route::get(Scope::Chat, "/v1/responses/{id}", "An answer that was kept.", retrieve),
        Route::delete(Scope::Chat, "/v1/responses/{id}", "Forgets an answer.", &[], delete),
        Route::get(Scope::Chat, "/v1/responses/{id}/input_items", "What an answer was given to.", input_items),
        Route::post(
            Scope::Chat,
            "/v1/responses/{id}/cancel",
            "Refused: answers are not made in the background.",
            &[],
            cancel,
        ),
    ]
}

async fn create(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async {
        let mut fields = fields_of(&app, request).await?;
        let (asked, mut shape) = request::take(&mut fields)?;
        let ignored = [std::mem::take(&mut shape.ignored), fields.rest()].concat();
        let earlier = earlier_messages(&app, shape.previous.as_deref())?;
        let model = Arc::new(app.models.get(&asked.model, None).await?);
        let chat_request = asked.chat_request(&earlier);
        let answer = chat::start(&model, &chat_request).await?.swap_remove(0);
        shape.conversation = [earlier, asked.messages].concat();
        let is_stream = shape.is_stream;
        let response = if is_stream {
            stream_response("text/event-stream", answer::events(app.clone(), shape, answer))
        } else {
            json_response(StatusCode::OK, &answer::whole(&app, shape, answer).await?)
        };
        Ok(with_ignored(response, &ignored))
    };
    spoken("/v1/", answered.await)
}

async fn count(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async {
        let mut fields = fields_of(&app, request).await?;
        let (asked, shape) = request::take(&mut fields)?;
        let ignored = [shape.ignored, fields.rest()].concat();
        let earlier = earlier_messages(&app, shape.previous.as_deref())?;
        let model = Arc::new(app.models.get(&asked.model, None).await?);
        let prompt = ChatPrompt::of_conversation(&model, &asked.chat_request(&earlier))?;
        let body = json!({ "object": "response.input_tokens", "input_tokens": prompt.tokens.len() });
        Ok(with_ignored(json_response(StatusCode::OK, &body), &ignored))
    };
    spoken("/v1/", answered.await)
}

/// The conversation that a request goes on from.
fn earlier_messages(app: &SharedApp, previous: Option<&str>) -> Result<Vec<Json>, ApiError> {
    let Some(id) = previous else { return Ok(Vec::new()) };
    let stored = app
        .responses
        .get(id)
        .ok_or_else(|| ApiError { parameter: Some("previous_response_id".to_owned()), ..missing(id) })?;
    Ok(stored.messages.clone())
}

fn missing(id: &str) -> ApiError {
    ApiError::new(ErrorKind::NotFound, format!("the response `{id}` is not there"))
        .with_hint("answers are kept in memory, the oldest are forgotten".to_owned())
}

fn stored(app: &SharedApp, id: &str) -> Result<Arc<StoredResponse>, ApiError> {
    app.responses.get(id).ok_or_else(|| missing(id))
}

async fn retrieve(State(app): State<SharedApp>, Path(id): Path<String>, uri: Uri) -> Response {
    let answered = stored(&app, &id).and_then(|stored| {
        if parameter(&uri, "stream").is_some_and(|value| value == "true") {
            return Err(ApiError::unsupported("stream", "an answer that was kept is given whole, not as a stream"));
        }
        Ok(json_response(StatusCode::OK, &stored.response))
    });
    spoken("/v1/", answered)
}

async fn delete(State(app): State<SharedApp>, Path(id): Path<String>) -> Response {
    let answered = if app.responses.delete(&id) {
        Ok(json_response(StatusCode::OK, &json!({ "id": id, "object": "response", "deleted": true })))
    } else {
        Err(missing(&id))
    };
    spoken("/v1/", answered)
}

async fn cancel(State(app): State<SharedApp>, Path(id): Path<String>) -> Response {
    let answered = stored(&app, &id).and_then(|_| {
        let cause = format!("the response `{id}` has ended; one that is being made ends when its client goes away");
        Err(ApiError::new(ErrorKind::BadRequest, cause))
    });
    spoken("/v1/", answered)
}

async fn input_items(State(app): State<SharedApp>, Path(id): Path<String>, uri: Uri) -> Response {
    let answered = stored(&app, &id).and_then(|stored| {
        let is_ascending = match parameter(&uri, "order").as_deref() {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(other) => return Err(ApiError::bad("order", format!("`order` is `{other}`, asc or desc expected"))),
        };
        let limit = parameter(&uri, "limit").map_or(Ok(PAGE), |text| text.parse());
        let limit = limit.ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
        let limit = limit.ok_or_else(|| ApiError::bad("limit", format!("`limit` is not 1 to {PAGE_MAX}")))?;
        let mut items = stored.input.clone();
        if !is_ascending {
            items.reverse();
        }
        let after = parameter(&uri, "after");
        let first = after.and_then(|after| items.iter().position(|item| item["id"] == after.as_str()));
        items.drain(..first.map_or(0, |index| index + 1));
        let has_more = items.len() > limit;
        items.truncate(limit);
        let id_of = |item: Option<&Json>| item.map_or(Json::Null, |item| item["id"].clone());
        let (first_id, last_id) = (id_of(items.first()), id_of(items.last()));
        let body = json!({
            "object": "list", "data": items, "first_id": first_id, "last_id": last_id, "has_more": has_more,
        });
        Ok(json_response(StatusCode::OK, &body))
    });
    spoken("/v1/", answered)
}
