//! OpenAI's API: chat and text completions, models.
//!
//! Source: OpenAI's OpenAPI description, version 2.3. Extensions of vLLM and llama-server that change sampling
//! (`top_k`, `min_p`, `repetition_penalty` ...) are honoured under their names.

mod chat;
mod completions;
mod models;
mod tools;
mod wire;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value as Json, json};

use super::{error_response, read_body};
use crate::error::{ApiError, ErrorKind};
use crate::fields::Fields;
use crate::server::SharedApp;

pub(super) fn routes() -> Router<SharedApp> {
    Router::new()
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/completions", post(text_completions))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::retrieve))
}

async fn chat_completions(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async { chat::answer(&app, Fields::parse(&read_body(&app, request).await?)?).await };
    answered.await.unwrap_or_else(|error| error_response("/v1/", &error))
}

async fn text_completions(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async { completions::answer(&app, Fields::parse(&read_body(&app, request).await?)?).await };
    answered.await.unwrap_or_else(|error| error_response("/v1/", &error))
}

/// An error as OpenAI's clients read it.
pub(super) fn error_body(error: &ApiError) -> Json {
    let (kind, code) = match &error.kind {
        ErrorKind::BadRequest | ErrorKind::TooLarge | ErrorKind::NotJson => ("invalid_request_error", None),
        ErrorKind::Unsupported => ("invalid_request_error", Some("unsupported_parameter")),
        ErrorKind::ContextExceeded { .. } => ("invalid_request_error", Some("context_length_exceeded")),
        ErrorKind::Unauthorized => ("authentication_error", Some("invalid_api_key")),
        ErrorKind::Forbidden => ("permission_error", None),
        ErrorKind::NotFound => ("not_found_error", Some("not_found")),
        ErrorKind::MethodNotAllowed => ("invalid_request_error", Some("method_not_allowed")),
        ErrorKind::Overloaded => ("overloaded_error", Some("queue_full")),
        ErrorKind::DoesNotFit => ("server_error", Some("model_does_not_fit")),
        ErrorKind::Internal => ("server_error", None),
    };
    let mut body = json!({ "message": error.text(), "type": kind, "param": error.parameter, "code": code });
    if let ErrorKind::ContextExceeded { prompt_tokens, context_length } = &error.kind {
        // llama-server's names for the same numbers.
        body["n_prompt_tokens"] = json!(prompt_tokens);
        body["n_ctx"] = json!(context_length);
    }
    json!({ "error": body })
}
