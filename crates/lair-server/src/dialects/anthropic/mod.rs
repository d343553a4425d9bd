//! Anthropic's API: messages.
//!
//! Source: Anthropic's API reference, version 2023-06-01. Blocks become messages in the form that templates know
//! (`request.rs`), and what the model says becomes blocks again (`answer.rs`).

mod answer;
mod request;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value as Json, json};

use super::route::{Field, Kind, Route, fields_of, spoken};
use super::{json_response, stream_response, with_ignored};
use crate::chat::{self, ChatPrompt};
use crate::error::{ApiError, ErrorKind};
use crate::keys::Scope;
use crate::server::SharedApp;

/// Fields of a conversation, for an answer or to be counted.
const CONVERSATION_FIELDS: &[Field] = &[
    Field::required("model", Kind::Text),
    Field::required("messages", Kind::List),
    Field::new("system", Kind::Texts),
    Field::new("tools", Kind::List),
    Field::new("tool_choice", Kind::Object),
    Field::new("thinking", Kind::Object),
];
/// Fields of an answer alone.
const ANSWER_FIELDS: &[Field] = &[
    Field::required("max_tokens", Kind::Whole),
    Field::new("stop_sequences", Kind::List),
    Field::new("stream", Kind::Switch),
    Field::new("temperature", Kind::Number),
    Field::new("top_k", Kind::Whole),
    Field::new("top_p", Kind::Number),
    Field::new("metadata", Kind::Object),
    Field::new("output_format", Kind::Object),
];

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post(
            Scope::Chat,
            "/v1/messages",
            "Answers a conversation.",
            &[CONVERSATION_FIELDS, ANSWER_FIELDS],
            messages,
        ),
        Route::post(
            Scope::Chat,
            "/v1/messages/count_tokens",
            "Tokens of a conversation.",
            &[CONVERSATION_FIELDS],
            count_tokens,
        ),
    ]
}

async fn messages(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async {
        let mut fields = fields_of(&app, request).await?;
        let message = request::MessageRequest::take(&mut fields)?;
        let ignored = fields.rest();
        let model = std::sync::Arc::new(app.models.get(&message.model, None).await?);
        let mut prompt = ChatPrompt::of_conversation(&model, &message.chat)?;
        message.begin_answer(&model, &mut prompt);
        let chat = chat::start_from(&model, &prompt, &message.chat).await?.swap_remove(0);
        let frame = answer::Frame::new(message.model, prompt.tokens.len());
        let response = if message.is_stream {
            stream_response("text/event-stream", answer::events(frame, chat))
        } else {
            json_response(StatusCode::OK, &frame.message(&chat.collect().await?))
        };
        Ok(with_ignored(response, &ignored))
    };
    spoken("/v1/messages", answered.await)
}

async fn count_tokens(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async {
        let mut fields = fields_of(&app, request).await?;
        let message = request::MessageRequest::take_conversation(&mut fields)?;
        let ignored = fields.rest();
        let model = std::sync::Arc::new(app.models.get(&message.model, None).await?);
        let mut prompt = ChatPrompt::of_conversation(&model, &message.chat)?;
        message.begin_answer(&model, &mut prompt);
        let body = json!({ "input_tokens": prompt.tokens.len() });
        Ok(with_ignored(json_response(StatusCode::OK, &body), &ignored))
    };
    spoken("/v1/messages", answered.await)
}

/// An error as Anthropic's clients read it.
pub(super) fn error_body(error: &ApiError) -> Json {
    let kind = match &error.kind {
        ErrorKind::Unauthorized => "authentication_error",
        ErrorKind::Forbidden => "permission_error",
        ErrorKind::NotFound => "not_found_error",
        ErrorKind::TooLarge => "request_too_large",
        ErrorKind::Overloaded => "overloaded_error",
        ErrorKind::RateLimited { .. } => "rate_limit_error",
        ErrorKind::DoesNotFit | ErrorKind::Internal => "api_error",
        _ => "invalid_request_error",
    };
    json!({ "type": "error", "error": { "type": kind, "message": error.text() } })
}
