//! OpenAI's API: chat and text completions, models.
//!
//! Source: OpenAI's OpenAPI description, version 2.3. Extensions of vLLM and llama-server that change sampling
//! (`top_k`, `min_p`, `repetition_penalty` ...) are honoured under their names.

mod chat;
mod completions;
mod embeddings;
mod models;
mod responses;
mod tools;
mod wire;

pub(super) use chat::answer as chat_answer;
pub(super) use completions::answer as text_answer;
pub(super) use responses::routes as response_routes;
pub(super) use wire::{answer_id, messages};

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value as Json, json};

use super::route::{Field, Kind, Route, fields_of, spoken};
use crate::error::{ApiError, ErrorKind};
use crate::keys::Scope;
use crate::server::SharedApp;

/// Fields that both kinds of completion take.
pub(super) const COMMON_FIELDS: &[Field] = &[
    Field::required("model", Kind::Text),
    Field::new("max_tokens", Kind::Whole),
    Field::new("max_completion_tokens", Kind::Whole),
    Field::new("temperature", Kind::Number),
    Field::new("top_p", Kind::Number),
    Field::new("top_k", Kind::Whole),
    Field::new("min_p", Kind::Number),
    Field::new("typical_p", Kind::Number),
    Field::new("mirostat", Kind::Whole),
    Field::new("mirostat_tau", Kind::Number),
    Field::new("mirostat_eta", Kind::Number),
    Field::new("repetition_penalty", Kind::Number),
    Field::new("repeat_penalty", Kind::Number),
    Field::new("repeat_last_n", Kind::Whole),
    Field::new("presence_penalty", Kind::Number),
    Field::new("frequency_penalty", Kind::Number),
    Field::new("logit_bias", Kind::Object),
    Field::new("seed", Kind::Whole),
    Field::new("n", Kind::Whole),
    Field::new("stop", Kind::Texts),
    Field::new("stream", Kind::Switch),
    Field::new("stream_options", Kind::Object),
    Field::new("ignore_eos", Kind::Switch),
    Field::new("response_format", Kind::Object),
];
/// Fields of chat completions alone.
pub(super) const CHAT_FIELDS: &[Field] = &[
    Field::required("messages", Kind::List),
    Field::new("logprobs", Kind::Switch),
    Field::new("top_logprobs", Kind::Whole),
    Field::new("tools", Kind::List),
    Field::new("parallel_tool_calls", Kind::Switch),
    Field::new("reasoning_effort", Kind::Text),
    Field::new("chat_template_kwargs", Kind::Object),
];
/// Fields of text completions alone.
pub(super) const TEXT_FIELDS: &[Field] = &[
    Field::required("prompt", Kind::Mixed),
    Field::new("suffix", Kind::Text),
    Field::new("echo", Kind::Switch),
    Field::new("logprobs", Kind::Whole),
    Field::new("best_of", Kind::Whole),
];

/// Fields of embeddings.
const EMBEDDING_FIELDS: &[Field] = &[
    Field::required("model", Kind::Text),
    Field::required("input", Kind::Mixed),
    Field::new("encoding_format", Kind::Text),
    Field::new("dimensions", Kind::Whole),
    Field::new("truncate", Kind::Switch),
    Field::new("embd_normalize", Kind::Whole),
    Field::new("truncate_prompt_tokens", Kind::Whole),
];

pub(super) fn routes() -> Vec<Route> {
    const CHAT: &[&[Field]] = &[CHAT_FIELDS, COMMON_FIELDS];
    const TEXT: &[&[Field]] = &[TEXT_FIELDS, COMMON_FIELDS];
    vec![
        Route::post(Scope::Chat, "/v1/chat/completions", "Answers a conversation.", CHAT, chat_completions),
        Route::post(Scope::Chat, "/chat/completions", "Answers a conversation.", CHAT, chat_completions),
        Route::post(Scope::Chat, "/v1/chat/completions/input_tokens", "Tokens of a conversation.", CHAT, chat_tokens),
        Route::post(Scope::Chat, "/v1/completions", "Continues a prompt.", TEXT, text_completions),
        Route::post(Scope::Embeddings, "/v1/embeddings", "Vectors of texts.", &[EMBEDDING_FIELDS], text_embeddings),
        // LM Studio's path for the same.
        Route::post(Scope::Embeddings, "/api/v0/embeddings", "Vectors of texts.", &[EMBEDDING_FIELDS], text_embeddings),
        Route::get(Scope::ModelsRead, "/v1/models", "The models there are.", models::list),
        Route::get(Scope::ModelsRead, "/models", "The models there are.", models::list),
        Route::get(Scope::ModelsRead, "/v1/models/{*id}", "One model.", models::retrieve),
    ]
}

async fn chat_completions(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async { chat::answer(&app, fields_of(&app, request).await?).await };
    spoken("/v1/", answered.await)
}

async fn chat_tokens(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async { chat::count(&app, fields_of(&app, request).await?).await };
    spoken("/v1/", answered.await)
}

async fn text_completions(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async { completions::answer(&app, fields_of(&app, request).await?).await };
    spoken("/v1/", answered.await)
}

async fn text_embeddings(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async { embeddings::answer(&app, fields_of(&app, request).await?).await };
    spoken("/v1/", answered.await)
}

/// An error as OpenAI's clients read it.
pub(super) fn error_body(error: &ApiError) -> Json {
    let (kind, code) = match &error.kind {
        ErrorKind::BadRequest
        | ErrorKind::TooSlow
        | ErrorKind::TooLarge
        | ErrorKind::PathTooLong
        | ErrorKind::NotJson => ("invalid_request_error", None),
        ErrorKind::Unsupported => ("invalid_request_error", Some("unsupported_parameter")),
        ErrorKind::ContextExceeded { .. } => ("invalid_request_error", Some("context_length_exceeded")),
        ErrorKind::Unauthorized => ("authentication_error", Some("invalid_api_key")),
        ErrorKind::Forbidden => ("permission_error", None),
        ErrorKind::NotFound => ("not_found_error", Some("not_found")),
        ErrorKind::MethodNotAllowed => ("invalid_request_error", Some("method_not_allowed")),
        ErrorKind::Overloaded => ("overloaded_error", Some("queue_full")),
        ErrorKind::RateLimited { .. } => ("rate_limit_error", Some("rate_limit_exceeded")),
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
