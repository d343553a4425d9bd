//! Ollama's own API: `/api/*`, newline-delimited JSON, times in nanoseconds.
//!
//! Source: Ollama's API documentation and OpenAPI description.

mod chat;
mod embed;
mod generate;
mod manage;
mod wire;

pub use wire::parse_keep_alive;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{delete, get, post};
use serde_json::{Value as Json, json};

use super::{error_response, read_body};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::server::SharedApp;

/// The API level that is spoken. Clients compare it as three numbers, so it is not Lair's own version.
const API_VERSION: &str = "0.12.0";

pub(super) fn routes() -> Router<SharedApp> {
    Router::new()
        .route("/", get(|| async { "Ollama is running" }))
        .route("/api/version", get(version))
        .route("/api/generate", post(generate_text))
        .route("/api/chat", post(chat_text))
        .route("/api/embed", post(embed_texts))
        .route("/api/embeddings", post(embed_text))
        .route("/api/tags", get(manage::tags))
        .route("/api/ps", get(manage::ps))
        .route("/api/show", post(manage::show))
        .route("/api/copy", post(manage::copy))
        .route("/api/delete", delete(manage::delete))
        .route("/api/pull", post(manage::pull))
        .route("/api/push", post(manage::push))
        .route("/api/create", post(manage::create))
        .route("/api/blobs/{digest}", post(manage::put_blob).head(manage::has_blob))
}

async fn version() -> Response {
    super::json_response(
        axum::http::StatusCode::OK,
        &json!({ "version": API_VERSION, "lair": env!("CARGO_PKG_VERSION") }),
    )
}

async fn generate_text(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async { generate::answer(&app, Fields::parse(&read_body(&app, request).await?)?).await };
    answered.await.unwrap_or_else(|error| error_response("/api/", &error))
}

async fn chat_text(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async { chat::answer(&app, Fields::parse(&read_body(&app, request).await?)?).await };
    answered.await.unwrap_or_else(|error| error_response("/api/", &error))
}

async fn embed_texts(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async { embed::answer(&app, Fields::parse(&read_body(&app, request).await?)?).await };
    answered.await.unwrap_or_else(|error| error_response("/api/", &error))
}

async fn embed_text(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async { embed::answer_old(&app, Fields::parse(&read_body(&app, request).await?)?).await };
    answered.await.unwrap_or_else(|error| error_response("/api/", &error))
}

/// An error as Ollama's clients read it.
pub(super) fn error_body(error: &ApiError) -> Json {
    json!({ "error": error.text() })
}
