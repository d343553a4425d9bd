//! llama-server's own API: `/completion`, `/infill`, `/tokenize`, `/props` and their like.
//!
//! Source: llama.cpp's server, its README and its answers; field by field as in `request.rs` and `sampling.rs`. A request
//! without `model` means the only model that is loaded, or the only one there is.

mod completion;
mod request;
mod sampling;
mod state;
mod tokens;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value as Json, json};

use super::route::{Field, Kind, Route, fields_of, spoken};
use crate::error::{ApiError, ErrorKind};
use crate::keys::Scope;
use crate::server::SharedApp;

/// What only `/completion` takes.
const PROMPT_FIELDS: &[Field] = &[Field::required("prompt", Kind::Mixed)];
/// What only `/infill` takes.
const GAP_FIELDS: &[Field] = &[
    Field::required("input_prefix", Kind::Text),
    Field::required("input_suffix", Kind::Text),
    Field::new("input_extra", Kind::List),
    Field::new("prompt", Kind::Text),
];

/// What an action on a slot takes.
const SLOT_FIELDS: &[Field] = &[Field::new("filename", Kind::Text), Field::new("model", Kind::Text)];

pub(super) fn routes() -> Vec<Route> {
    const COMPLETION: &[&[Field]] = &[PROMPT_FIELDS, request::FIELDS, sampling::FIELDS];
    const INFILL: &[&[Field]] = &[GAP_FIELDS, request::FIELDS, sampling::FIELDS];
    vec![
        Route::post(Scope::Chat, "/completion", "Continues a prompt.", COMPLETION, completion),
        Route::post(Scope::Chat, "/completions", "Continues a prompt.", COMPLETION, completion),
        Route::post(Scope::Chat, "/infill", "Fills a gap between two texts.", INFILL, infill),
        Route::post(
            Scope::Chat,
            "/tokenize",
            "Tokens of a text or a conversation.",
            &[tokens::TOKENIZE_FIELDS],
            tokenize,
        ),
        Route::post(Scope::Chat, "/detokenize", "The text of tokens.", &[tokens::DETOKENIZE_FIELDS], detokenize),
        Route::post(
            Scope::Chat,
            "/apply-template",
            "The prompt of a conversation.",
            &[tokens::TEMPLATE_FIELDS],
            apply_template,
        ),
        Route::get(Scope::ModelsRead, "/props", "What the model and its settings are.", state::props),
        Route::post(Scope::Admin, "/props", "Refused: the settings are fixed.", &[], state::set_props),
        Route::get(Scope::Metrics, "/slots", "The requests that are being answered.", state::slots),
        Route::post(
            Scope::Chat,
            "/slots/{id}",
            "Saves, restores or erases a computed prompt.",
            &[SLOT_FIELDS],
            state::act_on_slot,
        ),
        Route::get(
            Scope::ModelsRead,
            "/lora-adapters",
            "A model's low-rank adapters and their factors.",
            state::adapters,
        ),
        Route::post(
            Scope::Admin,
            "/lora-adapters",
            "Sets the factors of a model's adapters.",
            &[],
            state::set_adapters,
        ),
    ]
}

async fn completion(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async { completion::answer(&app, fields_of(&app, request).await?).await };
    spoken("/completion", answered.await)
}

async fn infill(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async { completion::infill(&app, fields_of(&app, request).await?).await };
    spoken("/infill", answered.await)
}

async fn tokenize(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async { tokens::tokenize(&app, fields_of(&app, request).await?).await };
    spoken("/tokenize", answered.await)
}

async fn detokenize(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async { tokens::detokenize(&app, fields_of(&app, request).await?).await };
    spoken("/detokenize", answered.await)
}

async fn apply_template(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async { tokens::apply_template(&app, fields_of(&app, request).await?).await };
    spoken("/apply-template", answered.await)
}

/// An error as llama-server's clients read it.
pub(super) fn error_body(error: &ApiError) -> Json {
    let kind = match &error.kind {
        ErrorKind::ContextExceeded { .. } => "exceed_context_size_error",
        ErrorKind::Unauthorized => "authentication_error",
        ErrorKind::Forbidden => "permission_error",
        ErrorKind::NotFound => "not_found_error",
        ErrorKind::Unsupported => "not_supported_error",
        ErrorKind::Overloaded => "unavailable_error",
        ErrorKind::RateLimited { .. } => "rate_limit_error",
        ErrorKind::DoesNotFit | ErrorKind::Internal => "server_error",
        _ => "invalid_request_error",
    };
    let mut body = json!({ "code": error.status(), "message": error.text(), "type": kind });
    if let ErrorKind::ContextExceeded { prompt_tokens, context_length } = &error.kind {
        body["n_prompt_tokens"] = json!(prompt_tokens);
        body["n_ctx"] = json!(context_length);
    }
    json!({ "error": body })
}
